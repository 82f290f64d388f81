//! What is written together, and when.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use tokio::io::AsyncWrite;

use super::{gather::Gather, turn::Turn};

/// A socket that takes a part of each write, while it takes any.
#[derive(Clone, Default)]
struct Socket {
    writes: Rc<RefCell<Vec<Vec<u8>>>>,
    most: Rc<Cell<usize>>,
}

impl Socket {
    fn taking(most: usize) -> Self {
        let socket = Self::default();
        socket.most.set(most);
        socket
    }

    fn lengths(&self) -> Vec<usize> {
        self.writes.borrow().iter().map(Vec::len).collect()
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = buf.len().min(self.most.get());
        if count == 0 {
            return Poll::Pending;
        }
        self.writes.borrow_mut().push(buf[..count].to_vec());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn write<W: AsyncWrite + Unpin>(to: &mut W, parts: &[&[u8]]) -> Poll<io::Result<usize>> {
    let parts: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    Pin::new(to).poll_write_vectored(&mut context(), &parts)
}

fn flush<W: AsyncWrite + Unpin>(of: &mut W) -> Poll<io::Result<()>> {
    Pin::new(of).poll_flush(&mut context())
}

fn took(written: Poll<io::Result<usize>>) -> usize {
    match written {
        Poll::Ready(Ok(count)) => count,
        other => panic!("{other:?}"),
    }
}

#[test]
fn heads_and_contents_fill_what_is_written() {
    let socket = Socket::taking(100);
    let mut gather = Gather::new(socket.clone(), 10);
    assert_eq!(took(write(&mut gather, &[b"head", b"content"])), 10);
    assert!(
        socket.lengths().is_empty(),
        "not before it is full and there is more"
    );
    assert_eq!(took(write(&mut gather, &[b"t"])), 1);
    assert_eq!(took(write(&mut gather, &[b"head", b"short"])), 9);
    assert_eq!(socket.lengths(), [10]);
    assert!(flush(&mut gather).is_ready());
    assert_eq!(socket.lengths(), [10, 10]);
    assert_eq!(socket.writes.borrow().concat(), b"headcontentheadshort");
}

#[test]
fn what_is_long_by_itself_is_not_copied() {
    let socket = Socket::taking(15);
    let mut gather = Gather::new(socket.clone(), 10);
    assert_eq!(took(write(&mut gather, &[&[1; 20]])), 15);
    assert_eq!(socket.lengths(), [15]);
}

#[test]
fn a_socket_that_takes_nothing_holds_the_writer_up() {
    let socket = Socket::taking(0);
    let mut gather = Gather::new(socket.clone(), 10);
    assert!(write(&mut gather, &[&[0; 5], &[0; 5]]).is_ready());
    assert!(write(&mut gather, &[&[1; 5]]).is_pending());
    assert!(flush(&mut gather).is_pending());
    socket.most.set(4);
    assert!(write(&mut gather, &[&[1; 5]]).is_ready());
    assert!(flush(&mut gather).is_ready());
    assert_eq!(socket.lengths(), [4, 4, 2, 4, 1]);
}

#[test]
fn a_turn_is_flushed_when_it_is_over() {
    let socket = Socket::taking(100);
    let turn = Turn::new(Gather::new(socket.clone(), 10));
    let mut writer = turn.share();
    turn.take(|| {
        for _ in 0..3 {
            assert_eq!(took(write(&mut writer, &[b"abc"])), 3);
            assert!(flush(&mut writer).is_ready());
        }
    });
    assert!(socket.lengths().is_empty());
    assert!(turn.poll_end(&mut context()).is_pending(), "all is well");
    assert_eq!(socket.lengths(), [9]);
    assert_eq!(took(write(&mut writer, &[b"d"])), 1);
    assert!(flush(&mut writer).is_ready());
    assert_eq!(socket.lengths(), [9, 1], "at once between turns");
}

#[test]
fn a_turn_that_was_not_flushed_is_flushed_later() {
    let socket = Socket::taking(0);
    let turn = Turn::new(Gather::new(socket.clone(), 10));
    let mut writer = turn.share();
    turn.take(|| {
        assert!(write(&mut writer, &[b"abc"]).is_ready());
        assert!(flush(&mut writer).is_ready());
    });
    assert!(turn.poll_end(&mut context()).is_pending());
    socket.most.set(100);
    turn.take(|| ());
    assert!(turn.poll_end(&mut context()).is_pending());
    assert_eq!(socket.lengths(), [3]);
}
