//! A running control plane: what is bound, what is spawned, and how it ends.

mod kubernetes;
mod trust;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};
use tracing::{debug, info, warn};

use self::kubernetes::Cluster;
use crate::{
    api::{self, Access, Measure, Operations, Probes},
    clock::unix_millis,
    config::{Config, Source, Tuning},
    fleet::{Fleet, publish},
    keys::KeyStore,
    private_file,
    serve::{serve_dataplanes, serve_operators},
    source::{self, Sourced},
    store::AuditStore,
    telemetry::Telemetry,
    translate::Options,
};

/// Longest wait for requests and reports under way, at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A control plane that runs. Dropped, its tasks end at once.
pub struct ControlPlane {
    session_addr: SocketAddr,
    admin_addr: SocketAddr,
    metrics_addr: Option<SocketAddr>,
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
    Cluster(Box<Cluster>),
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
        let in_the_clear = matches!(config.source, Source::Files(_));
        if in_the_clear && !config.admin_listen.ip().to_canonical().is_loopback() {
            warn!(address = %config.admin_listen, "the admin API is not encrypted: whoever can \
                listen on the way here can take the token");
        }
        let state = &config.state_dir;
        private_file::make_folder(state)
            .with_context(|| format!("cannot make the state folder {}", state.display()))?;
        let admin_token = match config.admin_token {
            Some(token) => token,
            None if in_the_clear => api::token(state)?,
            // The cluster says who may, and of whom.
            None => String::new(),
        };
        let (keys, resources) = match config.source {
            Source::Files(folder) => (
                KeyStore::open(state, unix_millis())?,
                Resources::Files(source::files::watch(folder)?),
            ),
            Source::Kubernetes(settings) => {
                let cluster = Cluster::find(settings).await?;
                (cluster.keys().await?, Resources::Cluster(Box::new(cluster)))
            }
        };
        let keys = Arc::new(keys);
        let store = Arc::new(AuditStore::open(state, tuning.audit_records).await?);
        let telemetry = Arc::new(Telemetry::from_env()?);
        let instruments = telemetry.instruments();
        let fleet = Arc::new(Fleet::new(instruments.clone(), tuning.patience));

        let sessions = bind("session-listen", config.session_listen).await?;
        let admin = bind("admin-listen", config.admin_listen).await?;
        let metrics = match config.metrics_listen {
            Some(address) => Some(bind("metrics-listen", address).await?),
            None => None,
        };
        let metrics_addr = metrics.as_ref().map(TcpListener::local_addr).transpose()?;
        let (session_addr, admin_addr) = (sessions.local_addr()?, admin.local_addr()?);

        let stopping = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        // Without replicas there is nobody else to do it.
        let mut leads = watch::channel(true).1;
        let mut ending = SERVERS;
        let names = config.tls_names.clone();
        let mut access = Access::new(&admin_token);
        let mut trusted = match &config.session_token_file {
            Some(file) => Some(trust::by_token(file, state, names.clone()).await?),
            None => None,
        };
        let mut admin_trusted = None;
        match resources {
            Resources::Files(files) => {
                let options = Options::default();
                tasks.spawn(publish(Arc::clone(&fleet), files, keys.watch(), options));
            }
            Resources::Cluster(cluster) => {
                let (client, namespace) = cluster.address();
                access = trust::access_by_cluster(client.clone());
                let by_cluster =
                    trust::by_cluster(client, &namespace, names, Arc::clone(&fleet)).await?;
                let bundle = by_cluster.authority.bundle();
                trusted = Some(by_cluster);
                admin_trusted.clone_from(&trusted);
                let stopping = stopping.subscribe();
                leads = cluster.spawn(&mut tasks, &fleet, &keys, stopping, &instruments, bundle);
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
        if let Some(trusted) = &trusted {
            let authority = Arc::clone(&trusted.authority);
            tasks.spawn(async move { authority.keep().await });
        }
        let (to_fleet, to_store) = (Arc::clone(&fleet), Arc::clone(&store));
        tasks.spawn(serve_dataplanes(
            sessions,
            to_fleet,
            to_store,
            trusted,
            stopping.subscribe(),
        ));
        let operations = Operations {
            fleet: Arc::clone(&fleet),
            store: Arc::clone(&store),
            keys,
            instruments: instruments.clone(),
        };
        let probes = Arc::new(Probes {
            telemetry: Arc::clone(&telemetry),
            extra: config.extra_metrics,
            alone: admin_trusted.is_some(),
        });
        if let Some(listener) = metrics {
            ending += 1;
            let router = api::probes_router(operations.clone(), Arc::clone(&probes));
            tasks.spawn(serve_operators(
                listener,
                router,
                None,
                stopping.subscribe(),
            ));
        }
        let measure = Measure {
            instruments,
            tracer: telemetry.tracer(),
        };
        let router = api::router(operations, &access, probes, measure);
        tasks.spawn(serve_operators(
            admin,
            router,
            admin_trusted,
            stopping.subscribe(),
        ));
        info!(%session_addr, %admin_addr, state = %state.display(), "control plane is up");
        Ok(Self {
            session_addr,
            admin_addr,
            metrics_addr,
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

    /// Where probes and metrics are without TLS, if anywhere.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
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

#[cfg(test)]
mod tests;
