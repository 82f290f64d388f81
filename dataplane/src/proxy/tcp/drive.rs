//! Runs a connection to its end: requests, time-outs and orders.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tidegate_proto::v1::ClosedBy;
use tokio::{
    io::AsyncWrite,
    time::{Sleep, sleep_until},
};

use super::{
    live::{Live, Order},
    reply::Streams,
    turn::Turn,
};
use crate::snapshot::HttpLimits;

/// Why a connection ended, for its record.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) by: ClosedBy,
    pub(super) reason: String,
}

impl Ending {
    pub(super) fn new(by: ClosedBy, reason: impl Into<String>) -> Self {
        Self {
            by,
            reason: reason.into(),
        }
    }
}

/// The times that a connection may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    idle: Duration,
    /// From a request's first byte to its last field. An HTTP/2 connection has bytes that
    /// belong to no request; there a slow header section is bounded by `idle`.
    header: Option<Duration>,
    /// How long a client may leave a response where it is.
    stall: Duration,
}

impl Rules {
    pub(super) fn new(limits: &HttpLimits, multiplex: bool) -> Self {
        Self {
            idle: limits.connection_idle_timeout,
            header: (!multiplex).then_some(limits.header_timeout),
            stall: limits.body_idle_timeout,
        }
    }
}

/// Drives hyper's connection. `graceful` makes it take no more requests and end after
/// those that it has.
pub(super) async fn drive<C, S>(
    live: &Live,
    rules: Rules,
    streams: &Streams,
    turn: &Turn<S>,
    mut connection: Pin<&mut C>,
    graceful: fn(Pin<&mut C>),
) -> Ending
where
    C: Future<Output = hyper::Result<()>>,
    S: AsyncWrite + Unpin,
{
    let mut clock = pin!(Clock::new(live, rules, streams));
    // Once set, the connection is leaving: why, and until when it may.
    let mut leaving: Option<(Ending, Instant)> = None;
    loop {
        let event = {
            let mut told = pin!(live.told());
            std::future::poll_fn(|cx| {
                let polled = turn.take(|| connection.as_mut().poll(cx));
                let broken = turn.poll_end(cx);
                if let Poll::Ready(result) = polled {
                    return Poll::Ready(Event::Ended(ending(result)));
                }
                if let Poll::Ready(error) = broken {
                    let ending = Ending::new(ClosedBy::Peer, error.to_string());
                    return Poll::Ready(Event::Ended(ending));
                }
                if let Poll::Ready(order) = told.as_mut().poll(cx) {
                    return Poll::Ready(Event::Told(order));
                }
                let until = leaving.as_ref().map(|(_, until)| *until);
                clock.as_mut().poll(cx, until).map(|()| Event::Expired)
            })
            .await
        };
        match event {
            Event::Ended(ending) => return leaving.map_or(ending, |(ending, _)| ending),
            Event::Told(Order::Close { by, reason }) => {
                graceful(connection.as_mut());
                live.leaving("closing");
                leaving = Some((Ending::new(by, reason), Instant::now() + CLOSE_GRACE));
            }
            Event::Told(Order::Drain { deadline }) => {
                graceful(connection.as_mut());
                live.leaving("running");
                live.leave_by.set(Some(deadline));
                leaving = Some((Ending::new(ClosedBy::Drain, ""), deadline));
            }
            Event::Expired => match leaving {
                Some((ending, _)) => return ending,
                None => {
                    graceful(connection.as_mut());
                    live.leaving("closing");
                    let ending = Ending::new(ClosedBy::IdleTimeout, clock.reason());
                    leaving = Some((ending, Instant::now() + CLOSE_GRACE));
                }
            },
        }
    }
}

/// Runs what has taken HTTP's place on a connection. It has no way to be told of a drain;
/// it may go on until the deadline.
pub(super) async fn drive_tunnel(live: &Live, tunnel: impl Future<Output = ()>) -> Ending {
    let mut tunnel = pin!(tunnel);
    loop {
        let until = live.leave_by.get();
        tokio::select! {
            () = &mut tunnel => return Ending::new(ClosedBy::Peer, ""),
            order = live.told() => match order {
                Order::Close { by, reason } => return Ending::new(by, reason),
                Order::Drain { deadline } => {
                    live.leaving("running");
                    live.leave_by.set(Some(deadline));
                }
            },
            () = reached(until) => return Ending::new(ClosedBy::Drain, ""),
        }
    }
}

async fn reached(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

enum Event {
    Ended(Ending),
    Told(Order),
    Expired,
}

fn ending(result: hyper::Result<()>) -> Ending {
    let Err(error) = result else {
        return Ending::new(ClosedBy::Peer, "");
    };
    let local = error.is_parse() || error.is_user() || error.is_timeout();
    Ending::new(
        if local {
            ClosedBy::Local
        } else {
            ClosedBy::Peer
        },
        error.to_string(),
    )
}

/// One timer for all limits of a connection. It is moved only when it fires, or when a
/// limit comes nearer.
struct Clock<'a> {
    live: &'a Live,
    rules: Rules,
    streams: &'a Streams,
    /// When the first byte of a request was seen that has not begun yet.
    header_since: Option<Instant>,
    was_active: bool,
    sleep: Pin<Box<Sleep>>,
}

impl<'a> Clock<'a> {
    fn new(live: &'a Live, rules: Rules, streams: &'a Streams) -> Self {
        let sleep = Box::pin(sleep_until((Instant::now() + rules.idle).into()));
        Self {
            live,
            rules,
            streams,
            header_since: None,
            was_active: false,
            sleep,
        }
    }

    /// Ready when the connection has been quiet for too long, or at `until`.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, until: Option<Instant>) -> Poll<()> {
        if let Some(until) = until {
            return self.poll_until(cx, until);
        }
        self.watch_header();
        self.watch_activity();
        loop {
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            let next = self.next(now);
            if next <= now {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(next.into());
        }
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        if self.sleep.deadline().into_std() != until {
            self.sleep.as_mut().reset(until.into());
        }
        self.sleep.as_mut().poll(cx)
    }

    /// Begins and ends the time that a header section may take.
    fn watch_header(&mut self) {
        let live = self.live;
        if live.is_active() || live.traffic.received.get() == live.read_when_idle.get() {
            self.header_since = None;
        } else if let Some(limit) = self.rules.header
            && self.header_since.is_none()
        {
            let now = Instant::now();
            self.header_since = Some(now);
            self.no_later_than(now + limit);
        }
    }

    /// While there are requests, their responses are looked at.
    fn watch_activity(&mut self) {
        let active = self.live.is_active();
        if active && !self.was_active {
            self.no_later_than(Instant::now() + self.rules.stall);
        }
        self.was_active = active;
    }

    fn no_later_than(&mut self, at: Instant) {
        if self.sleep.deadline().into_std() > at {
            self.sleep.as_mut().reset(at.into());
        }
    }

    /// When to look again, which is in the past if a limit was passed.
    fn next(&self, now: Instant) -> Instant {
        if self.live.is_active() {
            return self.streams.reset_stalled(now, self.rules.stall);
        }
        let idle = self.live.idle_since.get() + self.rules.idle;
        let header = self.rules.header.zip(self.header_since);
        header.map_or(idle, |(limit, since)| idle.min(since + limit))
    }

    fn reason(&self) -> &'static str {
        match self.header_since {
            Some(_) => "the header section took too long",
            None => "no request came",
        }
    }
}

/// Time for GOAWAY or a last response to get away.
const CLOSE_GRACE: Duration = Duration::from_millis(100);
