//! Captures: what dataplanes write down of a connection, as it comes.
//!
//! A dataplane is asked for one piece after the other, each when the one before has been
//! taken by the client. So a client that is slow makes the dataplane leave records out,
//! which it says, and nothing piles up here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use tidegate_proto::v1::{
    self, capture_next::What, command::Kind as Command, command_reply::Kind as Reply,
};
use tokio::time::sleep;

use super::{
    Operations,
    connections::{parse_id, unexpected},
};
use crate::{
    api::failure::Failure,
    fleet::{CommandFailure, Fleet},
    selector::Selector,
};

/// Milliseconds that a dataplane waits for something to be written before it says that
/// there is nothing.
const WAIT_MS: u64 = 2_000;
/// Between that and the next question, should it not wait.
const PAUSE: Duration = Duration::from_millis(20);

/// What is written, from one moment on. Dropped, it ends.
pub(crate) struct Capture {
    fleet: Arc<Fleet>,
    /// Those that are not over, each with a read under way.
    open: Vec<Source>,
    reads: FuturesUnordered<BoxFuture<'static, (Source, Result<v1::CapturePiece, Failure>)>>,
    /// The first that has something to say is the only one that is wanted.
    first_only: bool,
}

/// A capture of one dataplane.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    dataplane: String,
    id: u64,
}

impl Operations {
    /// qlog of a connection from now on.
    pub(crate) async fn capture_qlog(
        &self,
        request: v1::CaptureQlogRequest,
    ) -> Result<Capture, Failure> {
        let v1::CaptureQlogRequest {
            connection_id,
            limits,
            level,
        } = request;
        let dataplane = parse_id(&connection_id)?.dataplane;
        let begin = Command::BeginCapture(v1::BeginCapture {
            connection_id,
            limits,
            level,
        });
        let source = begin_at(&self.fleet, dataplane, begin).await??;
        Ok(Capture::of(&self.fleet, vec![source], false))
    }

    /// qlog of the next connection, from its first packet on.
    pub(crate) async fn capture_next_qlog(
        &self,
        request: v1::CaptureNextQlogRequest,
    ) -> Result<Capture, Failure> {
        let v1::CaptureNextQlogRequest {
            peer,
            limits,
            level,
        } = request;
        let next = v1::CaptureNext {
            what: What::Qlog.into(),
            selector: Some(selector(String::new(), peer)?),
            connections: 1,
            limits,
            level,
        };
        self.capture_next(next, true).await
    }

    /// The key log of the next connections.
    pub(crate) async fn capture_key_log(
        &self,
        request: v1::CaptureKeyLogRequest,
    ) -> Result<Capture, Failure> {
        let v1::CaptureKeyLogRequest {
            server_name,
            peer,
            connections,
            limits,
        } = request;
        let next = v1::CaptureNext {
            what: What::KeyLog.into(),
            selector: Some(selector(server_name, peer)?),
            connections,
            limits,
            level: v1::QlogLevel::Unspecified.into(),
        };
        self.capture_next(next, false).await
    }

    /// Nobody knows which dataplane a connection will reach: all wait for it.
    async fn capture_next(
        &self,
        next: v1::CaptureNext,
        first_only: bool,
    ) -> Result<Capture, Failure> {
        let begun = join_all(self.dataplane_ids().into_iter().map(|id| {
            let next = Command::CaptureNext(next.clone());
            begin_at(&self.fleet, id, next)
        }));
        let (mut capture, mut failed) = (Capture::of(&self.fleet, Vec::new(), first_only), None);
        for begun in begun.await {
            match begun {
                Ok(Ok(source)) => capture.add(source),
                // Its connections are gone with it.
                Err(CommandFailure::UnknownDataplane(_)) => {}
                Ok(Err(failure)) => failed = Some(failure),
                Err(failure) => failed = Some(failure.into()),
            }
        }
        match failed {
            // What was begun ends with the capture.
            Some(failure) => Err(failure),
            None if capture.open.is_empty() => {
                Err(Failure::NotFound("no dataplane is connected".into()))
            }
            None => Ok(capture),
        }
    }
}

async fn begin_at(
    fleet: &Fleet,
    dataplane: String,
    command: Command,
) -> Result<Result<Source, Failure>, CommandFailure> {
    Ok(match fleet.command(&dataplane, command).await? {
        Reply::CaptureBegun(v1::CaptureBegun { capture_id }) => Ok(Source {
            dataplane,
            id: capture_id,
        }),
        _ => Err(unexpected()),
    })
}

fn selector(server_name: String, peer: String) -> Result<v1::Selector, Failure> {
    let selector = v1::Selector {
        server_name,
        peer,
        ..Default::default()
    };
    Ok(Selector::parse(selector)?.to_wire())
}

impl Capture {
    fn of(fleet: &Arc<Fleet>, sources: Vec<Source>, first_only: bool) -> Self {
        let mut capture = Self {
            fleet: Arc::clone(fleet),
            open: Vec::new(),
            reads: FuturesUnordered::new(),
            first_only,
        };
        sources.into_iter().for_each(|source| capture.add(source));
        capture
    }

    fn add(&mut self, source: Source) {
        self.open.push(source.clone());
        self.ask(source, Duration::ZERO);
    }

    fn ask(&self, source: Source, pause: Duration) {
        let fleet = Arc::clone(&self.fleet);
        self.reads.push(Box::pin(async move {
            sleep(pause).await;
            let piece = read(&fleet, &source).await;
            (source, piece)
        }));
    }

    /// The next records. `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            let (source, read) = self.reads.next().await?;
            let piece = match read {
                Ok(piece) => piece,
                Err(failure) => {
                    self.open.retain(|open| *open != source);
                    if self.open.is_empty() {
                        return Some(Err(failure));
                    }
                    continue;
                }
            };
            if piece.end {
                self.open.retain(|open| *open != source);
            } else if piece.data.is_empty() {
                self.ask(source.clone(), PAUSE);
            } else {
                self.ask(source.clone(), Duration::ZERO);
            }
            if piece.data.is_empty() {
                continue;
            }
            if self.first_only {
                self.keep(&source);
            }
            return Some(Ok(piece.data));
        }
    }

    /// Ends what others wait for.
    fn keep(&mut self, source: &Source) {
        self.first_only = false;
        let others: Vec<_> = self.open.extract_if(.., |open| *open != *source).collect();
        if !others.is_empty() {
            self.reads.clear();
            if self.open.contains(source) {
                self.ask(source.clone(), Duration::ZERO);
            }
            stop(&self.fleet, others);
        }
    }
}

impl Drop for Capture {
    /// A client that leaves is no reason to go on writing.
    fn drop(&mut self) {
        stop(&self.fleet, std::mem::take(&mut self.open));
    }
}

async fn read(fleet: &Fleet, source: &Source) -> Result<v1::CapturePiece, Failure> {
    let read = Command::ReadCapture(v1::ReadCapture {
        capture_id: source.id,
        wait_ms: WAIT_MS,
    });
    match fleet.command(&source.dataplane, read).await? {
        Reply::CapturePiece(piece) => Ok(piece),
        _ => Err(unexpected()),
    }
}

fn stop(fleet: &Arc<Fleet>, sources: Vec<Source>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    for source in sources {
        let fleet = Arc::clone(fleet);
        runtime.spawn(async move {
            let stop = Command::StopCapture(v1::StopCapture {
                capture_id: source.id,
            });
            // A dataplane that does not hear it gives the capture up by itself.
            let _unheard = fleet.command(&source.dataplane, stop).await;
        });
    }
}
