//! Copies of requests for backends whose answers nobody gets.
//!
//! A copy runs on a task of its own and shares what it can with the request. Whatever
//! becomes of it, the request does not notice: it waits for nothing, and a copy that falls
//! behind is broken off.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use http::{Request, request::Parts};
use tokio::{task::spawn_local, time::timeout};

use super::{
    Origin,
    exchange::{RequestBody, Tap},
    failure::Failure,
    upstream::{Destination, Tried, drain},
};
use crate::{
    filter::{self, Filter},
    shard::Shard,
    snapshot::{Backend, Certificate, Configuration},
};

/// A copy that is to be made, with the head as filters have left it.
pub(super) struct Mirrored {
    parts: Parts,
    backend: Arc<Backend>,
    identity: Option<Arc<Certificate>>,
    configuration: Rc<Configuration>,
}

/// The copies that these filters ask for of a request.
pub(super) fn of(
    filters: &[Filter],
    parts: &Parts,
    identity: Option<&Arc<Certificate>>,
    configuration: &Rc<Configuration>,
) -> Vec<Mirrored> {
    let mut rng = rand::rng();
    let chosen = filter::mirrors(filters).filter(|mirror| mirror.takes(&mut rng));
    let resolved = chosen.filter_map(|mirror| mirror.backend.clone());
    let mirrored = |backend| Mirrored {
        parts: parts.clone(),
        backend,
        identity: identity.cloned(),
        configuration: configuration.clone(),
    };
    resolved.map(mirrored).collect()
}

impl Mirrored {
    /// Sends the copy, with what comes from now on of `content`.
    pub(super) fn start(self, origin: &Origin, content: &RequestBody) {
        let shard = origin.shard.clone();
        let metrics = &shard.metrics.http;
        let Some(place) = Place::take(&shard.mirrors) else {
            return metrics.mirrored("limit");
        };
        let (body, tap) = content.copy();
        spawn_local(async move {
            let _place = place;
            let sent = timeout(LONGEST, self.send(&shard, body)).await;
            let outcome = outcome(&sent.map_err(|_| ()), tap.as_deref());
            shard.metrics.http.mirrored(outcome);
        });
    }

    async fn send(self, shard: &Shard, body: RequestBody) -> Result<(), Failure> {
        let to = Destination {
            backend: &self.backend,
            identity: self.identity.as_ref(),
            endpoints: self.configuration.endpoints.of(&self.backend.id),
        };
        let request = Box::new(Request::from_parts(self.parts, body));
        let metrics = &shard.metrics.http;
        let mut tried = Tried::new();
        let sending = shard.upstreams.send(to, &mut tried, request, None, metrics);
        let (response, lease) = sending.await?;
        drain(response.into_body(), lease, u64::MAX).await;
        Ok(())
    }
}

fn outcome(sent: &Result<Result<(), Failure>, ()>, tap: Option<&Tap>) -> &'static str {
    match sent {
        _ if tap.is_some_and(Tap::lagged) => "lagged",
        Err(()) => "timeout",
        Ok(Ok(())) => "answered",
        Ok(Err(Failure::Connect | Failure::NoEndpoints)) => "connect",
        Ok(Err(_)) => "failed",
    }
}

/// A place among the copies of a shard that are under way, until it is dropped.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(under_way: &Rc<Cell<usize>>) -> Option<Self> {
        let count = under_way.get();
        (count < MOST_UNDER_WAY).then(|| {
            under_way.set(count + 1);
            Self(under_way.clone())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Copies of one shard. More are left out.
const MOST_UNDER_WAY: usize = 1024;
/// From the head of a copy to the end of its answer.
const LONGEST: Duration = Duration::from_secs(60);
