//! Sends a request to a backend and waits for the head of its response.
//!
//! Owns the time-outs of the way there and what a failure on it means for the client.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode, Version, request};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::{
    Body, Interim, Origin, Transport,
    exchange::{Exchange, RequestBody, ResponseBody},
    failure::Failure,
    fields::{self, Framing},
    forwarded,
    interim::Interims,
    upstream::Lease,
};
use crate::{
    balance,
    filter::Filter,
    route::Rule,
    snapshot::{Backend, Certificate},
};

/// A request that is ready to go.
pub(super) struct Outgoing {
    pub(super) parts: request::Parts,
    pub(super) content: RequestBody,
    pub(super) framing: Framing,
}

/// Where it goes.
#[derive(Clone, Copy)]
pub(super) struct Upstream<'a> {
    pub(super) backend: &'a Arc<Backend>,
    /// The listener's certificate towards backends.
    pub(super) identity: Option<&'a Arc<Certificate>>,
    pub(super) endpoints: &'a [SocketAddr],
    /// From now until the response's head.
    pub(super) timeout: Option<Duration>,
}

/// A backend of the rule, and its own filters.
pub(super) struct Chosen<'a> {
    pub(super) backend: &'a Arc<Backend>,
    pub(super) filters: &'a [Filter],
}

/// One of the rule's backends by their weights.
pub(super) fn choose(rule: &Rule) -> Result<Chosen<'_>, Failure> {
    let chosen = balance::pick(&rule.backends, &mut rand::rng()).ok_or(Failure::Unresolved)?;
    let backend = chosen.backend.as_ref().ok_or(Failure::Unresolved)?;
    Ok(Chosen {
        backend,
        filters: &chosen.filters,
    })
}

/// The response, as soon as its head is there.
pub(super) async fn forward(
    origin: &Origin,
    outgoing: Outgoing,
    upstream: Upstream<'_>,
    interim: Interim<'_>,
    exchange: &Rc<Exchange>,
) -> Result<Response<Body>, Failure> {
    let request = exchange.deadline().map(|at| (at, Failure::RequestTimeout));
    let backend = upstream
        .timeout
        .map(|time| (Instant::now() + time, Failure::BackendTimeout));
    let limit = [request, backend]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at);

    let attempt = attempt(origin, outgoing, upstream, interim);
    let outcome = match limit {
        None => attempt.await,
        Some((at, failure)) => timeout_at(at, attempt).await.unwrap_or_else(|_| {
            origin.shard.metrics.http.upstream_error("timeout");
            Err(failure)
        }),
    };
    // A request that broke off breaks the upstream's connection: the fault is the client's.
    let (response, lease) =
        outcome.map_err(|failure| exchange.upload_failure().unwrap_or(failure))?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked for it: `Upgrade` is not sent.
        return Err(Failure::Upstream);
    }
    let (mut head, content) = response.into_parts();
    fields::strip_hop_by_hop(&mut head.headers);
    forwarded::append_via(&mut head.headers, head.version);
    // Front-ends write it in the version of the client.
    head.version = Version::default();
    exchange.answered(head.status);
    let content = ResponseBody::new(content, exchange.clone(), lease);
    Ok(Response::from_parts(head, Body::Upstream(content)))
}

async fn attempt(
    origin: &Origin,
    outgoing: Outgoing,
    upstream: Upstream<'_>,
    interim: Interim<'_>,
) -> Result<(Response<Incoming>, Lease), Failure> {
    let Outgoing {
        parts,
        mut content,
        framing,
    } = outgoing;
    if framing.expects_continue {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::CONTINUE;
        interim(head);
    }
    if matches!(framing.content_length, None | Some(0)) {
        content.settle().await?;
    }
    let mut request = Request::from_parts(parts, content);
    let shard = &origin.shard;
    let Upstream {
        backend,
        identity,
        endpoints,
        ..
    } = upstream;
    match origin.transport {
        // Hyper's server has no way to send them.
        Transport::Tcp => {
            shard
                .upstreams
                .send(backend, identity, endpoints, request, &shard.metrics.http)
                .await
        }
        Transport::Quic => {
            let interims = Interims::of(&mut request, shard.metrics.clone());
            let response =
                shard
                    .upstreams
                    .send(backend, identity, endpoints, request, &shard.metrics.http);
            interims.relay(interim, response).await
        }
    }
}
