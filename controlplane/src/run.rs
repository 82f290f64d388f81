//! A running control plane: what is bound, what is spawned, and how it ends.

mod kubernetes;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use axum::serve::ListenerExt;
use tidegate_proto::v1::{control_server::ControlServer, telemetry_server::TelemetryServer};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};
use tonic::transport::server::TcpIncoming;
use tracing::{debug, info, warn};

use self::kubernetes::Cluster;
use crate::{
    api::{self, Access, Measure, Operations, Probes},
    clock::unix_millis,
    config::{Config, Source, Tuning},
    fleet::{ControlService, Fleet, TelemetryService, publish},
    keys::KeyStore,
    private_file,
    source::{self, Sourced},
    store::AuditStore,
    telemetry::Telemetry,
    translate::Options,
};

/// Longest wait for requests and reports under way, at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// A dataplane that vanished is noticed after both.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest message of a dataplane: a page of 1000 connections, a batch of records.
const LARGEST_MESSAGE: usize = 32 << 20;

/// A control plane that runs. Dropped, its tasks end at once.
pub struct ControlPlane {
    session_addr: SocketAddr,
    admin_addr: SocketAddr,
    admin_token: String,
    fleet: Arc<Fleet>,
    store: Arc<AuditStore>,
    telemetry: Arc<Telemetry>,
    stopping: watch::Sender<bool>,
    /// They end only when something is wrong, or when told to stop.
    tasks: JoinSet<anyhow::Error>,
    /// How many of them end when told to stop.
    ending: usize,
}

/// Where resources come from, begun.
enum Resources {
    Files(watch::Receiver<Arc<Sourced>>),
    Cluster(Cluster),
}

impl ControlPlane {
    /// Binds the listeners and spawns the tasks on the current tokio runtime.
    ///
    /// Fails where the configuration is refused, an address is taken, or the state folder
    /// cannot be used. Resources that are wrong are no failure: the status says so.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        Self::start_tuned(config, Tuning::default()).await
    }

    /// Like [`start`](Self::start), with what hardly anyone sets.
    pub async fn start_tuned(config: Config, tuning: Tuning) -> anyhow::Result<Self> {
        config.check()?;
        if !config.admin_listen.ip().to_canonical().is_loopback() {
            warn!(address = %config.admin_listen, "the admin API is not encrypted: whoever can \
                listen on the way here can take the token");
        }
        let state = &config.state_dir;
        private_file::make_folder(state)
            .with_context(|| format!("cannot make the state folder {}", state.display()))?;
        let admin_token = match config.admin_token {
            Some(token) => token,
            None => api::token(state)?,
        };
        let (keys, resources) = match config.source {
            Source::Files(folder) => (
                KeyStore::open(state, unix_millis())?,
                Resources::Files(source::files::watch(folder)?),
            ),
            Source::Kubernetes(settings) => {
                let cluster = Cluster::find(settings).await?;
                (cluster.keys().await?, Resources::Cluster(cluster))
            }
        };
        let keys = Arc::new(keys);
        let store = Arc::new(AuditStore::open(state, tuning.audit_records).await?);
        let telemetry = Arc::new(Telemetry::from_env()?);
        let instruments = telemetry.instruments();
        let fleet = Arc::new(Fleet::new(instruments.clone(), tuning.patience));

        let sessions = bind("session-listen", config.session_listen).await?;
        let admin = bind("admin-listen", config.admin_listen).await?;
        let (session_addr, admin_addr) = (sessions.local_addr()?, admin.local_addr()?);

        let stopping = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        // Without replicas there is nobody else to do it.
        let mut leads = watch::channel(true).1;
        let mut ending = SERVERS;
        match resources {
            Resources::Files(files) => {
                let options = Options::default();
                tasks.spawn(publish(Arc::clone(&fleet), files, keys.watch(), options));
            }
            Resources::Cluster(cluster) => {
                let stopping = stopping.subscribe();
                leads = cluster.spawn(&mut tasks, &fleet, &keys, stopping, &instruments);
                ending += 1;
            }
        }
        let rotations = instruments.key_rotations.clone();
        let aging = Arc::clone(&keys);
        tasks.spawn(async move {
            aging
                .rotate_by_age(tuning.key_age, || *leads.borrow(), || rotations.add(1, &[]))
                .await;
            anyhow!("keys are not rotated any more")
        });
        let (to_fleet, to_store) = (Arc::clone(&fleet), Arc::clone(&store));
        tasks.spawn(serve_dataplanes(
            sessions,
            to_fleet,
            to_store,
            stopping.subscribe(),
        ));
        let router = api::router(
            Operations {
                fleet: Arc::clone(&fleet),
                store: Arc::clone(&store),
                keys,
                instruments: instruments.clone(),
            },
            &Access::new(&admin_token),
            Arc::new(Probes {
                telemetry: Arc::clone(&telemetry),
                extra: config.extra_metrics,
            }),
            Measure {
                instruments,
                tracer: telemetry.tracer(),
            },
        );
        tasks.spawn(serve_operators(admin, router, stopping.subscribe()));
        info!(%session_addr, %admin_addr, state = %state.display(), "control plane is up");
        Ok(Self {
            session_addr,
            admin_addr,
            admin_token,
            fleet,
            store,
            telemetry,
            stopping,
            tasks,
            ending,
        })
    }

    /// Where dataplanes connect.
    pub fn session_addr(&self) -> SocketAddr {
        self.session_addr
    }

    /// Where operators connect.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// What operators must show.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// Waits until something without which it cannot go on has failed.
    pub async fn stopped(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(error)) => error,
            Some(Err(error)) => anyhow::Error::from(error).context("a task failed"),
            None => anyhow!("nothing runs any more"),
        }
    }

    /// Ends sessions and streams, finishes what is under way, closes the history.
    pub async fn shutdown(mut self) {
        self.stopping.send_replace(true);
        self.fleet.stop();
        // These end by themselves; the other tasks never do.
        let servers = async {
            for _ in 0..self.ending {
                if let Some(Ok(end)) = self.tasks.join_next().await {
                    debug!(%end);
                }
            }
        };
        if timeout(STOP_TIMEOUT, servers).await.is_err() {
            warn!("requests under way were cut off");
        }
        self.tasks.shutdown().await;
        self.store.close().await;
        let telemetry = Arc::clone(&self.telemetry);
        // It waits for the collector with the thread.
        let _ = tokio::task::spawn_blocking(move || telemetry.flush()).await;
        info!("control plane has stopped");
    }
}

/// Without a `shutdown` there is no waiting, but nothing runs on either.
impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
        self.fleet.stop();
    }
}

/// Tasks that end when told to stop: dataplanes' and operators' server.
const SERVERS: usize = 2;

async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{setting}: cannot listen on {address}"))
}

pub(crate) async fn serve_dataplanes(
    listener: TcpListener,
    fleet: Arc<Fleet>,
    store: Arc<AuditStore>,
    mut stopping: watch::Receiver<bool>,
) -> anyhow::Error {
    let control = ControlServer::new(ControlService(Arc::clone(&fleet)))
        .max_decoding_message_size(LARGEST_MESSAGE);
    let telemetry = TelemetryServer::new(TelemetryService { fleet, store })
        .max_decoding_message_size(LARGEST_MESSAGE);
    let served = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(control)
        .add_service(telemetry)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            async move {
                // Gone with the control plane itself: then it is time too.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            },
        )
        .await;
    match served {
        Ok(()) => anyhow!("dataplanes are not served any more"),
        Err(error) => anyhow::Error::from(error).context("serving dataplanes"),
    }
}

pub(crate) async fn serve_operators(
    listener: TcpListener,
    router: axum::Router,
    mut stopping: watch::Receiver<bool>,
) -> anyhow::Error {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "cannot set TCP_NODELAY");
        }
    });
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            let _ = stopping.wait_for(|stopping| *stopping).await;
        })
        .await;
    match served {
        Ok(()) => anyhow!("operators are not served any more"),
        Err(error) => anyhow::Error::from(error).context("serving operators"),
    }
}

#[cfg(test)]
mod tests;
