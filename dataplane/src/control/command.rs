//! Commands: to the shards that they concern, and the answers back as one.

mod capture;

use std::{sync::Arc, time::Duration};

use tidegate_proto::{
    ConnectionId,
    v1::{
        self, Closed, Command, CommandError, CommandReply, ConnectionList, Done, Selector,
        command::Kind, command_error::Code, command_reply::Kind as Reply,
    },
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::{Reports, Serving};
use crate::{
    capture::Captures, metrics::ControlMetrics, quic::ConnectionShutdownBehaviour,
    shard::ShardCommand,
};

/// Commands under way at once, over all sessions.
const AT_ONCE: usize = 64;
/// Time that a shard has to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// Connections on a page, unless the command says how many, and at most.
const PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 1000;
/// H3_NO_ERROR (RFC 9114 8.1).
const H3_NO_ERROR: u64 = 0x100;
/// Largest value of a QUIC variable-length integer (RFC 9000 16).
const LARGEST_CODE: u64 = (1 << 62) - 1;
const LONGEST_REASON: usize = 256;
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// Executes commands. Shared by all sessions.
pub(crate) struct Commander {
    dataplane: String,
    shards: Vec<mpsc::Sender<ShardCommand>>,
    serving: Serving,
    reports: Reports,
    slots: Semaphore,
    captures: Captures,
    metrics: Arc<ControlMetrics>,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Busy(String),
}

impl Commander {
    pub(crate) fn new(
        dataplane: String,
        shards: Vec<mpsc::Sender<ShardCommand>>,
        serving: Serving,
        reports: Reports,
        metrics: Arc<ControlMetrics>,
    ) -> Self {
        Self {
            dataplane,
            shards,
            serving,
            reports,
            slots: Semaphore::new(AT_ONCE),
            captures: Captures::new(metrics.clone()),
            metrics,
        }
    }

    /// Carries out a command. Always answers, with an error if need be.
    pub(crate) async fn execute(&self, command: Command) -> CommandReply {
        let outcome = match self.slots.try_acquire() {
            Ok(_slot) => self.dispatch(command.kind).await,
            Err(_) => Err(Refusal::Busy(format!(
                "{AT_ONCE} commands are under way: try again"
            ))),
        };
        let (outcome, kind) = match outcome {
            Ok(reply) => ("done", reply),
            Err(refusal) => {
                let (label, code) = match refusal {
                    Refusal::NotFound(_) => ("not_found", Code::NotFound),
                    Refusal::Invalid(_) => ("invalid", Code::Invalid),
                    Refusal::Busy(_) => ("busy", Code::Busy),
                };
                let message = refusal.to_string();
                (
                    label,
                    Reply::Error(CommandError {
                        code: code.into(),
                        message,
                    }),
                )
            }
        };
        self.metrics.command(outcome);
        CommandReply {
            id: command.id,
            kind: Some(kind),
        }
    }

    async fn dispatch(&self, kind: Option<Kind>) -> Result<Reply, Refusal> {
        match kind {
            Some(Kind::List(list)) => self.list(list).await.map(Reply::Connections),
            Some(Kind::Show(id)) => self.show(&id).await.map(Reply::Connection),
            Some(Kind::Close(close)) => self.close(close).await.map(Reply::Closed),
            Some(Kind::CloseSelected(close)) => self.close_selected(close).await.map(Reply::Closed),
            Some(Kind::Drain(drain)) => {
                let deadline = match drain.deadline_ms {
                    0 => DRAIN_DEADLINE,
                    millis => Duration::from_millis(millis),
                };
                let listener = self.listener(drain.listener)?;
                self.each(|reply| ShardCommand::Drain {
                    listener: listener.clone(),
                    deadline,
                    reply,
                })
                .await?;
                self.reports.stir();
                Ok(Reply::Done(Done {}))
            }
            Some(Kind::Undrain(undrain)) => {
                let listener = self.listener(undrain.listener)?;
                self.each(|reply| ShardCommand::Undrain {
                    listener: listener.clone(),
                    reply,
                })
                .await?;
                self.reports.stir();
                Ok(Reply::Done(Done {}))
            }
            Some(Kind::BeginCapture(begin)) => {
                self.begin_capture(begin).await.map(Reply::CaptureBegun)
            }
            Some(Kind::CaptureNext(next)) => self.capture_next(next).await.map(Reply::CaptureBegun),
            Some(Kind::ReadCapture(read)) => self.read_capture(read).await.map(Reply::CapturePiece),
            Some(Kind::StopCapture(stop)) => self.stop_capture(&stop).map(Reply::Done),
            None => Err(Refusal::Invalid(
                "unknown command: upgrade the data plane".into(),
            )),
        }
    }

    /// Asks shard after shard, so that a page holds the smallest ids.
    async fn list(&self, list: v1::ListConnections) -> Result<ConnectionList, Refusal> {
        let limit = match list.limit {
            0 => PAGE,
            limit @ 1..=LARGEST_PAGE => limit,
            limit => {
                return Err(Refusal::Invalid(format!(
                    "limit {limit}: give 1 to {LARGEST_PAGE}"
                )));
            }
        } as usize;
        let after = match list.after.as_str() {
            "" => None,
            after => Some(parse(after)?),
        };
        let selector = list.selector.unwrap_or_default();
        let mut connections = Vec::new();
        for index in 0..self.shards.len() {
            let after = match &after {
                Some(id) if index < usize::from(id.shard) => continue,
                Some(id) if index == usize::from(id.shard) => Some((id.slot, id.generation)),
                _ => None,
            };
            // One more than the page tells whether there is another page.
            let limit = limit + 1 - connections.len();
            let selector = selector.clone();
            let found = self
                .ask(index, |reply| ShardCommand::List {
                    selector,
                    after,
                    limit,
                    reply,
                })
                .await?
                .map_err(Refusal::Invalid)?;
            connections.extend(found);
            if connections.len() > limit {
                break;
            }
        }
        let mut next = String::new();
        if connections.len() > limit {
            connections.truncate(limit);
            next = connections
                .last()
                .map(|last| last.id.clone())
                .unwrap_or_default();
        }
        Ok(ConnectionList { connections, next })
    }

    async fn show(&self, text: &str) -> Result<v1::Connection, Refusal> {
        let (index, id) = self.locate(text)?;
        self.ask(index, |reply| ShardCommand::Show {
            slot: id.slot,
            generation: id.generation,
            reply,
        })
        .await?
        .ok_or_else(|| gone(text))
    }

    async fn close(&self, close: v1::CloseConnection) -> Result<Closed, Refusal> {
        let behaviour = behaviour(close.behaviour)?;
        let (index, id) = self.locate(&close.connection_id)?;
        let closed = self
            .ask(index, |reply| ShardCommand::Close {
                slot: id.slot,
                generation: id.generation,
                behaviour,
                reply,
            })
            .await?;
        if closed {
            Ok(Closed { count: 1 })
        } else {
            Err(gone(&close.connection_id))
        }
    }

    async fn close_selected(&self, close: v1::CloseSelected) -> Result<Closed, Refusal> {
        let behaviour = behaviour(close.behaviour)?;
        let selector = close.selector.unwrap_or_default();
        if selector == Selector::default() {
            return Err(Refusal::Invalid(
                "the selector is empty: set at least one field, or drain the data plane".into(),
            ));
        }
        let counts = self
            .each(|reply| ShardCommand::CloseSelected {
                selector: selector.clone(),
                behaviour: behaviour.clone(),
                reply,
            })
            .await?;
        let mut count = 0;
        for shard in counts {
            count += shard.map_err(Refusal::Invalid)?;
        }
        Ok(Closed { count })
    }

    /// A listener that is in service. Empty means all of them.
    fn listener(&self, id: String) -> Result<Option<String>, Refusal> {
        if id.is_empty() {
            return Ok(None);
        }
        let serving = self.serving.borrow();
        let known = serving.as_ref().is_some_and(|serving| {
            serving
                .snapshot
                .listeners()
                .any(|listener| *listener.id == *id)
        });
        if known {
            Ok(Some(id))
        } else {
            Err(Refusal::NotFound(format!("there is no listener `{id}`")))
        }
    }

    /// The shard of a connection.
    fn locate(&self, text: &str) -> Result<(usize, ConnectionId), Refusal> {
        let id = parse(text)?;
        let index = usize::from(id.shard);
        if id.dataplane != self.dataplane || index >= self.shards.len() {
            return Err(gone(text));
        }
        Ok((index, id))
    }

    /// Asks every shard at the same time.
    async fn each<T>(
        &self,
        command: impl Fn(oneshot::Sender<T>) -> ShardCommand,
    ) -> Result<Vec<T>, Refusal> {
        let answers = (0..self.shards.len()).map(|index| self.ask(index, &command));
        futures_util::future::try_join_all(answers).await
    }

    async fn ask<T>(
        &self,
        index: usize,
        command: impl FnOnce(oneshot::Sender<T>) -> ShardCommand,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.shards[index].try_send(command(reply)).map_err(|_| {
            Refusal::Busy(format!("shard {index} takes no commands now: try again"))
        })?;
        match timeout(ANSWER_DEADLINE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Refusal::Busy(format!("shard {index} is shutting down"))),
            Err(_) => Err(Refusal::Busy(format!(
                "shard {index} does not answer in time"
            ))),
        }
    }
}

fn parse(text: &str) -> Result<ConnectionId, Refusal> {
    text.parse()
        .map_err(|error: tidegate_proto::InvalidConnectionId| Refusal::Invalid(error.to_string()))
}

fn gone(id: &str) -> Refusal {
    Refusal::NotFound(format!("there is no connection `{id}`"))
}

/// How to close; without a word of it, as HTTP/3 does when nothing is wrong.
fn behaviour(
    wanted: Option<v1::ConnectionShutdownBehaviour>,
) -> Result<ConnectionShutdownBehaviour, Refusal> {
    let wanted = wanted.unwrap_or(v1::ConnectionShutdownBehaviour {
        send_application_close: true,
        error_code: H3_NO_ERROR,
        reason: String::new(),
    });
    if wanted.error_code > LARGEST_CODE {
        return Err(Refusal::Invalid(format!(
            "error_code {}: give less than 2^62",
            wanted.error_code
        )));
    }
    if wanted.reason.len() > LONGEST_REASON {
        return Err(Refusal::Invalid(format!(
            "reason: give at most {LONGEST_REASON} bytes"
        )));
    }
    Ok(wanted.into())
}
