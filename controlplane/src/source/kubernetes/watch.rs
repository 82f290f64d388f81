//! One kind, watched for ever: whatever fails is said once and tried again.

use std::{collections::BTreeSet, pin::pin, time::Duration};

use futures_util::StreamExt;
use kube::{
    Api, Client, Resource,
    core::{DynamicObject, PartialObjectMeta},
    runtime::watcher::{self, Config, Event, watcher},
};
use opentelemetry::KeyValue;
use serde::de::DeserializeOwned;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tracing::{debug, info, warn};

use super::{
    inventory::{Change, Watch},
    read::{Read, read},
};
use crate::{resources::ObjectKey, telemetry::Instruments};

/// A dead connection is noticed a little later.
const WATCH_SECONDS: u32 = 60;
/// Between looks for a kind that the API server does not have.
const ABSENT_RETRY: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 5_000 });
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// How long a permission that is not there holds up the start.
const FORBIDDEN_PATIENCE: Duration = Duration::from_secs(30);

/// Watches until nobody listens any more.
pub(super) async fn run(
    watch: Watch,
    client: Client,
    changes: mpsc::Sender<Change>,
    instruments: Instruments,
) {
    let kind = watch.kind;
    let mut watching = Watching {
        watch,
        changes,
        instruments,
        started: Instant::now(),
        listed: false,
        trouble: None,
        backoff: FIRST_BACKOFF,
    };
    let mut version = 0;
    while let Some(name) = kind.versions.get(version) {
        let resource = kind.resource(name);
        let config = Config::default().timeout(WATCH_SECONDS);
        let ended = if kind.on_reference {
            let api: Api<PartialObjectMeta<DynamicObject>> =
                api(&client, &watching.watch, &resource);
            watching.follow(watcher(api, config), Keys::default()).await
        } else {
            let api: Api<DynamicObject> = api(&client, &watching.watch, &resource);
            watching
                .follow(watcher(api, config), Whole(Vec::new()))
                .await
        };
        match ended {
            Ended::Deaf => return,
            Ended::NoSuchKind => version += 1,
        }
        if version == kind.versions.len() {
            version = 0;
            if watching.absent().await.is_err() {
                return;
            }
            sleep(ABSENT_RETRY).await;
        }
    }
}

fn api<K>(client: &Client, watch: &Watch, resource: &kube::core::ApiResource) -> Api<K>
where
    K: Resource<DynamicType = kube::core::ApiResource, Scope = kube::core::DynamicResourceScope>,
{
    match watch.namespace.as_deref() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

enum Ended {
    /// Nobody listens.
    Deaf,
    /// Not in this version.
    NoSuchKind,
}

struct Watching {
    watch: Watch,
    changes: mpsc::Sender<Change>,
    instruments: Instruments,
    started: Instant,
    /// It was whole once.
    listed: bool,
    /// What was said last, so that it is not said again and again.
    trouble: Option<String>,
    backoff: Duration,
}

impl Watching {
    async fn follow<K, S>(
        &mut self,
        events: impl futures_util::Stream<Item = watcher::Result<Event<K>>>,
        mut gathered: S,
    ) -> Ended
    where
        S: Gather<K>,
        K: Resource + DeserializeOwned,
    {
        let mut events = pin!(events);
        while let Some(event) = events.next().await {
            let change = match event {
                Ok(Event::Init) => {
                    gathered.clear();
                    continue;
                }
                Ok(Event::InitApply(object)) => {
                    gathered.add(&self.watch, object);
                    continue;
                }
                Ok(Event::InitDone) => {
                    self.listed = true;
                    gathered.whole(&self.watch)
                }
                Ok(Event::Apply(object)) => gathered.applied(&self.watch, object),
                Ok(Event::Delete(object)) => Change::Deleted(self.watch.kind, key(&object)),
                Err(error) => match self.failed(&error).await {
                    Ok(()) => continue,
                    Err(ended) => return ended,
                },
            };
            if let Some(trouble) = self.trouble.take() {
                info!(
                    kind = self.watch.kind.name,
                    after = trouble,
                    "watching again"
                );
            }
            self.backoff = FIRST_BACKOFF;
            if self.changes.send(change).await.is_err() {
                return Ended::Deaf;
            }
        }
        Ended::Deaf
    }

    /// Waits a moment. The watch then goes on from where it was, as far as it can.
    async fn failed(&mut self, error: &watcher::Error) -> Result<(), Ended> {
        let kind = self.watch.kind.name;
        let code = code_of(error);
        if code == Some(404) {
            return Err(Ended::NoSuchKind);
        }
        let label = code.map_or_else(|| "connection".to_owned(), |code| code.to_string());
        self.instruments.watch_errors.add(
            1,
            &[KeyValue::new("kind", kind), KeyValue::new("code", label)],
        );
        // Too old to go on from: the watcher lists anew by itself.
        if code == Some(410) {
            debug!(kind, "listing anew");
            return Ok(());
        }
        let text = told(error);
        if self.trouble.as_ref() != Some(&text) {
            warn!(
                kind,
                error = text,
                "cannot watch; what is known serves on, and it is tried again"
            );
            self.trouble = Some(text);
        }
        if code == Some(403) && !self.listed && self.started.elapsed() > FORBIDDEN_PATIENCE {
            warn!(
                kind,
                "starting without: grant get, list and watch to the control plane's ServiceAccount"
            );
            self.absent().await?;
        }
        let jitter = 1.0 + rand::random::<f64>() / 2.0;
        sleep(self.backoff.mul_f64(jitter)).await;
        self.backoff = (self.backoff * 2).min(LONGEST_BACKOFF);
        Ok(())
    }

    /// There is nothing of the kind.
    async fn absent(&mut self) -> Result<(), Ended> {
        if self.trouble.is_none() && !self.watch.kind.on_reference {
            info!(
                kind = self.watch.kind.name,
                "the API server does not have this kind; it is looked for again"
            );
            self.trouble = Some("the kind was not installed".to_owned());
        }
        self.listed = true;
        let nothing = match self.watch.kind.on_reference {
            true => Change::Present(self.watch.clone(), BTreeSet::new()),
            false => Change::Listed(self.watch.clone(), Vec::new()),
        };
        self.changes.send(nothing).await.map_err(|_| Ended::Deaf)
    }
}

/// What is kept while a list comes in pages.
trait Gather<K> {
    fn clear(&mut self);
    fn add(&mut self, watch: &Watch, object: K);
    fn whole(&mut self, watch: &Watch) -> Change;
    fn applied(&self, watch: &Watch, object: K) -> Change;
}

struct Whole(Vec<Read>);

impl Gather<DynamicObject> for Whole {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn add(&mut self, watch: &Watch, object: DynamicObject) {
        self.0.push(read(watch.kind, object));
    }

    fn whole(&mut self, watch: &Watch) -> Change {
        Change::Listed(watch.clone(), std::mem::take(&mut self.0))
    }

    fn applied(&self, watch: &Watch, object: DynamicObject) -> Change {
        Change::Applied(watch.kind, Box::new(read(watch.kind, object)))
    }
}

#[derive(Default)]
struct Keys(BTreeSet<ObjectKey>);

impl Gather<PartialObjectMeta<DynamicObject>> for Keys {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn add(&mut self, _: &Watch, object: PartialObjectMeta<DynamicObject>) {
        self.0.insert(key(&object));
    }

    fn whole(&mut self, watch: &Watch) -> Change {
        Change::Present(watch.clone(), std::mem::take(&mut self.0))
    }

    fn applied(&self, watch: &Watch, object: PartialObjectMeta<DynamicObject>) -> Change {
        Change::Touched(watch.kind, key(&object))
    }
}

fn key(object: &impl Resource) -> ObjectKey {
    let metadata = object.meta();
    ObjectKey::new(
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

fn code_of(error: &watcher::Error) -> Option<u16> {
    let status = match error {
        watcher::Error::WatchError(status) => status,
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status,
        _ => return None,
    };
    Some(status.code)
}

/// The error and its causes; kube's own text leaves the causes out.
fn told(error: &watcher::Error) -> String {
    match error {
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => crate::kubernetes::told(error),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}
