//! The way to backends: which connection a request takes, and what becomes of it.
//!
//! Owns a shard's pools of HTTP/1.1 and HTTP/2 connections. A connection belongs to one
//! request at a time (HTTP/1.1) or counts its streams (HTTP/2); it comes back only after
//! a request and a response that ended well. Never looks into a message, and never sends
//! one twice unless the first try cannot have had an effect. Called by
//! [`serve`](super::serve).

mod connection;
mod dial;
mod endpoint;
mod pool;

use std::{future::poll_fn, net::SocketAddr, pin::Pin, sync::Arc, time::Instant};

use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use smallvec::SmallVec;

pub(crate) use self::connection::Lease;
#[cfg(debug_assertions)]
pub(crate) use self::connection::write_for_http1;
use self::{
    connection::{Connection, Exclusive, Upgradable},
    endpoint::SendError,
    pool::Backends,
};
use super::{exchange::RequestBody, failure::Failure, interim::Interims, tunnel::Switched};
use crate::{
    balance::Balancer,
    metrics::HttpMetrics,
    snapshot::{Backend, Certificate},
};

/// Where a request goes.
#[derive(Clone, Copy)]
pub(crate) struct Destination<'a> {
    pub(crate) backend: &'a Arc<Backend>,
    /// Shown to a backend over TLS that asks for a certificate.
    pub(crate) identity: Option<&'a Arc<Certificate>>,
    pub(crate) endpoints: &'a [SocketAddr],
}

/// Endpoints that a request was tried at: nearly always one.
pub(crate) type Tried = SmallVec<[SocketAddr; 1]>;

/// Whether the upstream changed its protocol.
pub(crate) enum Upgraded {
    Yes(Switched),
    No(Lease),
}

/// Every upstream connection of one shard.
#[derive(Default)]
pub struct Pools {
    balancer: Balancer,
    backends: Backends,
}

impl Pools {
    /// Sends the request to one of the endpoints. The response's content, and with it the
    /// connection, is for whoever holds the lease.
    ///
    /// Another endpoint is tried only where no connection came about. Endpoints in `tried`
    /// come last; those that are chosen are added. `interims` take what precedes the response.
    pub(crate) async fn send(
        &self,
        to: Destination<'_>,
        tried: &mut Tried,
        mut request: Box<Request<RequestBody>>,
        interims: Option<&Interims>,
        metrics: &HttpMetrics,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        let pool = self.backends.pool(to.backend, to.identity);
        let id = &to.backend.id;
        for attempt in 0..MOST_ENDPOINTS {
            let Some(address) = self.choose(to.endpoints, tried, attempt) else {
                return Err(no_endpoint(attempt));
            };
            let in_flight = self.balancer.begin(address);
            let endpoint = pool.endpoint(address);
            match endpoint.send(request, interims, metrics).await {
                Ok(sent) => {
                    if sent.dialed {
                        self.balancer.connected(address);
                    }
                    return Ok((
                        sent.response,
                        Lease::new(sent.connection, endpoint, in_flight),
                    ));
                }
                Err(SendError::Dial(error, unsent)) => {
                    tracing::debug!(backend = %id, %address, %error, "no connection");
                    self.balancer.connect_failed(address, Instant::now());
                    request = unsent;
                }
                Err(SendError::Broken(error)) => {
                    tracing::debug!(backend = %id, %address, %error, "no response");
                    return Err(Failure::Upstream);
                }
            }
        }
        Err(Failure::Connect)
    }

    /// Sends a request that asks for another protocol. The upstream may well answer in HTTP.
    pub(crate) async fn upgrade(
        &self,
        to: Destination<'_>,
        mut request: Box<Request<RequestBody>>,
        metrics: &HttpMetrics,
    ) -> Result<(Response<Incoming>, Upgraded), Failure> {
        let pool = self.backends.pool(to.backend, to.identity);
        let mut tried = Tried::new();
        for attempt in 0..MOST_ENDPOINTS {
            let Some(address) = self.choose(to.endpoints, &mut tried, attempt) else {
                return Err(no_endpoint(attempt));
            };
            let in_flight = self.balancer.begin(address);
            let endpoint = pool.endpoint(address);
            let (response, connection) = match endpoint.send_for_upgrade(request, metrics).await {
                Ok(sent) => sent,
                Err(SendError::Dial(_, unsent)) => {
                    self.balancer.connect_failed(address, Instant::now());
                    request = unsent;
                    continue;
                }
                Err(SendError::Broken(_)) => return Err(Failure::Upstream),
            };
            self.balancer.connected(address);
            let Upgradable { sender, task, rest } = connection;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let connection = Connection::Exclusive(Exclusive {
                    sender,
                    _task: task,
                });
                let lease = Lease::new(connection, endpoint, in_flight);
                return Ok((response, Upgraded::No(lease)));
            }
            // The task ends by itself, and must not be cut off before.
            let (early, io) = rest.await.map_err(|_| Failure::Upstream)?;
            let switched = Switched {
                io,
                early,
                in_flight,
            };
            return Ok((response, Upgraded::Yes(switched)));
        }
        Err(Failure::Connect)
    }

    /// An endpoint that was not tried; at the first attempt, also one that was.
    fn choose(
        &self,
        endpoints: &[SocketAddr],
        tried: &mut Tried,
        attempt: usize,
    ) -> Option<SocketAddr> {
        let (now, rng) = (Instant::now(), &mut rand::rng());
        let mut chosen = self.balancer.choose(endpoints, tried, now, rng);
        if chosen.is_none() && attempt == 0 {
            tried.clear();
            chosen = self.balancer.choose(endpoints, tried, now, rng);
        }
        tried.extend(chosen);
        chosen
    }
}

fn no_endpoint(attempt: usize) -> Failure {
    match attempt {
        0 => Failure::NoEndpoints,
        _ => Failure::Connect,
    }
}

/// The same request with another body.
pub(crate) fn copy(request: &Request<RequestBody>, body: RequestBody) -> Box<Request<RequestBody>> {
    let mut copy = Box::new(Request::new(body));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    copy
}

/// Reads what is left of a response that nobody wants, for the sake of its connection. Of
/// one that is longer than `most`, the connection is given up.
pub(crate) async fn drain(mut content: Incoming, lease: Lease, most: u64) {
    let mut read: u64 = 0;
    while read <= most {
        match poll_fn(|cx| Pin::new(&mut content).poll_frame(cx)).await {
            None => return lease.release(),
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(_)) => break,
        }
    }
    lease.discard();
}

/// Endpoints that a request is tried at. More would keep the client waiting for what is
/// likely an outage.
const MOST_ENDPOINTS: usize = 3;

#[cfg(test)]
mod tests;
