//! Every `unsafe` of the data plane: batched datagram calls, their control messages, the
//! affinity of a thread, and what BoringSSL has that `boring` does not show: the ticket-key
//! callback, early data, how long a session lasts and the end of a handshake's memory.
//!
//! The rest of the crate sees safe functions that own or borrow what the kernel touches
//! for exactly as long as the call lasts.
#![allow(unsafe_code)]

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
    time::{Duration, SystemTime},
};

use boring::{
    error::ErrorStack,
    ssl::{SslContextBuilder, SslRef},
};
use foreign_types::ForeignTypeRef as _;
use socket2::{SockAddr, SockAddrStorage};
use tokio::io::unix::AsyncFd;

pub(crate) use boring::{hmac::HmacCtxRef, ssl::TicketKeyCallbackResult, symm::CipherCtxRef};

/// Room for the control messages of one datagram.
const CONTROL_LEN: usize = 192;

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_LEN]);

/// Buffers for one `recvmmsg`.
pub(crate) struct ReceiveBatch {
    buffers: Vec<Box<[u8]>>,
    names: Vec<SockAddrStorage>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
}

// The raw pointers in `headers` and `iovecs` are written anew before each call.
unsafe impl Send for ReceiveBatch {}

/// What the kernel says of one message of a batch.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) len: usize,
    pub(crate) peer: SocketAddr,
    /// Destination address of the packet (PKTINFO).
    pub(crate) local: Option<IpAddr>,
    /// The payload is several datagrams of this size, the last one maybe shorter (GRO).
    pub(crate) segment: Option<u16>,
    /// When the kernel received it.
    pub(crate) rx_time: Option<SystemTime>,
    /// Datagrams that this socket ever dropped for want of buffer.
    pub(crate) overflow: Option<u32>,
    pub(crate) truncated: bool,
}

impl ReceiveBatch {
    pub(crate) fn new(messages: usize, buffer_len: usize) -> Self {
        Self {
            buffers: (0..messages)
                .map(|_| vec![0; buffer_len].into_boxed_slice())
                .collect(),
            names: (0..messages).map(|_| SockAddrStorage::zeroed()).collect(),
            controls: vec![Control([0; CONTROL_LEN]); messages],
            headers: Vec::with_capacity(messages),
            iovecs: Vec::with_capacity(messages),
        }
    }

    /// The buffer of message `index`.
    pub(crate) fn buffer(&mut self, index: usize) -> &mut Box<[u8]> {
        &mut self.buffers[index]
    }

    /// Receives as many datagrams as there are, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when there is none, and whatever else the kernel says.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        self.headers.clear();
        self.iovecs.clear();
        for buffer in &mut self.buffers {
            self.iovecs.push(libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            });
        }
        for index in 0..self.buffers.len() {
            // SAFETY: all-zero is a valid `mmsghdr`.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_name = ptr::from_mut(&mut self.names[index]).cast();
            header.msg_hdr.msg_namelen = size_of::<SockAddrStorage>() as _;
            header.msg_hdr.msg_iov = &raw mut self.iovecs[index];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL_LEN as _;
            self.headers.push(header);
        }
        // SAFETY: the headers point into vectors of `self`, which outlive the call and
        // are not touched during it; the lengths are theirs.
        let count = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as _,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        if count < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(count as usize)
        }
    }

    /// What is known of message `index` of the last [`receive`](Self::receive). `None` if
    /// its sender is no IP address.
    pub(crate) fn received(&self, index: usize) -> Option<Received> {
        let header = &self.headers[index];
        // SAFETY: the kernel filled in a name of this length.
        let name = unsafe {
            SockAddr::new(
                mem::transmute_copy(&self.names[index]),
                header.msg_hdr.msg_namelen,
            )
        };
        let mut received = Received {
            len: header.msg_len as usize,
            peer: name.as_socket()?,
            local: None,
            segment: None,
            rx_time: None,
            overflow: None,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
        // SAFETY: the header's control pointer and length describe what the kernel wrote
        // into `self.controls`, which nobody changed since; the macros stay inside it.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(&header.msg_hdr);
            while !message.is_null() {
                read_control(message, &mut received);
                message = libc::CMSG_NXTHDR(&header.msg_hdr, message);
            }
        }
        Some(received)
    }
}

/// # Safety
/// `message` is a whole control message.
unsafe fn read_control(message: *const libc::cmsghdr, into: &mut Received) {
    // SAFETY: the kernel gives each of these types the payload that is read here, and
    // `read_unaligned` asks nothing of its alignment.
    unsafe {
        let data = libc::CMSG_DATA(message);
        match ((*message).cmsg_level, (*message).cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                into.local = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                into.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let size: libc::c_int = ptr::read_unaligned(data.cast());
                into.segment = u16::try_from(size).ok().filter(|size| *size > 0);
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                let time: libc::timespec = ptr::read_unaligned(data.cast());
                into.rx_time = SystemTime::UNIX_EPOCH
                    .checked_add(Duration::new(time.tv_sec as u64, time.tv_nsec as u32));
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                into.overflow = Some(ptr::read_unaligned(data.cast()));
            }
            _ => {}
        }
    }
}

/// One message to send: one datagram, or several of `segment` bytes (GSO).
pub(crate) struct Transmit<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) to: SocketAddr,
    /// Source address, where the socket is bound to all of them.
    pub(crate) from: Option<IpAddr>,
    pub(crate) segment: Option<u16>,
}

/// Reused arrays for `sendmmsg`.
#[derive(Default)]
pub(crate) struct SendBatch {
    names: Vec<SockAddr>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
}

// As for `ReceiveBatch`.
unsafe impl Send for SendBatch {}

impl SendBatch {
    /// Sends a prefix of `transmits` without waiting, and says how many.
    ///
    /// # Errors
    /// Of the first message: `WouldBlock` when the buffer is full; `InvalidInput` or
    /// EIO where segmentation is not to be had.
    pub(crate) fn send<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        transmits: impl Iterator<Item = Transmit<'a>>,
    ) -> io::Result<usize> {
        self.headers.clear();
        self.names.clear();
        self.iovecs.clear();
        for (index, transmit) in transmits.enumerate() {
            self.names.push(SockAddr::from(transmit.to));
            self.iovecs.push(libc::iovec {
                iov_base: transmit.payload.as_ptr().cast_mut().cast(),
                iov_len: transmit.payload.len(),
            });
            if self.controls.len() == index {
                self.controls.push(Control([0; CONTROL_LEN]));
            }
            // SAFETY: all-zero is a valid `mmsghdr`.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            let control = &mut self.controls[index].0;
            header.msg_hdr.msg_controllen = write_control(control, &transmit) as _;
            self.headers.push(header);
        }
        // The vectors grow no more: what they hold stays where it is.
        for (index, header) in self.headers.iter_mut().enumerate() {
            header.msg_hdr.msg_name = self.names[index].as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = self.names[index].len();
            header.msg_hdr.msg_iov = &raw mut self.iovecs[index];
            header.msg_hdr.msg_iovlen = 1;
            if header.msg_hdr.msg_controllen > 0 {
                header.msg_hdr.msg_control = self.controls[index].0.as_mut_ptr().cast();
            }
        }
        // SAFETY: the headers point into vectors of `self` and into the payloads, all of
        // which outlive the call; the kernel only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as _,
                libc::MSG_DONTWAIT as _,
            )
        };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(sent as usize)
        }
    }
}

fn write_control(control: &mut [u8; CONTROL_LEN], transmit: &Transmit<'_>) -> usize {
    let mut used = 0;
    if let Some(segment) = transmit.segment {
        used += append(
            &mut control[used..],
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            &segment,
        );
    }
    match transmit.from {
        Some(IpAddr::V4(from)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from(from).to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            used += append(
                &mut control[used..],
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
                &info,
            );
        }
        Some(IpAddr::V6(from)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: from.octets(),
                },
                ipi6_ifindex: 0,
            };
            used += append(
                &mut control[used..],
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                &info,
            );
        }
        None => {}
    }
    used
}

/// Appends one control message to `room` and says how long it is.
fn append<T: Copy>(room: &mut [u8], level: i32, kind: i32, value: &T) -> usize {
    // SAFETY: pure arithmetic.
    let (space, len) = unsafe {
        (
            libc::CMSG_SPACE(size_of::<T>() as _),
            libc::CMSG_LEN(size_of::<T>() as _),
        )
    };
    assert!(
        room.len() >= space as usize,
        "CONTROL_LEN holds every message that is sent"
    );
    // SAFETY: `room` begins at a multiple of 8, because every message before it took a
    // CMSG_SPACE, and it is long enough.
    unsafe {
        let header: *mut libc::cmsghdr = room.as_mut_ptr().cast();
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = len as _;
        ptr::write_unaligned(libc::CMSG_DATA(header).cast(), *value);
    }
    space as usize
}

/// Has the runtime watch a socket.
///
/// # Errors
/// What the kernel says.
pub(crate) fn watch(socket: UdpSocket) -> io::Result<AsyncFd<UdpSocket>> {
    // SAFETY: the socket owns its descriptor, gives out the same one for as long as it
    // lives, and is not reachable mutably inside the `AsyncFd`.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// Sets an integer option of a socket.
///
/// # Errors
/// What the kernel says; an option that it does not know is `ENOPROTOOPT`.
pub(crate) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the kernel reads one `c_int` from a live variable.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as _,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Keeps the calling thread on one of the CPUs that it may use.
///
/// # Errors
/// What the kernel says.
pub(crate) fn pin_to_cpu(index: usize) -> io::Result<()> {
    // SAFETY: the sets are plain memory of the size that is given.
    unsafe {
        let mut allowed: libc::cpu_set_t = mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut allowed) != 0 {
            return Err(io::Error::last_os_error());
        }
        let cpus: Vec<usize> = (0..libc::CPU_SETSIZE as usize)
            .filter(|cpu| libc::CPU_ISSET(*cpu, &allowed))
            .collect();
        let mut chosen: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(cpus[index % cpus.len()], &mut chosen);
        if libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const chosen) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Installs a ticket-key callback (RFC 5077 4, RFC 8446 4.6.1): given the key name, the
/// IV, both contexts and whether a ticket is made, it sets up the contexts.
pub(crate) fn set_ticket_key_callback<F>(builder: &mut SslContextBuilder, callback: F)
where
    F: Fn(
            &mut [u8; 16],
            &mut [u8; 16],
            &mut CipherCtxRef,
            &mut HmacCtxRef,
            bool,
        ) -> TicketKeyCallbackResult
        + Send
        + Sync
        + 'static,
{
    // SAFETY: the callback's duty is to initialise name, IV and contexts when it makes a
    // ticket and to leave them alone otherwise; `tls::tickets` does and has tests.
    unsafe {
        builder.set_ticket_key_callback(move |_ssl, name, iv, cipher, hmac, making| {
            callback(name, iv, cipher, hmac, making)
        });
    }
}

/// Has a server send so many session tickets (RFC 8446 4.6.1) after each handshake.
pub(crate) fn set_num_tickets(builder: &mut SslContextBuilder, count: usize) {
    // SAFETY: the context is borrowed for the call, which sets a number.
    unsafe {
        boring_sys::SSL_CTX_set_num_tickets(builder.as_ptr(), count);
    }
}

/// Has a session give back, once its handshake is complete, what only a handshake needs.
pub(crate) fn shed_handshake_config(ssl: &mut SslRef) {
    // SAFETY: the session is borrowed for the call, which sets a flag.
    unsafe { boring_sys::SSL_set_shed_handshake_config(ssl.as_ptr(), 1) }
}

/// Lets a QUIC server session take early data (RFC 8446 4.2.10) from clients whose tickets
/// were made under the same `context`.
///
/// # Errors
/// When BoringSSL has no memory for the context.
pub(crate) fn accept_early_data(ssl: &mut SslRef, context: &[u8]) -> Result<(), ErrorStack> {
    // SAFETY: the session is borrowed for the calls, and BoringSSL copies the context.
    let set = unsafe {
        boring_sys::SSL_set_early_data_enabled(ssl.as_ptr(), 1);
        boring_sys::SSL_set_quic_early_data_context(ssl.as_ptr(), context.as_ptr(), context.len())
    };
    if set == 1 {
        Ok(())
    } else {
        Err(ErrorStack::get())
    }
}

/// Lets the session that a handshake is making last `seconds` at the most, through all
/// resumptions.
pub(crate) fn limit_session(ssl: &SslRef, seconds: u64) {
    // SAFETY: the session is borrowed for the calls. In a handshake's callback BoringSSL gives
    // the session that it is making, which nobody else has yet, or none, which is checked.
    unsafe {
        let session = boring_sys::SSL_get_session(ssl.as_ptr());
        if session.is_null() {
            return;
        }
        let usual = boring_sys::SSL_SESSION_get_timeout(session);
        // Longer ones are left alone: there is another, later limit to them as well.
        if seconds < MOST_SESSION_SECONDS {
            let limit = u64::from(usual).min(seconds);
            boring_sys::SSL_SESSION_set_timeout(session, limit as u32);
        }
    }
}

/// RFC 8446 4.6.1: seven days.
const MOST_SESSION_SECONDS: u64 = 604_800;
