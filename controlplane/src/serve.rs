//! The ports of a control plane: in the clear on loopback, or over TLS with certificates
//! of its own authority.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use axum::serve::ListenerExt;
use tidegate_proto::v1::{
    control_server::ControlServer, telemetry_server::TelemetryServer, trust_server::TrustServer,
};
use tokio::{net::TcpListener, sync::watch};
use tonic::transport::server::TcpIncoming;
use tracing::debug;

use crate::{
    fleet::{ControlService, Entry, Fleet, TelemetryService},
    store::AuditStore,
    trust::{Authority, Port, Reviewer, TrustService},
};

/// A dataplane that vanished is noticed after both.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest message of a dataplane: a page of 1000 connections, a batch of records.
const LARGEST_MESSAGE: usize = 32 << 20;
/// Largest message of someone who may be anyone.
const LARGEST_ENROLMENT: usize = 64 << 10;

/// What TLS needs, on all ports.
#[derive(Clone)]
pub(crate) struct Trusted {
    pub(crate) authority: Arc<Authority>,
    pub(crate) reviewer: Arc<dyn Reviewer>,
    /// Names under which this control plane is reached.
    pub(crate) names: Vec<String>,
}

/// Serves sessions, reports, and with TLS enrolment, until told to stop.
pub(crate) async fn serve_dataplanes(
    listener: TcpListener,
    fleet: Arc<Fleet>,
    store: Arc<AuditStore>,
    trusted: Option<Trusted>,
    mut stopping: watch::Receiver<bool>,
) -> anyhow::Error {
    let entry = match trusted {
        Some(_) => Entry::Certificate,
        None => Entry::Loopback,
    };
    let control = ControlService {
        fleet: Arc::clone(&fleet),
        entry,
    };
    let telemetry = TelemetryService {
        fleet,
        store,
        entry,
    };
    let services = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(ControlServer::new(control).max_decoding_message_size(LARGEST_MESSAGE))
        .add_service(TelemetryServer::new(telemetry).max_decoding_message_size(LARGEST_MESSAGE));
    let stop = async move {
        // Gone with the control plane itself: then it is time too.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let served = match trusted {
        None => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            services.serve_with_incoming_shutdown(incoming, stop).await
        }
        Some(Trusted {
            authority,
            reviewer,
            names,
        }) => {
            let port = match Port::sessions(Arc::clone(&authority), &names) {
                Ok(port) => port,
                Err(error) => return anyhow::Error::from(error).context("session-listen"),
            };
            let incoming = match port.accept(listener) {
                Ok(listener) => listener.incoming(),
                Err(error) => return anyhow::Error::from(error).context("session-listen"),
            };
            let trust = TrustServer::new(TrustService::new(authority, reviewer))
                .max_decoding_message_size(LARGEST_ENROLMENT);
            let services = services.add_service(trust);
            tokio::select! {
                served = services.serve_with_incoming_shutdown(incoming, stop) => served,
                error = port.keep() => return error,
            }
        }
    };
    match served {
        Ok(()) => anyhow!("dataplanes are not served any more"),
        Err(error) => anyhow::Error::from(error).context("serving dataplanes"),
    }
}

/// Serves operators, or probes, until told to stop.
pub(crate) async fn serve_operators(
    listener: TcpListener,
    router: axum::Router,
    trusted: Option<Trusted>,
    mut stopping: watch::Receiver<bool>,
) -> anyhow::Error {
    let stop = async move {
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let served = match trusted {
        None => {
            let listener = listener.tap_io(|stream| {
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%error, "cannot set TCP_NODELAY");
                }
            });
            axum::serve(listener, router)
                .with_graceful_shutdown(stop)
                .await
        }
        Some(trusted) => {
            let port = match Port::admin(trusted.authority, &trusted.names) {
                Ok(port) => port,
                Err(error) => return anyhow::Error::from(error).context("admin-listen"),
            };
            let listener = match port.accept(listener) {
                Ok(listener) => listener,
                Err(error) => return anyhow::Error::from(error).context("admin-listen"),
            };
            let served = axum::serve(listener, router).with_graceful_shutdown(stop);
            tokio::select! {
                served = served => served,
                error = port.keep() => return error,
            }
        }
    };
    match served {
        Ok(()) => anyhow!("operators are not served any more"),
        Err(error) => anyhow::Error::from(error).context("serving operators"),
    }
}
