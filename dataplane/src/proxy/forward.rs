//! Sends a request to a backend and waits for the head of its response.
//!
//! Owns the time-outs of the way there and what a failure on it means for the client.

use std::{
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{HeaderValue, Request, Response, StatusCode, Version, header, response};
use hyper::body::Incoming;
use tokio::{
    task::spawn_local,
    time::{Instant, timeout_at},
};

use super::{
    Body, Interim, Origin, Transport,
    exchange::{Exchange, RequestBody, ResponseBody},
    failure::Failure,
    fields::{self, Framing, Upgrade},
    forwarded,
    interim::Interims,
    mirror::Mirrored,
    retry::Attempts,
    tunnel::Tunnel,
    upstream::{self, Destination, Lease, Tried, Upgraded, drain},
};
use crate::{
    balance,
    filter::Filter,
    route::{Retry, Rule},
    snapshot::Backend,
};

/// A request that is ready to go.
pub(super) struct Outgoing {
    /// In a box, because many hands pass it on.
    pub(super) request: Box<Request<RequestBody>>,
    pub(super) framing: Framing,
    pub(super) mirrored: Vec<Mirrored>,
}

/// Where it goes, and how long and how often.
#[derive(Clone, Copy)]
pub(super) struct Upstream<'a> {
    pub(super) to: Destination<'a>,
    /// For each attempt, until the response's head.
    pub(super) timeout: Option<Duration>,
    pub(super) retry: Option<&'a Retry>,
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
    let (response, lease) = respond(origin, outgoing, upstream, interim, exchange).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked for it: `Upgrade` is not sent.
        return Err(Failure::Upstream);
    }
    let (head, content) = response.into_parts();
    let head = received(head, exchange)?;
    let content = ResponseBody::new(content, exchange.clone(), lease);
    Ok(Response::from_parts(head, Body::Upstream(content)))
}

/// The response to a request for another protocol: the upstream's assent, or any other.
pub(super) async fn upgrade(
    origin: &Origin,
    outgoing: Outgoing,
    upstream: Upstream<'_>,
    exchange: &Rc<Exchange>,
    client: Body,
    idle: Duration,
) -> Result<Response<Body>, Failure> {
    let extended = outgoing.framing.upgrade == Some(Upgrade::Extended);
    let metrics = &origin.shard.metrics.http;
    let attempt = origin
        .shard
        .upstreams
        .upgrade(upstream.to, outgoing.request, metrics);
    let outcome = match limit(exchange.deadline(), upstream.timeout) {
        None => attempt.await,
        Some((at, failure)) => timeout_at(at, attempt).await.unwrap_or_else(|_| {
            metrics.upstream_error("timeout");
            Err(failure)
        }),
    };
    let (response, upgraded) = outcome?;
    let (mut head, content) = response.into_parts();
    let protocol = head.headers.remove(header::UPGRADE);
    match &upgraded {
        Upgraded::Yes(_) if extended => {
            head.status = StatusCode::OK;
            head.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        }
        // It would be assent, where 101 is none.
        Upgraded::No(_) if extended && head.status.is_success() => return Err(Failure::Upstream),
        _ => {}
    }
    let mut head = received(head, exchange)?;
    let body = match upgraded {
        Upgraded::No(lease) => Body::Upstream(ResponseBody::new(content, exchange.clone(), lease)),
        Upgraded::Yes(switched) => {
            let protocol = protocol.ok_or(Failure::Upstream)?;
            if !extended {
                head.headers.insert(header::UPGRADE, protocol);
                let upgrade = HeaderValue::from_static("upgrade");
                head.headers.insert(header::CONNECTION, upgrade);
            }
            let tunnel = Tunnel::new(switched, exchange.clone(), client, idle);
            Body::Tunnel(Box::new(tunnel))
        }
    };
    Ok(Response::from_parts(head, body))
}

/// A response's head on its way to the client.
fn received(mut head: response::Parts, exchange: &Exchange) -> Result<response::Parts, Failure> {
    for_client(&mut head)?;
    exchange.answered(head.status);
    Ok(head)
}

/// Takes out of a head what was for the upstream's connection.
pub(crate) fn for_client(head: &mut response::Parts) -> Result<(), Failure> {
    fields::check_response(head.version, &mut head.headers)?;
    forwarded::append_via(&mut head.headers, head.version);
    // Front-ends write it in the version of the client.
    head.version = Version::default();
    Ok(())
}

/// The response to the only attempt, or to the last of several.
async fn respond(
    origin: &Origin,
    outgoing: Outgoing,
    upstream: Upstream<'_>,
    interim: Interim<'_>,
    exchange: &Rc<Exchange>,
) -> Result<(Response<Incoming>, Lease), Failure> {
    let attempts = Attempts::new(upstream.retry);
    if attempts.are_left() {
        // Its state is large: requests that are sent once need not carry it.
        return Box::pin(retry(
            origin, outgoing, upstream, interim, exchange, attempts,
        ))
        .await;
    }
    let mut tried = Tried::new();
    let attempt = pin!(async {
        let request = outgoing.prepare(origin, interim).await?;
        send(origin, upstream.to, &mut tried, request, interim).await
    });
    limited(origin, upstream, exchange, attempt).await
}

/// Tries until there is a response, or no attempt is left.
async fn retry(
    origin: &Origin,
    outgoing: Outgoing,
    upstream: Upstream<'_>,
    interim: Interim<'_>,
    exchange: &Rc<Exchange>,
    mut attempts: Attempts<'_>,
) -> Result<(Response<Incoming>, Lease), Failure> {
    exchange.keep_upload();
    let mut copy = Some(upstream::copy(&outgoing.request, RequestBody::empty()));
    let mut first = Some(outgoing);
    let mut next = None;
    loop {
        let outcome = {
            let attempt = pin!(async {
                let request = match (first.take(), next.take()) {
                    (Some(outgoing), _) => outgoing.prepare(origin, interim).await?,
                    (None, Some(request)) => request,
                    (None, None) => return Err(Failure::Upstream),
                };
                send(origin, upstream.to, &mut attempts.tried, request, interim).await
            });
            limited(origin, upstream, exchange, attempt).await
        };
        let result = match &outcome {
            Ok((response, _)) => Ok(response.status()),
            Err(failure) => Err(*failure),
        };
        if !exchange.upload_is_repeatable() {
            return outcome;
        }
        let Some(again) = attempts.next(result, exchange.deadline(), &mut rand::rng()) else {
            return outcome;
        };
        if let Ok((response, lease)) = outcome {
            dismiss(response, lease, exchange);
        }
        tokio::time::sleep(again.after).await;
        // The client may have gone, or broken off, meanwhile.
        let Some(content) = exchange.repeat_upload() else {
            return Err(exchange.upload_failure().unwrap_or(Failure::Upstream));
        };
        origin.shard.metrics.http.upstream_retry(again.reason);
        next = match attempts.are_left() {
            true => copy.as_ref().map(|copy| upstream::copy(copy, content)),
            false => copy.take().map(|mut copy| {
                *copy.body_mut() = content;
                copy
            }),
        };
    }
}

/// The outcome of an attempt, within its time.
async fn limited<T>(
    origin: &Origin,
    upstream: Upstream<'_>,
    exchange: &Exchange,
    attempt: Pin<&mut impl Future<Output = Result<T, Failure>>>,
) -> Result<T, Failure> {
    let outcome = match limit(exchange.deadline(), upstream.timeout) {
        None => attempt.await,
        Some((at, failure)) => timeout_at(at, attempt).await.unwrap_or_else(|_| {
            origin.shard.metrics.http.upstream_error("timeout");
            Err(failure)
        }),
    };
    // A request that broke off breaks the upstream's connection: the fault is the client's.
    outcome.map_err(|failure| exchange.upload_failure().unwrap_or(failure))
}

/// When an attempt must have a response, and what it means that it has none.
fn limit(deadline: Option<Instant>, timeout: Option<Duration>) -> Option<(Instant, Failure)> {
    let request = deadline.map(|at| (at, Failure::RequestTimeout));
    let backend = timeout.map(|time| (Instant::now() + time, Failure::BackendTimeout));
    let limits = [request, backend].into_iter().flatten();
    limits.min_by_key(|(at, _)| *at)
}

/// Gets rid of a response that nobody will see.
fn dismiss(response: Response<Incoming>, lease: Lease, exchange: &Exchange) {
    if exchange.upload_is_done() {
        let draining = drain(response.into_body(), lease, MOST_DRAINED);
        spawn_local(tokio::time::timeout(DRAIN_TIMEOUT, draining));
    } else {
        lease.discard();
    }
}

impl Outgoing {
    /// What is to be done once, before the first attempt.
    async fn prepare(
        self,
        origin: &Origin,
        interim: Interim<'_>,
    ) -> Result<Box<Request<RequestBody>>, Failure> {
        let Self {
            mut request,
            framing,
            mirrored,
        } = self;
        if framing.expects_continue {
            let mut head = Response::new(());
            *head.status_mut() = StatusCode::CONTINUE;
            interim(head);
        }
        if matches!(framing.content_length, None | Some(0)) {
            request.body_mut().settle().await?;
        }
        for mirrored in mirrored {
            mirrored.start(origin, request.body());
        }
        Ok(request)
    }
}

async fn send(
    origin: &Origin,
    to: Destination<'_>,
    tried: &mut Tried,
    request: Box<Request<RequestBody>>,
    interim: Interim<'_>,
) -> Result<(Response<Incoming>, Lease), Failure> {
    let shard = &origin.shard;
    let metrics = &shard.metrics.http;
    match origin.transport {
        // Hyper's server has no way to send them.
        Transport::Tcp => {
            shard
                .upstreams
                .send(to, tried, request, None, metrics)
                .await
        }
        Transport::Quic => {
            let interims = Interims::new(shard.metrics.clone());
            let response = (shard.upstreams).send(to, tried, request, Some(&interims), metrics);
            interims.relay(interim, pin!(response)).await
        }
    }
}

/// Of a response that is not the last attempt's, so much is read to keep its connection.
const MOST_DRAINED: u64 = 64 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
