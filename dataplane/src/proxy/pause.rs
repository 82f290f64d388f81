//! How long something may stand still.
//!
//! One timer, set only when nothing moves, for bodies and for writes to a socket.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// Times the pauses of one flow of bytes.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

/// Which limit a pause went beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Idle,
    Deadline,
}

impl Pause {
    /// Something moved.
    pub(crate) fn end(&mut self) {
        self.running = false;
    }

    /// Nothing moves. Ready when that lasts for `idle`, or until `deadline`.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        idle: Duration,
        deadline: Option<Instant>,
    ) -> Poll<Exceeded> {
        if !self.running {
            self.running = true;
            let until = Instant::now() + idle;
            let until = deadline.map_or(until, |deadline| deadline.min(until));
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(until),
                None => self.sleep = Some(Box::pin(tokio::time::sleep_until(until))),
            }
        }
        let Some(sleep) = &mut self.sleep else {
            return Poll::Pending;
        };
        sleep.as_mut().poll(cx).map(|()| {
            if Some(sleep.deadline()) == deadline {
                Exceeded::Deadline
            } else {
                Exceeded::Idle
            }
        })
    }
}
