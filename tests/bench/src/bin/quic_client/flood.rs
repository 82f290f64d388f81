//! Initials from nowhere: complete ClientHellos in one datagram each, with connection IDs
//! and addresses that never come again, to which nobody listens.

use std::{
    io::IoSlice,
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use quiche::ConnectionId;
use tidegate_bench::client::config;

pub(super) fn flood(
    to: SocketAddr,
    name: &str,
    rate: u32,
    seconds: u64,
) -> anyhow::Result<serde_json::Value> {
    let SocketAddr::V4(to) = to else {
        anyhow::bail!("the flood goes to an IPv4 address of this machine");
    };
    anyhow::ensure!(to.ip().is_loopback(), "the flood stays on this machine");
    // All of 127.0.0.0/8 is this machine, so any of it can be said to be the sender.
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_nonblocking(true)?;
    let initials = initials(to.into(), name, u64::from(rate) * seconds)?;
    println!("ready");
    let (began, mut sent, mut refused) = (Instant::now(), 0_usize, 0_u64);
    let mut answer = [0; 2048];
    while sent < initials.len() {
        let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as usize;
        while sent < due.min(initials.len()) {
            let from = nowhere();
            let info = nix::libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: nix::libc::in_addr {
                    s_addr: u32::from(from).to_be(),
                },
                ipi_addr: nix::libc::in_addr { s_addr: 0 },
            };
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            let payload = [IoSlice::new(&initials[sent])];
            let to = SockaddrIn::from(to);
            let result = sendmsg(
                socket.as_raw_fd(),
                &payload,
                &control,
                MsgFlags::MSG_DONTWAIT,
                Some(&to),
            );
            refused += u64::from(result.is_err());
            sent += 1;
        }
        while socket.recv(&mut answer).is_ok() {}
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(serde_json::json!({
        "sent": sent,
        "refused": refused,
        "seconds": began.elapsed().as_secs_f64(),
    }))
}

/// An address of this machine that is not the usual one.
fn nowhere() -> Ipv4Addr {
    let [a, b, c] = rand::random::<[u8; 3]>();
    Ipv4Addr::new(127, a.max(1), b, c.max(1))
}

fn initials(to: SocketAddr, name: &str, count: u64) -> anyhow::Result<Vec<Box<[u8]>>> {
    // A key share of X25519 alone fits into one datagram.
    let mut config = config(Some("X25519"))?;
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let mut buffer = [0; 1350];
    (0..count)
        .map(|_| {
            let scid = rand::random::<[u8; 8]>();
            let scid = ConnectionId::from_ref(&scid);
            let mut client = quiche::connect(Some(name), &scid, local, to, &mut config)?;
            let (length, _) = client.send(&mut buffer)?;
            Ok(buffer[..length].into())
        })
        .collect()
}
