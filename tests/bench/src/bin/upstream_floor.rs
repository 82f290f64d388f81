//! What an exchange with the upstream costs at the least: requests over idle TCP connections
//! and nothing else, no HTTP read, no allocation. Any proxy pays that beside its own work.
//!
//!     taskset -c 1 origin 127.0.0.1:18999 & taskset -c 0 upstream_floor 127.0.0.1:18999 50

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use nix::time::{ClockId, clock_gettime};

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nhost: localhost\r\nuser-agent: oha/1.16.0\r\naccept: */*\r\n\
    x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: https\r\n\
    x-request-id: 0123456789abcdef0123456789abcdef\r\n\r\n";
const LASTS: Duration = Duration::from_secs(4);

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let origin: SocketAddr = arguments.next().context("whose address?")?.parse()?;
    let count: usize = arguments.next().context("how many connections?")?.parse()?;

    let mut poll = Poll::new()?;
    let mut connections = Vec::with_capacity(count);
    for index in 0..count {
        let stream = std::net::TcpStream::connect(origin)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(index), Interest::READABLE)?;
        stream.write_all(REQUEST)?;
        connections.push(stream);
    }

    let (begin, cpu) = (Instant::now(), cpu()?);
    let (mut events, mut buffer) = (Events::with_capacity(1024), [0; 65_536]);
    let (mut exchanges, mut turns) = (0_u64, 0_u64);
    while begin.elapsed() < LASTS {
        poll.poll(&mut events, None)?;
        turns += 1;
        for event in &events {
            let stream = &mut connections[event.token().0];
            match stream.read(&mut buffer) {
                Ok(0) => anyhow::bail!("the origin has closed a connection"),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            exchanges += 1;
            stream.write_all(REQUEST)?;
        }
    }
    let cpu = self::cpu()? - cpu;
    println!(
        "{count} connections: {:.2} µs of CPU an exchange, {:.1} a turn",
        cpu.as_secs_f64() * 1e6 / exchanges as f64,
        exchanges as f64 / turns as f64
    );
    Ok(())
}

fn cpu() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}
