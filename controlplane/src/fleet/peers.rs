//! Who shares a Gateway, as dataplanes that relay to each other are told.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidegate_proto::v1;
use tokio::{sync::watch, time::Instant};

/// Those that hold no session any more and may still be there, and who waits for news.
pub(super) struct Peering {
    /// Before that nobody could connect.
    began: Instant,
    departed: Mutex<BTreeMap<String, Departed>>,
    /// How often a dataplane came or went.
    changes: watch::Sender<u64>,
}

struct Departed {
    gateway: String,
    relay_address: String,
    at: Instant,
}

impl Peering {
    /// Dataplanes can connect from now on.
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            departed: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// A wake-up whenever a dataplane came or went.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A dataplane holds a session.
    pub(super) fn came(&self, id: &str) {
        self.locked().remove(id);
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A dataplane holds none any more.
    pub(super) fn went(&self, hello: &v1::Hello, patience: Duration, now: Instant) {
        let mut departed = self.locked();
        departed.retain(|_, one| now < one.at + patience);
        departed.insert(
            hello.dataplane_id.clone(),
            Departed {
                gateway: hello.gateway.clone(),
                relay_address: hello.relay_address.clone(),
                at: now,
            },
        );
        drop(departed);
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Everyone of `gateway`, in order of id, and when that is to be asked again even if
    /// nobody comes or goes. `present` are those with a session.
    pub(super) fn of<'a>(
        &self,
        gateway: &str,
        present: impl Iterator<Item = &'a v1::Hello>,
        patience: Duration,
        now: Instant,
    ) -> (v1::Peers, Option<Instant>) {
        let settled = self.began + patience;
        let mut next = (now < settled).then_some(settled);
        let mut addresses = BTreeMap::new();
        for (id, one) in self.locked().iter() {
            let forgotten = one.at + patience;
            if one.gateway == gateway && now < forgotten {
                addresses.insert(id.clone(), one.relay_address.clone());
                next = Some(next.map_or(forgotten, |next| next.min(forgotten)));
            }
        }
        for hello in present.filter(|hello| hello.gateway == gateway) {
            addresses.insert(hello.dataplane_id.clone(), hello.relay_address.clone());
        }
        let peers = addresses
            .into_iter()
            .map(|(dataplane_id, relay_address)| v1::Peer {
                dataplane_id,
                relay_address,
            });
        let peers = v1::Peers {
            peers: peers.collect(),
            complete: now >= settled,
        };
        (peers, next)
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Departed>> {
        // Nothing that holds the lock can panic half way through a change.
        self.departed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn hello(id: &str, gateway: &str) -> v1::Hello {
        v1::Hello {
            dataplane_id: id.into(),
            gateway: gateway.into(),
            relay_address: format!("{id}:9094"),
            ..Default::default()
        }
    }

    fn ids(peers: &v1::Peers) -> Vec<&str> {
        let peers = peers.peers.iter();
        peers.map(|peer| &*peer.dataplane_id).collect()
    }

    #[test]
    fn only_dataplanes_of_the_same_gateway_are_told_of_each_other() {
        let now = Instant::now();
        let peering = Peering::new(now);
        let present = [
            hello("b", "x/one"),
            hello("a", "x/one"),
            hello("c", "x/two"),
        ];
        let (peers, _) = peering.of("x/one", present.iter(), PATIENCE, now);
        assert_eq!(ids(&peers), ["a", "b"]);
        assert_eq!(peers.peers[0].relay_address, "a:9094");
    }

    #[test]
    fn who_went_is_there_for_a_while_and_then_gone() {
        let began = Instant::now();
        let peering = Peering::new(began);
        let now = began + PATIENCE;
        let mut changes = peering.changes();
        peering.went(&hello("a", ""), PATIENCE, now);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        let (peers, next) = peering.of("", [].iter(), PATIENCE, now);
        assert_eq!((ids(&peers), next), (vec!["a"], Some(now + PATIENCE)));
        let (peers, next) = peering.of("", [].iter(), PATIENCE, now + PATIENCE);
        assert!(peers.peers.is_empty() && next.is_none());
        peering.went(&hello("a", ""), PATIENCE, now);
        peering.came("a");
        let (peers, _) = peering.of("", [].iter(), PATIENCE, now);
        assert!(peers.peers.is_empty());
    }

    #[test]
    fn the_list_is_complete_once_everyone_had_the_time_to_connect() {
        let now = Instant::now();
        let peering = Peering::new(now);
        let (peers, next) = peering.of("", [].iter(), PATIENCE, now);
        assert_eq!((peers.complete, next), (false, Some(now + PATIENCE)));
        let (peers, next) = peering.of("", [].iter(), PATIENCE, now + PATIENCE);
        assert_eq!((peers.complete, next), (true, None));
    }
}
