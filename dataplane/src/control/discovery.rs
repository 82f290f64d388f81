//! Which replicas there are: names are looked up again and again.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use http::Uri;
use rand::RngExt as _;
use tokio::{net::lookup_host, sync::watch, time::sleep};

use super::Replica;

/// Between two look-ups, at least, and how much more at random.
const PACE: Duration = Duration::from_secs(3);
const JITTER_MS: u64 = 2000;

/// The replicas that are known, and a wake-up when they change.
pub(crate) type Replicas = watch::Receiver<BTreeSet<Replica>>;

/// A name under which replicas are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    host: String,
    port: u16,
    tls: bool,
}

impl Target {
    /// # Errors
    /// When it is no URL of a control plane.
    pub(crate) fn parse(url: &str) -> anyhow::Result<Self> {
        let form = || format!("control `{url}`: give http://host:port or https://host:port");
        let uri: Uri = url.parse().with_context(form)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => anyhow::bail!(form()),
        };
        let host = uri.host().with_context(form)?;
        ensure!(matches!(uri.path(), "" | "/"), form());
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(9091),
            tls,
        })
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }

    fn at(&self, address: SocketAddr) -> Replica {
        Replica {
            address,
            name: self.tls.then(|| Arc::from(self.host.as_str())),
        }
    }
}

/// Looks the targets up for ever. An answer that fails or is empty changes nothing: names
/// may not be known for a while, while replicas are well.
pub(crate) async fn discover(targets: Vec<Target>, found: watch::Sender<BTreeSet<Replica>>) {
    let mut known = vec![BTreeSet::new(); targets.len()];
    loop {
        for (target, known) in targets.iter().zip(&mut known) {
            match lookup_host((target.host.as_str(), target.port)).await {
                Ok(addresses) => {
                    let now: BTreeSet<_> = addresses.map(|address| target.at(address)).collect();
                    if !now.is_empty() {
                        *known = now;
                    }
                }
                Err(error) => {
                    tracing::debug!(host = target.host, %error, "the control plane's name is not found");
                }
            }
        }
        let all: BTreeSet<Replica> = known.iter().flatten().cloned().collect();
        found.send_if_modified(|before| {
            let changed = *before != all;
            *before = all;
            changed
        });
        let jitter = rand::rng().random_range(0..JITTER_MS);
        sleep(PACE + Duration::from_millis(jitter)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_with_or_without_tls() {
        let target = Target::parse("https://control.edge.svc:9191").unwrap();
        assert_eq!(
            (&*target.host, target.port, target.tls),
            ("control.edge.svc", 9191, true)
        );
        let target = Target::parse("http://[::1]").unwrap();
        assert_eq!(
            (&*target.host, target.port, target.tls),
            ("::1", 9091, false)
        );
        for url in ["localhost:1", "ftp://host", "http://host/path", "no url"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_becomes_the_replicas_at_its_addresses() {
        let targets = vec![Target::parse("https://127.0.0.1:7").unwrap()];
        let (found, mut replicas) = watch::channel(BTreeSet::new());
        let looking = tokio::spawn(discover(targets, found));
        replicas.changed().await.unwrap();
        let replica = Replica {
            address: "127.0.0.1:7".parse().unwrap(),
            name: Some("127.0.0.1".into()),
        };
        assert_eq!(*replicas.borrow(), BTreeSet::from([replica]));
        looking.abort();
    }
}
