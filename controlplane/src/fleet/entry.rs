//! Who is let in, and for how long: by certificate, or anyone where only this machine can
//! reach the port.

use std::{sync::Arc, time::Duration};

use tidegate_proto::v1;
use tokio::time::sleep;
use tonic::{Request, Status};
use tracing::warn;

use crate::{
    clock::unix_millis,
    trust::{Identity, Peer},
};

/// A clock may be set: this is the longest wait before it is looked at again.
const LONGEST_NAP: Duration = Duration::from_secs(60);

/// What a port asks of dataplanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Nothing: it is on loopback.
    Loopback,
    /// A certificate.
    Certificate,
}

/// What one caller was let in with.
pub(super) struct Pass(Option<(Arc<Identity>, i64)>);

impl Entry {
    pub(super) fn pass<T>(self, request: &Request<T>) -> Result<Pass, Status> {
        if self == Self::Loopback {
            return Ok(Pass(None));
        }
        let peer = request.extensions().get::<Peer>();
        let known = peer.and_then(|peer| Some((peer.identity.clone()?, peer.expires_at_ms)));
        match known {
            Some(known) => Ok(Pass(Some(known))),
            None => Err(Status::unauthenticated(
                "this needs a dataplane's certificate: enrol first (tidegate.v1.Trust)",
            )),
        }
    }
}

impl Pass {
    pub(super) fn check(&self, hello: &v1::Hello) -> Result<(), Status> {
        match &self.0 {
            Some((identity, _)) => identity.check(hello).map_err(Status::permission_denied),
            None => Ok(()),
        }
    }

    pub(super) fn check_report(&self, batch: &v1::ReportBatch) -> Result<(), Status> {
        let Some((identity, _)) = &self.0 else {
            return Ok(());
        };
        identity.check_report(batch).map_err(|why| {
            warn!(dataplane = identity.dataplane, why, "report refused");
            Status::permission_denied(why)
        })
    }

    /// Waits until what was shown is no longer valid.
    pub(super) async fn expired(&self) {
        let Some((_, expires_at_ms)) = &self.0 else {
            return std::future::pending().await;
        };
        loop {
            let left = expires_at_ms.saturating_sub(unix_millis());
            if left <= 0 {
                return;
            }
            sleep(LONGEST_NAP.min(Duration::from_millis(left.unsigned_abs()))).await;
        }
    }
}
