//! Captures: begun on the shards, and read piece by piece.

use std::{sync::Arc, time::Duration};

use tidegate_proto::v1::{self, CaptureBegun, CapturePiece, Done, capture_next::What};

use super::{Commander, Refusal};
use crate::{
    capture::{Armed, Buffer, Form, Limits, Qlog, Refused},
    shard::ShardCommand,
};

impl Commander {
    pub(super) async fn begin_capture(
        &self,
        begin: v1::BeginCapture,
    ) -> Result<CaptureBegun, Refusal> {
        let level = begin.level.try_into().map_err(Refusal::Invalid)?;
        let (index, id) = self.locate(&begin.connection_id)?;
        let (capture_id, buffer) = self.open(Form::Qlog, begin.limits)?;
        let begun = self
            .ask(index, |reply| ShardCommand::Capture {
                slot: id.slot,
                generation: id.generation,
                qlog: Qlog { buffer, level },
                reply,
            })
            .await
            .and_then(|begun| begun.map_err(|why| refused(&begin.connection_id, why)));
        self.settle(capture_id, begun)
    }

    pub(super) async fn capture_next(
        &self,
        next: v1::CaptureNext,
    ) -> Result<CaptureBegun, Refusal> {
        let form = match next.what() {
            What::Qlog => Form::Qlog,
            What::KeyLog => Form::KeyLog,
            What::Unspecified => {
                return Err(Refusal::Invalid("what: give qlog or key_log".into()));
            }
        };
        let level = next.level.try_into().map_err(Refusal::Invalid)?;
        let (capture_id, buffer) = self.open(form, next.limits)?;
        let selector = next.selector.unwrap_or_default();
        let armed = match form {
            Form::Qlog => Armed::qlog(buffer, level, selector),
            Form::KeyLog => Armed::key_log(buffer, selector, next.connections),
        };
        let begun = match armed.map(Arc::new) {
            Ok(armed) => self
                .each(|reply| ShardCommand::Arm {
                    armed: armed.clone(),
                    reply,
                })
                .await
                .map(drop),
            Err(wrong) => Err(Refusal::Invalid(wrong)),
        };
        self.settle(capture_id, begun)
    }

    pub(super) async fn read_capture(
        &self,
        read: v1::ReadCapture,
    ) -> Result<CapturePiece, Refusal> {
        let patience = Duration::from_millis(read.wait_ms);
        match self.captures.read(read.capture_id, patience).await {
            Some((data, end)) => Ok(CapturePiece {
                data: data.into(),
                end,
            }),
            None => Err(no_capture(read.capture_id)),
        }
    }

    pub(super) fn stop_capture(&self, stop: &v1::StopCapture) -> Result<Done, Refusal> {
        match self.captures.stop(stop.capture_id) {
            true => Ok(Done {}),
            false => Err(no_capture(stop.capture_id)),
        }
    }

    fn open(
        &self,
        form: Form,
        limits: Option<v1::CaptureLimits>,
    ) -> Result<(u64, Arc<Buffer>), Refusal> {
        let v1::CaptureLimits {
            duration_ms,
            max_bytes,
        } = limits.unwrap_or_default();
        let limits = Limits::new(duration_ms, max_bytes).map_err(Refusal::Invalid)?;
        self.captures.open(form, limits).ok_or_else(|| {
            Refusal::Busy("as many captures as may be are under way: try again later".into())
        })
    }

    /// One that came to nothing does not stay open.
    fn settle(&self, capture_id: u64, begun: Result<(), Refusal>) -> Result<CaptureBegun, Refusal> {
        if begun.is_err() {
            self.captures.stop(capture_id);
        }
        begun.map(|()| CaptureBegun { capture_id })
    }
}

fn refused(id: &str, why: Refused) -> Refusal {
    let said = format!("connection `{id}`: {why}");
    match why {
        Refused::Gone => Refusal::NotFound(said),
        Refused::NotQuic => Refusal::Invalid(said),
        Refused::Captured | Refused::Busy => Refusal::Busy(said),
    }
}

fn no_capture(id: u64) -> Refusal {
    Refusal::NotFound(format!("there is no capture {id}, or nobody asked for it"))
}
