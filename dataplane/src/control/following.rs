//! Which replica's configuration is followed: one, for as long as it is there.
//!
//! All replicas compute the same from the same resources, but not at the same moment. So
//! one is followed, and when it ends another takes its place only with a configuration
//! that is not older than what is served: a replica that lags throws nothing back. If it
//! is the only one left, it is taken after a while all the same.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

/// Differences that clocks and propagation explain.
const SLACK_MS: i64 = 5_000;
/// How long nobody is followed rather than one that lags.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a newer configuration of another replica waits for the one that is followed.
const OVERTAKE: Duration = Duration::from_secs(10);

/// One place for all sessions to agree.
pub(crate) struct Following {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

struct State {
    last: u64,
    followed: Option<u64>,
    vacant_since: Instant,
    /// Of what is served, as its replica said.
    served_as_of: i64,
    offers: BTreeMap<u64, Offer>,
}

/// What a session has to offer.
struct Offer {
    version: String,
    as_of: i64,
    since: Instant,
}

/// Whether a session is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Follow,
    /// No; if nothing changes, it is to ask again then.
    Wait(Option<Instant>),
}

/// A session's place, given up when it is dropped.
pub(super) struct Seat<'a> {
    following: &'a Following,
    id: u64,
}

impl Default for Following {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                last: 0,
                followed: None,
                vacant_since: Instant::now(),
                served_as_of: 0,
                offers: BTreeMap::new(),
            }),
            changed: watch::Sender::new(()),
        }
    }
}

impl Following {
    pub(super) fn join(&self) -> Seat<'_> {
        let mut state = self.locked();
        state.last += 1;
        Seat {
            following: self,
            id: state.last,
        }
    }

    /// A wake-up for whoever may claim.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat<'_> {
    /// Says what this session's replica has.
    pub(super) fn offer(&self, version: &str, as_of: i64) {
        let mut state = self.following.locked();
        let since = match state.offers.get(&self.id) {
            Some(before) if before.version == version => before.since,
            _ => Instant::now(),
        };
        let offer = Offer {
            version: version.to_owned(),
            as_of,
            since,
        };
        state.offers.insert(self.id, offer);
        drop(state);
        self.following.changed.send_replace(());
    }

    /// What is given to the shards is from then.
    pub(super) fn serves(&self, as_of: i64) {
        self.following.locked().served_as_of = as_of;
    }

    pub(super) fn claim(&self, serving: &str) -> Claim {
        let mut state = self.following.locked();
        let before = state.followed;
        let claim = state.claim(self.id, serving, Instant::now());
        let changed = before != state.followed;
        drop(state);
        if changed {
            self.following.changed.send_replace(());
        }
        claim
    }

    /// Whether no other session took over.
    pub(super) fn is_followed(&self) -> bool {
        self.following.locked().followed == Some(self.id)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut state = self.following.locked();
        state.offers.remove(&self.id);
        if state.followed == Some(self.id) {
            state.followed = None;
            state.vacant_since = Instant::now();
        }
        drop(state);
        self.following.changed.send_replace(());
    }
}

impl State {
    fn claim(&mut self, id: u64, serving: &str, now: Instant) -> Claim {
        let Some(own) = self.offers.get(&id) else {
            return Claim::Wait(None);
        };
        let due = match self.followed {
            Some(followed) if followed == id => return Claim::Follow,
            // It lags: what it does not have is served by nobody.
            Some(_) if own.version != serving && own.as_of > self.served_as_of + SLACK_MS => {
                own.since + OVERTAKE
            }
            Some(_) => return Claim::Wait(None),
            None => {
                let best = self.offers.iter().max_by_key(|(_, offer)| offer.as_of);
                if best.is_some_and(|(_, best)| best.as_of > own.as_of) {
                    return Claim::Wait(None);
                }
                if own.as_of + SLACK_MS >= self.served_as_of {
                    now
                } else {
                    self.vacant_since + PATIENCE
                }
            }
        };
        if now < due {
            return Claim::Wait(Some(due));
        }
        self.followed = Some(id);
        Claim::Follow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds that no clock's error explains.
    const LATE: i64 = 2 * SLACK_MS;

    #[test]
    fn the_first_is_followed_until_it_ends() {
        let following = Following::default();
        let (a, b) = (following.join(), following.join());
        assert_eq!(a.claim(""), Claim::Wait(None), "it has nothing yet");
        a.offer("v1", 1000);
        assert_eq!(a.claim(""), Claim::Follow);
        a.serves(1000);
        b.offer("v1", 1001);
        assert_eq!(b.claim("v1"), Claim::Wait(None));
        drop(a);
        assert_eq!(b.claim("v1"), Claim::Follow);
        assert!(b.is_followed());
    }

    #[test]
    fn one_that_lags_does_not_take_over_before_patience_ends() {
        let following = Following::default();
        let (a, b) = (following.join(), following.join());
        a.offer("v3", LATE + 1);
        a.claim("");
        a.serves(LATE + 1);
        b.offer("v2", 0);
        drop(a);
        let Claim::Wait(Some(until)) = b.claim("v3") else {
            panic!("it lags");
        };
        assert!(until > Instant::now() + PATIENCE / 2);
        let claim = following.locked().claim(b.id, "v3", until);
        assert_eq!(claim, Claim::Follow, "it is the only one left");
    }

    #[test]
    fn the_newest_takes_over() {
        let following = Following::default();
        let (a, b, c) = (following.join(), following.join(), following.join());
        a.offer("v3", 100);
        a.claim("");
        b.offer("v3", 101);
        c.offer("v4", 102);
        drop(a);
        assert_eq!(b.claim("v3"), Claim::Wait(None));
        assert_eq!(c.claim("v3"), Claim::Follow);
        assert_eq!(b.claim("v3"), Claim::Wait(None));
    }

    #[test]
    fn one_that_is_followed_and_lags_is_overtaken() {
        let following = Following::default();
        let (a, b) = (following.join(), following.join());
        a.offer("v1", 1);
        a.claim("");
        a.serves(1);
        b.offer("v2", 1 + LATE);
        let Claim::Wait(Some(until)) = b.claim("v1") else {
            panic!("it gets a moment");
        };
        assert_eq!(following.locked().claim(b.id, "v1", until), Claim::Follow);
        assert!(!a.is_followed() && b.is_followed());
        // It served the same: nothing to overtake for.
        a.offer("v2", 3 * LATE);
        b.serves(1 + LATE);
        assert_eq!(a.claim("v2"), Claim::Wait(None));
    }
}
