//! The task that drives one connection, stage after stage.
//!
//! [`Core`] has what each stage does in a turn: feed what came in, execute commands, look
//! after connection IDs and paths, gather what goes out, and wait. The stages are here:
//! the handshake, [`Running`] and [`Closing`]. With early data a connection runs before its
//! handshake is complete; it counts as half open until then, and has as long for it.

mod aead;
mod coalesced;
mod core;
mod delayed_ack;
mod drain;
mod farewell;
mod first_flight;
mod ids;
mod mtu;
mod pacer;
mod paths;
mod record;
mod refusal;
mod rest;
mod turn;
mod unvalidated;

use std::{rc::Rc, time::Instant};

use tidegate_proto::v1::ClosedBy;

pub use self::aead::CONFIDENTIALITY_LIMIT;
pub(crate) use self::core::Core;
use self::{drain::Drain, rest::Rest};
use super::{
    ApplicationError, ApplicationOverQuic, ConnectionShutdownBehaviour, HandshakeError,
    HandshakeInfo,
    metrics::{DatagramDrop, HandshakeFailure},
    shared::{Shared, Stage},
    stats,
};

/// A connection that is not served yet. Its handshake is complete, or it has early data.
#[must_use = "run it, or refuse it"]
pub struct Running<A> {
    core: Core,
    application: A,
}

/// A connection whose work is over. Its record is out, and the close frame is gathered
/// for sending; what is left is the closing or draining period (RFC 9000 10.2).
#[must_use = "let it linger, so that late packets meet a connection that knows them"]
pub struct Closing {
    core: Core,
}

/// A handshake that came to nothing.
pub struct FailedHandshake {
    /// Why.
    pub error: HandshakeError,
    /// The rest of its life.
    pub closing: Closing,
}

/// Drives the handshake.
pub(crate) async fn handshake<A: ApplicationOverQuic>(
    mut core: Core,
    application: A,
) -> Result<Running<A>, FailedHandshake> {
    let error = loop {
        if let Err(error) = core.take_turn().await {
            break error;
        }
        let read = core.receive_handshake();
        core.execute_commands();
        let now = Instant::now();
        if core.expire(now) {
            break HandshakeError::Timeout;
        }
        if core.is_over() {
            break HandshakeError::ConnectionClosed;
        }
        if core.shared.qconn.borrow().is_established() {
            core.established(now);
            return Ok(Running { core, application });
        }
        if core.has_early_data() {
            return Ok(Running { core, application });
        }
        core.answer(read, now);
        let deadline = core.shared.handshake.borrow().deadline();
        core.wait(deadline, std::future::pending::<()>()).await;
    };
    let metrics = core.shared.endpoint.host.metrics();
    if core.unread && error == HandshakeError::ConnectionClosed {
        metrics.datagram_dropped(DatagramDrop::Undecryptable);
    } else {
        metrics.handshake_failed(core.handshake_failure(error));
    }
    if error == HandshakeError::ConnectionClosed {
        core.refuse_in_initial();
    }
    Err(FailedHandshake {
        error,
        closing: Closing::enter(core),
    })
}

impl<A: ApplicationOverQuic> Running<A> {
    /// Facts of the handshake.
    pub fn handshake_info(&self) -> HandshakeInfo {
        self.core.shared.handshake.borrow().clone()
    }

    /// Closes instead of serving.
    pub fn refuse(mut self, behaviour: &ConnectionShutdownBehaviour) -> Closing {
        self.core.shared.endpoint.host.metrics().admission_refused();
        self.core.shared.closed_by.set(Some(ClosedBy::Admission));
        self.core.close(behaviour);
        Closing::enter(self.core)
    }

    /// Serves the application until the connection ends.
    pub async fn run(mut self) -> Closing {
        if self.core.complete {
            self.core.announce();
        }
        self.core.shared.stage.set(Stage::Running);
        let result = self.work().await;
        let Self {
            mut core,
            mut application,
        } = self;
        {
            let mut qconn = core.shared.qconn.borrow_mut();
            application.on_conn_close(&mut qconn, core.shared.endpoint.host.metrics(), &result);
        }
        match result {
            Err(ApplicationError::Close(behaviour)) => core.close(&behaviour),
            Err(ApplicationError::Protocol(reason)) => core.close(&ConnectionShutdownBehaviour {
                send_application_close: true,
                error_code: application.goodbye().error_code,
                reason: reason.into_bytes(),
            }),
            Ok(()) => {}
        }
        if !core.complete {
            let error = match core.shared.closed_by.get() {
                Some(ClosedBy::HandshakeTimeout) => HandshakeError::Timeout,
                _ => HandshakeError::ConnectionClosed,
            };
            let failure = core.handshake_failure(error);
            let metrics = core.shared.endpoint.host.metrics();
            metrics.handshake_failed(failure);
        }
        core.shared.activity.set(application.activity());
        Closing::enter(core)
    }

    async fn work(&mut self) -> Result<(), ApplicationError> {
        let Self { core, application } = self;
        let shared: Rc<Shared> = core.shared.clone();
        application
            .on_conn_established(&mut shared.qconn.borrow_mut(), &shared.handshake.borrow())?;
        let mut drain = Drain::default();
        let mut rest = Rest::new(Instant::now());
        // The handshake's last packets may have brought requests along.
        let mut received = true;
        loop {
            let now = Instant::now();
            if core.receive() {
                rest.disturb(now);
                received = true;
            }
            core.execute_commands();
            if !core.complete && core.expire(now) || core.is_over() {
                return Ok(());
            }
            if !core.complete && shared.qconn.borrow().is_established() {
                // After the work that completed it.
                core.established(Instant::now());
                core.announce();
            }
            if application.should_act() {
                let mut qconn = shared.qconn.borrow_mut();
                if received {
                    application.process_reads(&mut qconn)?;
                    received = false;
                }
                application.process_writes(&mut qconn)?;
            }
            shared.activity.set(application.activity());
            if core.spare_keys() {
                return Ok(());
            }
            if drain.advance(&shared, application, now)? {
                return Ok(());
            }
            // The work has taken a while.
            let now = Instant::now();
            core.look_after(now);
            let answers_follow = application.answers_follow() && core.complete;
            let acknowledge = if core.delayed_ack.waits(answers_follow, now) {
                core.delayed_ack.deadline()
            } else {
                core.transmit(now);
                None
            };
            let stage = if core.complete {
                rest.begin(&shared, application, now);
                rest.deadline()
            } else {
                shared.handshake.borrow().deadline()
            };
            let deadlines = [drain.deadline(&shared), acknowledge, stage];
            let deadline = deadlines.into_iter().flatten().min();
            if let Some(data) = core.wait(deadline, application.wait_for_data()).await {
                data?;
            }
        }
    }
}

impl Closing {
    fn enter(mut core: Core) -> Self {
        core.transmit(Instant::now());
        core.record();
        Self { core }
    }

    /// Answers for the connection IDs until nobody can use them any more: three probe
    /// time-outs (RFC 9000 10.2). quiche begins to count when the close frame is sent; one
    /// that cannot be sent, because the client never proved its address or the socket is
    /// gone, is given up in the same time.
    pub async fn linger(mut self) {
        let unsent = Instant::now() + 3 * stats::probe_timeout(&self.core.shared.qconn.borrow());
        loop {
            if self.core.receive() {
                self.core.repeat_farewell();
            }
            let now = Instant::now();
            self.core.transmit(now);
            let deadline = {
                let qconn = self.core.shared.qconn.borrow();
                let give_up = (!qconn.is_draining()).then_some(unsent);
                if qconn.is_closed() || give_up.is_some_and(|at| at <= now) {
                    return;
                }
                give_up
            };
            self.core.wait(deadline, std::future::pending::<()>()).await;
        }
    }
}

impl Core {
    /// Closes a connection whose handshake takes too long. Says whether it does.
    fn expire(&mut self, now: Instant) -> bool {
        let expired = self.shared.handshake.borrow().is_expired(now);
        if expired {
            self.shared.closed_by.set(Some(ClosedBy::HandshakeTimeout));
            self.close(&ConnectionShutdownBehaviour {
                send_application_close: false,
                error_code: CONNECTION_REFUSED,
                reason: b"handshake timeout".to_vec(),
            });
        }
        expired
    }

    fn handshake_failure(&self, error: HandshakeError) -> HandshakeFailure {
        let qconn = self.shared.qconn.borrow();
        match (error, qconn.local_error()) {
            (HandshakeError::Timeout, _) => HandshakeFailure::Timeout,
            (HandshakeError::Overloaded, _) => HandshakeFailure::Overload,
            // RFC 9001 4.8: TLS alerts are 0x100 to 0x1ff.
            (_, Some(error)) if !error.is_app && (0x100..0x200).contains(&error.error_code) => {
                HandshakeFailure::Tls
            }
            (_, Some(_)) => HandshakeFailure::Transport,
            (_, None) => HandshakeFailure::Disconnected,
        }
    }
}

/// RFC 9000 20.1.
const CONNECTION_REFUSED: u64 = 0x02;
