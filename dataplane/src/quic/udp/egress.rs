//! The datagrams of one turn, laid end to end in one buffer.

use std::{io, net::SocketAddr, ops::Range, os::fd::BorrowedFd};

use super::source;
use crate::{
    quic::metrics::{DatagramDrop, Metrics},
    sys::{SendBatch, Transmit},
};

/// Gathers datagrams. Runs of equal length to one peer become one message.
pub(crate) struct Egress {
    buffer: Vec<u8>,
    used: usize,
    messages: Vec<Message>,
    /// Messages before this one are sent.
    sent: usize,
    segments: bool,
    wildcard: bool,
    batch: SendBatch,
}

struct Message {
    range: Range<usize>,
    segment: usize,
    count: usize,
    /// Nothing may be added.
    ended: bool,
    from: SocketAddr,
    to: SocketAddr,
}

impl Egress {
    pub(super) fn new(segments: bool, wildcard: bool) -> Self {
        Self {
            buffer: Vec::new(),
            used: 0,
            messages: Vec::new(),
            sent: 0,
            segments,
            wildcard,
            batch: SendBatch::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Room for one datagram, or `None` when this turn's buffer is full.
    pub(crate) fn room(&mut self) -> Option<&mut [u8]> {
        self.room_for(MAX_DATAGRAM)
    }

    /// Room for one datagram of this length.
    pub(crate) fn room_for(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.buffer.is_empty() {
            self.buffer.resize(BUFFER_LEN, 0);
        }
        self.buffer.get_mut(self.used..self.used + len)
    }

    /// Adds the datagram of `len` bytes that was written into the room for it.
    pub(crate) fn push(&mut self, len: usize, from: SocketAddr, to: SocketAddr) {
        let start = self.used;
        self.used += len;
        if let Some(last) = self.messages.last_mut()
            && last.to == to
            && last.from == from
            && last.count < MAX_SEGMENTS
            && !last.ended
            && len <= last.segment
            // A shorter one can only be the last of its message.
            && last.range.len() == last.segment * last.count
            && last.range.len() + len <= MAX_MESSAGE
            && self.segments
        {
            last.range.end = self.used;
            last.count += 1;
            return;
        }
        self.messages.push(Message {
            range: start..self.used,
            segment: len,
            count: 1,
            ended: false,
            from,
            to,
        });
    }

    /// Lets nothing follow the last datagram in its message. One that is longer than the path
    /// may carry is refused alone then.
    pub(crate) fn end_message(&mut self) {
        if let Some(last) = self.messages.last_mut() {
            last.ended = true;
        }
    }

    /// Sends everything.
    ///
    /// # Errors
    /// Only `WouldBlock`; the rest waits. Messages that the kernel refuses for another
    /// reason are counted and dropped, as the network may drop any.
    pub(super) fn send(&mut self, fd: BorrowedFd<'_>, metrics: &dyn Metrics) -> io::Result<()> {
        while self.sent < self.messages.len() {
            let Self {
                buffer,
                messages,
                sent,
                batch,
                wildcard,
                ..
            } = self;
            let pending = &messages[*sent..(*sent + MAX_MESSAGES).min(messages.len())];
            let transmits = pending
                .iter()
                .map(|message| message.transmit(buffer, *wildcard));
            match batch.send(fd, transmits) {
                Ok(count) => {
                    for message in &pending[..count] {
                        metrics.datagrams_sent(message.count as u64, message.range.len() as u64);
                    }
                    self.sent += count;
                }
                Err(error) => self.refused(error, metrics)?,
            }
        }
        self.messages.clear();
        self.used = 0;
        self.sent = 0;
        Ok(())
    }

    /// Gives everything to `each`, datagram by datagram, instead of to the kernel.
    #[cfg(debug_assertions)]
    pub(super) fn take(&mut self, mut each: impl FnMut(SocketAddr, SocketAddr, &[u8])) {
        for message in self.messages.drain(..) {
            for datagram in self.buffer[message.range].chunks(message.segment) {
                each(message.from, message.to, datagram);
            }
        }
        self.used = 0;
    }

    /// Deals with a refusal of the first unsent message.
    fn refused(&mut self, error: io::Error, metrics: &dyn Metrics) -> io::Result<()> {
        if error.kind() == io::ErrorKind::WouldBlock {
            return Err(error);
        }
        let message = &self.messages[self.sent];
        let cannot_segment = matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL));
        if self.segments && message.count > 1 && cannot_segment {
            self.segments = false;
            metrics.gso_disabled();
            self.split_unsent();
            return Ok(());
        }
        if error.kind() != io::ErrorKind::Interrupted {
            metrics.write_error();
            for _ in 0..message.count {
                metrics.datagram_dropped(DatagramDrop::SendFull);
            }
            self.sent += 1;
        }
        Ok(())
    }

    /// Makes each unsent datagram a message of its own.
    fn split_unsent(&mut self) {
        let unsent = self.messages.split_off(self.sent);
        for message in unsent {
            let mut start = message.range.start;
            while start < message.range.end {
                let end = (start + message.segment).min(message.range.end);
                self.messages.push(Message {
                    range: start..end,
                    segment: end - start,
                    count: 1,
                    ended: true,
                    from: message.from,
                    to: message.to,
                });
                start = end;
            }
        }
    }
}

impl Message {
    fn transmit<'a>(&self, buffer: &'a [u8], wildcard: bool) -> Transmit<'a> {
        Transmit {
            payload: &buffer[self.range.clone()],
            to: self.to,
            from: source(wildcard, self.from.ip()),
            segment: (self.count > 1).then_some(self.segment as u16),
        }
    }
}

/// Largest datagram that is ever sent.
const MAX_DATAGRAM: usize = 1_500;
/// What one turn may gather before it must be flushed.
const BUFFER_LEN: usize = 512 * 1024;
/// Kernel's limits of one segmented message.
const MAX_SEGMENTS: usize = 64;
const MAX_MESSAGE: usize = 65_000;
/// Messages of one `sendmmsg`.
const MAX_MESSAGES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn push(egress: &mut Egress, len: usize, port: u16) {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        egress.room().unwrap()[..len].fill(1);
        egress.push(len, address(1), address(port));
    }

    fn shape(egress: &Egress) -> Vec<(usize, usize)> {
        egress
            .messages
            .iter()
            .map(|message| (message.count, message.range.len()))
            .collect()
    }

    #[test]
    fn equal_datagrams_to_one_peer_become_one_message() {
        let mut egress = Egress::new(true, false);
        for len in [1200, 1200, 700, 1200] {
            push(&mut egress, len, 2);
        }
        push(&mut egress, 1200, 3);
        assert_eq!(shape(&egress), [(3, 3100), (1, 1200), (1, 1200)]);
    }

    #[test]
    fn a_longer_datagram_begins_a_message() {
        let mut egress = Egress::new(true, false);
        for len in [700, 1200] {
            push(&mut egress, len, 2);
        }
        assert_eq!(shape(&egress), [(1, 700), (1, 1200)]);
    }

    #[test]
    fn nothing_follows_in_a_message_that_was_ended() {
        let mut egress = Egress::new(true, false);
        push(&mut egress, 1450, 2);
        egress.end_message();
        for len in [1200, 1200] {
            push(&mut egress, len, 2);
        }
        assert_eq!(shape(&egress), [(1, 1450), (2, 2400)]);
    }

    #[test]
    fn without_segmentation_each_datagram_is_a_message_and_none_is_lost() {
        let mut egress = Egress::new(true, false);
        for len in [1200, 1200, 700] {
            push(&mut egress, len, 2);
        }
        egress.split_unsent();
        assert_eq!(shape(&egress), [(1, 1200), (1, 1200), (1, 700)]);
    }

    #[test]
    fn a_full_buffer_has_no_room() {
        let mut egress = Egress::new(true, false);
        let mut pushed = 0;
        while egress.room().is_some() {
            egress.push(
                MAX_DATAGRAM,
                SocketAddr::from(([127, 0, 0, 1], 1)),
                SocketAddr::from(([127, 0, 0, 1], 2)),
            );
            pushed += 1;
        }
        assert_eq!(pushed, BUFFER_LEN / MAX_DATAGRAM);
    }
}
