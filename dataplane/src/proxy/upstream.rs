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

use std::{net::SocketAddr, sync::Arc, time::Instant};

use http::{Request, Response};
use hyper::body::Incoming;

pub(crate) use self::connection::Lease;
use self::{endpoint::SendError, pool::Backends};
use super::{exchange::RequestBody, failure::Failure};
use crate::{
    balance::Balancer,
    metrics::HttpMetrics,
    snapshot::{Backend, Certificate},
};

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
    /// Another endpoint is tried only where no connection came about. `identity` is shown
    /// to a backend over TLS that asks for a certificate.
    pub(crate) async fn send(
        &self,
        backend: &Arc<Backend>,
        identity: Option<&Arc<Certificate>>,
        endpoints: &[SocketAddr],
        mut request: Request<RequestBody>,
        metrics: &HttpMetrics,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        let pool = self.backends.pool(backend, identity);
        let mut tried = Vec::new();
        while tried.len() < MOST_ENDPOINTS {
            let chosen = self
                .balancer
                .choose(endpoints, &tried, Instant::now(), &mut rand::rng());
            let Some(address) = chosen else { break };
            let in_flight = self.balancer.begin(address);
            let endpoint = pool.endpoint(address);
            match endpoint.send(request, metrics).await {
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
                    tracing::debug!(backend = %backend.id, %address, %error, "no connection");
                    self.balancer.connect_failed(address, Instant::now());
                    tried.push(address);
                    request = *unsent;
                }
                Err(SendError::Broken(error)) => {
                    tracing::debug!(backend = %backend.id, %address, %error, "no response");
                    return Err(Failure::Upstream);
                }
            }
        }
        Err(if tried.is_empty() {
            Failure::NoEndpoints
        } else {
            Failure::Connect
        })
    }
}

/// Endpoints that a request is tried at. More would keep the client waiting for what is
/// likely an outage.
const MOST_ENDPOINTS: usize = 3;

#[cfg(test)]
mod tests;
