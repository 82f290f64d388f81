//! Dataplanes: who is there, and draining one.

use tidegate_proto::v1::{self, command::Kind as Command, command_reply::Kind as Reply};

use super::{Operations, connections::unexpected};
use crate::{
    api::failure::Failure,
    fleet::{self, NotReady},
};

impl Operations {
    /// The dataplanes that hold a session.
    pub(crate) fn list_dataplanes(&self) -> v1::ListDataplanesResponse {
        v1::ListDataplanesResponse {
            dataplanes: self.fleet.dataplanes(),
        }
    }

    /// Begins to drain a whole dataplane.
    pub(crate) async fn drain_dataplane(
        &self,
        request: v1::DrainRequest,
    ) -> Result<v1::DrainResponse, Failure> {
        let v1::DrainRequest { id, deadline_ms } = request;
        let drain = v1::Drain {
            listener: String::new(),
            deadline_ms,
        };
        self.begin(id, Command::Drain(drain)).await
    }

    /// New connections of a drained dataplane are ordinary again.
    pub(crate) async fn undrain_dataplane(
        &self,
        request: v1::UndrainRequest,
    ) -> Result<v1::DrainResponse, Failure> {
        let undrain = v1::Undrain {
            listener: String::new(),
        };
        self.begin(request.id, Command::Undrain(undrain)).await
    }

    async fn begin(&self, id: String, command: Command) -> Result<v1::DrainResponse, Failure> {
        match self.fleet.command(&id, command).await? {
            Reply::Done(v1::Done {}) => Ok(v1::DrainResponse {
                dataplanes: vec![id],
            }),
            _ => Err(unexpected()),
        }
    }

    /// Whether traffic can flow.
    pub(crate) fn readiness(&self) -> Result<(), NotReady> {
        fleet::readiness(
            self.fleet.configuration().as_deref(),
            &self.fleet.dataplanes(),
        )
    }
}
