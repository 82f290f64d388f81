//! The control thread: it builds the house, keeps it, and takes it down.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use rand::RngExt as _;
use tidegate_proto::v1::{DataplaneState, Hello};
use tokio::{
    net::TcpListener,
    runtime::Builder,
    sync::{oneshot, watch},
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::{Instant, sleep, timeout},
};

use crate::{
    Config, admin,
    audit::{self, Ledger, Reporter},
    control::{
        Applier, Cache, Change, Commander, Dialer, Following, Link, Reports, discover, links,
    },
    metrics::Metrics,
    quic::CONFIDENTIALITY_LIMIT,
    shard::{self, ShardCommand, ShardHandle, Surroundings},
    telemetry::{Telemetry, otlp},
};

/// Configurations and commands that may wait.
const QUEUE: usize = 64;
/// Time for audit records to be stored at the end.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);
/// Time for shards to end once they are told to.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Time for the last metrics and spans to reach the collector.
const EXPORT_DEADLINE: Duration = Duration::from_secs(3);
/// How often a drain is looked at.
const DRAIN_PACE: Duration = Duration::from_millis(20);
/// A drain closes what is left at its deadline; that takes a moment.
const DRAIN_SLACK: Duration = Duration::from_secs(1);

/// How to end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Shutdown,
    Kill,
}

/// What the caller of a start gets to know.
pub(super) struct Started {
    pub(super) admin_addr: Option<SocketAddr>,
    pub(super) metrics: Metrics,
    pub(super) failure: oneshot::Receiver<anyhow::Error>,
}

/// The life of the thread.
pub(super) fn run(
    config: Config,
    started: &mpsc::SyncSender<anyhow::Result<Started>>,
    orders: oneshot::Receiver<Order>,
) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(error).context("the control thread has no runtime"));
            return;
        }
    };
    runtime.block_on(async {
        match House::build(config).await {
            Ok((house, facts)) => {
                // Nobody listens when the caller is gone; then `orders` is closed too.
                let _ = started.send(Ok(facts));
                house.keep(orders).await;
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    });
    // Exporters may hang in a blocking call; nobody waits for them any more.
    runtime.shutdown_timeout(Duration::from_millis(100));
}

struct House {
    shards: Vec<ShardHandle>,
    /// Sessions, the applier, the admin port: all end with the house.
    _tasks: JoinSet<()>,
    /// Without it the applier would end when there are no sessions.
    _changes: tokio::sync::mpsc::Sender<Change>,
    reports: Reports,
    delivery: JoinHandle<()>,
    finish: watch::Sender<bool>,
    ledger: Arc<Ledger>,
    metrics: Metrics,
    tracing: Option<otlp::Tracing>,
    drain_deadline: Duration,
    stay_ready: bool,
    failed: oneshot::Sender<anyhow::Error>,
    states: watch::Sender<DataplaneState>,
}

impl House {
    async fn build(config: Config) -> anyhow::Result<(Self, Started)> {
        let targets = config.targets()?;
        let trust = config.trust()?.map(Arc::new);
        let instance = format!("{:032x}", rand::rng().random::<u128>());
        let count = config.shard_count();

        let listener =
            match config.admin_listen {
                Some(address) => {
                    let bound = TcpListener::bind(address).await;
                    Some(bound.with_context(|| {
                        format!("admin-listen {address}: choose a free address")
                    })?)
                }
                None => None,
            };
        let admin_addr = listener.as_ref().map(TcpListener::local_addr).transpose()?;

        let (records, spool) = audit::channel(config.spool_records);
        let ledger = records.ledger();
        let resource = otlp::resource(&config.id, &instance);
        let otlp_endpoint = config.otlp_endpoint.as_deref();
        let tracing = otlp_endpoint
            .map(|endpoint| otlp::Tracing::new(endpoint, resource.clone()))
            .transpose()
            .context("the span exporter cannot start")?;
        let exporter = otlp_endpoint
            .map(otlp::metric_exporter)
            .transpose()
            .context("the metric exporter cannot start")?;
        let metrics = Metrics::new(count, resource, exporter, &ledger)?;
        let telemetry = Arc::new(Telemetry::new(tracing.as_ref().map(otlp::Tracing::tracer)));

        let (to_shards, configuration) = watch::channel(None);
        let (applied_to, applied) = tokio::sync::mpsc::channel(QUEUE.max(2 * count));
        let (peers, known_peers) = watch::channel(Arc::default());
        let relays = match &config.relay {
            Some(relay) => relay.bind(count)?,
            None => Vec::new(),
        };
        let surroundings = Surroundings {
            dataplane: config.id.as_str().into(),
            configuration,
            peers: known_peers,
            applied: applied_to,
            records,
            telemetry,
            early_data: Arc::default(),
            packets_per_key: config.packets_per_key.clamp(1, CONFIDENTIALITY_LIMIT),
        };
        let shards = shard::spawn_all(&surroundings, metrics.shards(), relays)
            .context("the shards' threads cannot start")?;
        // Only shards hold them now: their end can be seen.
        drop(surroundings);
        let commands: Vec<_> = shards.iter().map(|shard| shard.commands.clone()).collect();

        let (changes, changed) = tokio::sync::mpsc::channel(QUEUE);
        let cache = config.state_dir.as_deref().map(Cache::new);
        let control = metrics.control();
        let mut applier = Applier::new(changed, count, to_shards, applied, cache, control.clone());
        if targets.is_empty() {
            applier.expect_nobody();
        }
        let (serving, verdicts) = (applier.serving(), applier.verdicts());
        let reports = Reports::new(commands.clone(), serving.clone(), ledger.clone());
        let commander = Commander::new(
            config.id.clone(),
            commands,
            serving.clone(),
            reports.clone(),
            control.clone(),
        );
        let (states, state) = watch::channel(DataplaneState::default());
        let relay_address = config.relay.as_ref().map(|relay| relay.address.to_string());
        let hello = Hello {
            dataplane_id: config.id.clone(),
            instance_id: instance.clone(),
            gateway: config.gateway.clone(),
            build_version: env!("CARGO_PKG_VERSION").into(),
            serving_version: String::new(),
            shards: count as u32,
            started_at_ms: unix_millis(),
            relay_address: relay_address.unwrap_or_default(),
        };

        let mut tasks = JoinSet::new();
        tasks.spawn(applier.run());
        let commander = Arc::new(commander);
        let (found, replicas) = watch::channel(BTreeSet::new());
        tasks.spawn(discover(targets, found));
        if let Some(trust) = &trust {
            tasks.spawn(trust.clone().keep(replicas.clone()));
        }
        let dialer = Dialer::new(trust);
        let following = Arc::new(Following::default());
        let link = {
            let (dialer, changes) = (dialer.clone(), changes.clone());
            move |replica| Link {
                replica,
                dialer: dialer.clone(),
                hello: hello.clone(),
                changes: changes.clone(),
                serving: serving.clone(),
                verdicts: verdicts.clone(),
                following: following.clone(),
                commander: commander.clone(),
                states: state.clone(),
                peers: peers.clone(),
                metrics: control.clone(),
            }
        };
        tasks.spawn(links::keep(replicas.clone(), link));
        if let Some(listener) = listener {
            tasks.spawn(admin::serve(listener, reports.clone(), metrics.clone()));
        }
        let (finish, finished) = watch::channel(false);
        let reporter = Reporter {
            dataplane: config.id,
            instance,
            replicas,
            dialer,
        };
        let delivery = tokio::spawn(audit::deliver(spool, reporter, finished));

        let (failed, failure) = oneshot::channel();
        let house = Self {
            shards,
            _tasks: tasks,
            _changes: changes,
            reports,
            delivery,
            finish,
            ledger,
            metrics: metrics.clone(),
            tracing,
            drain_deadline: config.drain_deadline,
            stay_ready: config.stay_ready,
            failed,
            states,
        };
        Ok((
            house,
            Started {
                admin_addr,
                metrics,
                failure,
            },
        ))
    }

    /// Waits for the order to end, and ends.
    async fn keep(mut self, mut orders: oneshot::Receiver<Order>) {
        let watching = self.reports.clone().watch(self.states.clone());
        let order = tokio::select! {
            order = &mut orders => order,
            silent = watching => {
                tracing::error!(%silent, "the data plane is no longer whole");
                // Nobody may be waiting for it.
                let failed = std::mem::replace(&mut self.failed, oneshot::channel().0);
                let _ = failed.send(silent.into());
                orders.await
            }
        };
        // Who drops the data plane without a word means the same as a kill.
        if matches!(order, Ok(Order::Shutdown)) {
            self.drain().await;
            self.stop_shards().await;
            self.flush().await;
            self.export().await;
        } else {
            self.stop_shards().await;
        }
    }

    /// Lets connections end, at the longest until the deadline.
    async fn drain(&self) {
        tracing::info!(deadline = ?self.drain_deadline, "draining");
        if self.stay_ready {
            self.reports.leave().await;
        }
        for shard in &self.shards {
            let (reply, _begun) = oneshot::channel();
            let command = ShardCommand::Drain {
                listener: None,
                deadline: self.drain_deadline,
                reply,
            };
            if shard.commands.send(command).await.is_err() {
                tracing::error!(shard = shard.index, "the shard has ended before the drain");
            }
        }
        let mut told = false;
        let give_up = Instant::now() + self.drain_deadline + DRAIN_SLACK;
        while Instant::now() < give_up {
            match self.reports.state().await {
                Ok(state) if state.connections == 0 => return,
                Ok(state) if !told => {
                    self.states.send_replace(state);
                    told = true;
                }
                Ok(_) => {}
                Err(silent) => {
                    tracing::error!(%silent, "the drain is cut short");
                    return;
                }
            }
            sleep(DRAIN_PACE).await;
        }
        tracing::warn!("connections are left at the end of the drain");
    }

    /// Ends the shards. What is left of their connections becomes records.
    async fn stop_shards(&mut self) {
        for shard in &self.shards {
            // An error means that it has ended already.
            let _ = timeout(STOP_DEADLINE, shard.commands.send(ShardCommand::Stop)).await;
        }
        let shards = std::mem::take(&mut self.shards);
        let joined = spawn_blocking(move || shards.into_iter().for_each(ShardHandle::join));
        if timeout(STOP_DEADLINE, joined).await.is_err() {
            tracing::error!("shards do not end");
        }
    }

    /// Lets the last records reach a control plane.
    async fn flush(&mut self) {
        self.finish.send_replace(true);
        if timeout(FLUSH_DEADLINE, &mut self.delivery).await.is_err() {
            tracing::warn!(
                records = self.ledger.waiting(),
                "audit records were not delivered"
            );
        }
    }

    /// Lets the last metrics and spans reach the collector.
    async fn export(&mut self) {
        let (metrics, tracing) = (self.metrics.clone(), self.tracing.take());
        let exported = spawn_blocking(move || {
            metrics.shutdown();
            if let Some(tracing) = tracing {
                tracing.shutdown();
            }
        });
        // The collector may be away; that is no reason to stay.
        let _ = timeout(EXPORT_DEADLINE, exported).await;
    }
}

fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
