//! Received datagrams on their way to a connection: the buffers, which belong to the
//! shard, and each connection's bounded queue.

use std::{
    cell::RefCell,
    collections::VecDeque,
    mem,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    rc::Rc,
    time::SystemTime,
};

use super::relay::Via;

/// One or, by GRO, several datagrams of one sender.
#[derive(Debug)]
pub struct Incoming {
    /// Who sent it.
    pub peer_addr: SocketAddr,
    /// The address that it was sent to.
    pub local_addr: SocketAddr,
    /// When the kernel received it.
    pub rx_time: Option<SystemTime>,
    /// The payload.
    pub buf: PooledBuf,
    /// If set, `buf` is several datagrams of this size, the last one maybe shorter.
    pub gro: Option<u16>,
    /// Another data plane received it, at `local_addr`.
    pub via: Option<Via>,
}

impl Incoming {
    /// The datagrams in it.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.buf.chunks(self.segment_len())
    }

    /// The same, to be decrypted in place.
    pub fn segments_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let len = self.segment_len();
        self.buf.chunks_mut(len)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.buf.len().div_ceil(self.segment_len())
    }

    fn segment_len(&self) -> usize {
        self.gro.map_or(self.buf.len(), usize::from).max(1)
    }
}

/// A buffer that returns to its shard's pool.
pub struct PooledBuf {
    bytes: Box<[u8]>,
    len: usize,
    pool: Rc<BufferPool>,
}

impl Deref for PooledBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for PooledBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl std::fmt::Debug for PooledBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PooledBuf({} bytes)", self.len)
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        self.pool.put_back(mem::take(&mut self.bytes));
    }
}

/// The free buffers of a shard, in two sizes. What is above its bounds goes back to the
/// allocator.
#[derive(Default)]
pub struct BufferPool {
    small: RefCell<Vec<Box<[u8]>>>,
    large: RefCell<Vec<Box<[u8]>>>,
}

impl BufferPool {
    /// A pooled copy of one small datagram.
    pub fn copy(self: &Rc<Self>, payload: &[u8]) -> PooledBuf {
        let mut bytes = if payload.len() <= SMALL_LEN {
            let free = self.small.borrow_mut().pop();
            free.unwrap_or_else(|| vec![0; SMALL_LEN].into_boxed_slice())
        } else {
            self.large()
        };
        bytes[..payload.len()].copy_from_slice(payload);
        PooledBuf {
            bytes,
            len: payload.len(),
            pool: self.clone(),
        }
    }

    /// Takes the first `len` bytes of `buffer`, which was just received into, and puts a
    /// free one in its place. Small payloads are copied instead, so that a queue full of
    /// them does not hold buffers of the largest size.
    pub fn take(self: &Rc<Self>, buffer: &mut Box<[u8]>, len: usize) -> PooledBuf {
        if len <= SMALL_LEN {
            return self.copy(&buffer[..len]);
        }
        let bytes = mem::replace(buffer, self.large());
        PooledBuf {
            bytes,
            len,
            pool: self.clone(),
        }
    }

    fn large(&self) -> Box<[u8]> {
        let free = self.large.borrow_mut().pop();
        free.unwrap_or_else(|| vec![0; LARGE_LEN].into_boxed_slice())
    }

    fn put_back(&self, bytes: Box<[u8]>) {
        let (free, most) = match bytes.len() {
            SMALL_LEN => (&self.small, MAX_FREE_SMALL),
            LARGE_LEN => (&self.large, MAX_FREE_LARGE),
            _ => return,
        };
        let mut free = free.borrow_mut();
        if free.len() < most {
            free.push(bytes);
        }
    }
}

/// The queue of one connection. What does not fit is refused, so that no peer can make
/// the gateway hold more than this for it.
#[derive(Default)]
pub struct IncomingQueue {
    queue: VecDeque<Incoming>,
    bytes: usize,
}

impl IncomingQueue {
    /// Adds a batch, unless the queue is full.
    ///
    /// # Errors
    /// How many datagrams were in it.
    pub fn push(&mut self, incoming: Incoming) -> Result<(), usize> {
        if self.queue.len() >= MAX_QUEUED || self.bytes + incoming.buf.len() > MAX_QUEUED_BYTES {
            return Err(incoming.count());
        }
        self.bytes += incoming.buf.len();
        self.queue.push_back(incoming);
        Ok(())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The oldest batch.
    pub fn pop(&mut self) -> Option<Incoming> {
        let incoming = self.queue.pop_front()?;
        self.bytes -= incoming.buf.len();
        Some(incoming)
    }

    /// Gives back what memory the queue has to spare.
    pub fn shrink_to_fit(&mut self) {
        self.queue.shrink_to_fit();
    }
}

/// Largest payload that a receive buffer holds: what UDP can carry, so that GRO fits.
pub const LARGE_LEN: usize = 65_536;
/// Any datagram of an ordinary path.
const SMALL_LEN: usize = 2_048;
const MAX_FREE_SMALL: usize = 1_024;
const MAX_FREE_LARGE: usize = 64;
/// A connection that was not run for a whole receive round has this much.
const MAX_QUEUED: usize = 256;
const MAX_QUEUED_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(pool: &Rc<BufferPool>, len: usize, gro: Option<u16>) -> Incoming {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let buf = pool.take(&mut vec![7; LARGE_LEN].into_boxed_slice(), len);
        Incoming {
            peer_addr: address,
            local_addr: address,
            rx_time: None,
            buf,
            gro,
            via: None,
        }
    }

    #[test]
    fn a_gro_batch_splits_into_its_datagrams() {
        let pool = Rc::default();
        let batch = incoming(&pool, 3_000, Some(1_200));
        assert_eq!(batch.count(), 3);
        assert_eq!(
            batch
                .segments()
                .map(|datagram| datagram.len())
                .collect::<Vec<_>>(),
            [1200, 1200, 600]
        );
        assert_eq!(incoming(&pool, 100, None).segments().count(), 1);
    }

    #[test]
    fn a_full_queue_refuses_and_counts_bytes_as_well() {
        let pool = Rc::default();
        let mut queue = IncomingQueue::default();
        for _ in 0..MAX_QUEUED {
            assert!(queue.push(incoming(&pool, 1_200, None)).is_ok());
        }
        assert!(queue.push(incoming(&pool, 1_200, None)).is_err());
        while queue.pop().is_some() {}
        for _ in 0..MAX_QUEUED_BYTES / 65_000 {
            assert!(queue.push(incoming(&pool, 65_000, Some(1_000))).is_ok());
        }
        assert!(queue.push(incoming(&pool, 65_000, Some(1_000))).is_err());
    }

    #[test]
    fn buffers_return_to_the_pool() {
        let pool: Rc<BufferPool> = Rc::default();
        drop(incoming(&pool, 100, None));
        drop(incoming(&pool, 50_000, None));
        assert_eq!(
            (pool.small.borrow().len(), pool.large.borrow().len()),
            (1, 1)
        );
    }
}
