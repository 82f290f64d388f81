//! Where handshakes wait for their turn when a shard is busy.
//!
//! The server's answer to a ClientHello, a key exchange and a signature, costs as much as
//! many requests. So each handshake passes here before it: at once while there is time, and
//! else one in a turn of the shard, when handshakes have had less than their
//! [share](budget::Budget) or nobody else wants the time. How many can wait is bounded
//! before they come here: by [`half_open`](crate::quic) for QUIC, by the limit of connections
//! for TCP.

mod budget;
mod queue;

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::task::{spawn_local, yield_now};

use self::{
    budget::Budget,
    queue::{Number, Queue},
};

/// One for each shard.
pub(crate) struct Turnstile {
    /// Told how many wait, whenever that changes.
    gauge: Box<dyn Fn(usize)>,
    budget: RefCell<Budget>,
    queue: RefCell<Queue<Waker>>,
    /// What handshakes took since it was last looked.
    spent: Cell<Duration>,
    /// There is a task that lets them in.
    attended: Cell<bool>,
}

impl Default for Turnstile {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl Turnstile {
    /// `gauge` is told how many wait, whenever that changes.
    pub(crate) fn new(gauge: impl Fn(usize) + 'static) -> Self {
        Self {
            gauge: Box::new(gauge),
            budget: RefCell::new(Budget::new(Instant::now())),
            queue: RefCell::default(),
            spent: Cell::default(),
            attended: Cell::default(),
        }
    }

    /// `None`: the handshake may go on at once.
    pub(crate) fn enter(self: &Rc<Self>, validated: bool, now: Instant) -> Option<Place> {
        let mut queue = self.queue.borrow_mut();
        if queue.len() == 0 && self.budget.borrow_mut().allows(now) {
            return None;
        }
        let number = queue.join(validated, now, Waker::noop().clone());
        (self.gauge)(queue.len());
        if !self.attended.replace(true) {
            spawn_local(self.clone().attend());
        }
        let turnstile = self.clone();
        Some(Place { turnstile, number })
    }

    /// Performs a handshake, and takes the time that it takes of the shard off what
    /// handshakes may take.
    pub(crate) async fn charge<F: Future>(&self, handshake: F) -> F::Output {
        let mut handshake = pin!(handshake);
        poll_fn(|cx| {
            let begun = Instant::now();
            let polled = handshake.as_mut().poll(cx);
            self.spend(begun.elapsed());
            polled
        })
        .await
    }

    /// A handshake took so much of the shard's time.
    pub(crate) fn spend(&self, took: Duration) {
        self.budget.borrow_mut().spend(took);
        self.spent.set(self.spent.get() + took);
    }

    /// How many wait.
    #[cfg(debug_assertions)]
    pub(crate) fn waiting(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Lets one after the other in, as long as there are any.
    async fn attend(self: Rc<Self>) {
        let mut looked = Instant::now();
        self.spent.set(Duration::ZERO);
        loop {
            // Sockets are read meanwhile, and whoever has something to do does it.
            yield_now().await;
            let now = Instant::now();
            let others = (now - looked).saturating_sub(self.spent.take());
            looked = now;
            let allowed = self.budget.borrow_mut().allows(now);
            let mut queue = self.queue.borrow_mut();
            if queue.len() == 0 {
                self.attended.set(false);
                return;
            }
            if (allowed || others < NOTHING)
                && let Some(waker) = queue.next(now)
            {
                (self.gauge)(queue.len());
                waker.wake();
            }
        }
    }
}

/// A place in the queue, which is given up with it.
pub(crate) struct Place {
    turnstile: Rc<Turnstile>,
    number: Number,
}

impl Place {
    /// Whether it is its turn; if not, the task is woken when it is.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.turnstile.queue.borrow_mut().waker(self.number) {
            Some(waker) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queue = self.turnstile.queue.borrow_mut();
        queue.leave(self.number);
        (self.turnstile.gauge)(queue.len());
    }
}

/// Clients have sent their first packets again by then (RFC 9002 6.2.2), and most go on doing
/// so: a shard that cannot keep up would answer only those that have given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// A turn of the shard in which nobody had anything to do takes less than this.
const NOTHING: Duration = Duration::from_micros(10);
