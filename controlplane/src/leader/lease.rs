//! What to do with the Lease as it was found. Pure: clocks of other machines have no say,
//! only how long the Lease was seen not to change.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use tokio::time::Instant;

/// The Lease as it was seen last.
pub(super) struct Seen {
    holder: String,
    duration: Duration,
    version: String,
    /// When it was first seen like this.
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// It is someone else's.
    Wait,
    /// It is nobody's, or its holder has gone.
    Take,
    /// It is ours.
    Renew,
}

impl Seen {
    /// What is known after a look.
    pub(super) fn look(before: Option<Self>, lease: Option<&Lease>, now: Instant) -> Self {
        let version = lease.and_then(|lease| lease.metadata.resource_version.clone());
        let version = version.unwrap_or_default();
        match before {
            Some(before) if before.version == version && lease.is_some() => before,
            _ => {
                let spec = lease.and_then(|lease| lease.spec.as_ref());
                let seconds = spec
                    .and_then(|spec| spec.lease_duration_seconds)
                    .unwrap_or_default();
                Self {
                    holder: lease.map(holder).unwrap_or_default(),
                    // One that was written by hand must not lock everyone out.
                    duration: Duration::from_secs(seconds.clamp(0, 60).unsigned_abs().into()),
                    version,
                    since: now,
                }
            }
        }
    }
}

pub(super) fn next(seen: &Seen, me: &str, now: Instant) -> Move {
    if seen.holder == me {
        Move::Renew
    } else if seen.holder.is_empty() || now.duration_since(seen.since) >= seen.duration {
        Move::Take
    } else {
        Move::Wait
    }
}

pub(super) fn holder(lease: &Lease) -> String {
    let spec = lease.spec.as_ref();
    spec.and_then(|spec| spec.holder_identity.clone())
        .unwrap_or_default()
}

pub(super) fn first(name: &str, me: &str, duration: Duration, now: MicroTime) -> Lease {
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        spec: None,
    };
    taken(lease, me, duration, now)
}

pub(super) fn taken(mut lease: Lease, me: &str, duration: Duration, now: MicroTime) -> Lease {
    let before = lease.spec.take();
    let transitions = before
        .and_then(|spec| spec.lease_transitions)
        .map_or(0, |count| count.saturating_add(1));
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: Some(seconds(duration)),
        acquire_time: Some(now.clone()),
        renew_time: Some(now),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    });
    lease
}

pub(super) fn renewed(mut lease: Lease, duration: Duration, now: MicroTime) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.lease_duration_seconds = Some(seconds(duration));
    spec.renew_time = Some(now);
    lease
}

pub(super) fn released(mut lease: Lease, now: MicroTime) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    // The API server wants a positive number.
    spec.lease_duration_seconds = Some(1);
    spec.renew_time = Some(now);
    lease
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    const HOLD: Duration = Duration::from_secs(12);

    fn lease(holder: &str, version: &str) -> Lease {
        let now = MicroTime(Timestamp::UNIX_EPOCH);
        let mut lease = first("l", holder, HOLD, now);
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    #[test]
    fn a_free_lease_is_taken_and_ones_own_renewed() {
        let now = Instant::now();
        let seen = |lease: Option<&Lease>| next(&Seen::look(None, lease, now), "me", now);
        assert_eq!(seen(None), Move::Take);
        assert_eq!(seen(Some(&lease("", "1"))), Move::Take);
        assert_eq!(seen(Some(&lease("me", "1"))), Move::Renew);
        assert_eq!(seen(Some(&lease("other", "1"))), Move::Wait);
        let free = released(lease("other", "1"), MicroTime(Timestamp::UNIX_EPOCH));
        assert_eq!(seen(Some(&free)), Move::Take);
    }

    #[test]
    fn a_lease_that_nobody_renews_is_taken_when_its_time_is_over_by_ones_own_clock() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let seen = Seen::look(None, Some(&lease("other", "1")), start);
        assert_eq!(next(&seen, "me", at(11)), Move::Wait);
        // Renewed at the last moment: it counts anew.
        let seen = Seen::look(Some(seen), Some(&lease("other", "2")), at(11));
        assert_eq!(next(&seen, "me", at(12)), Move::Wait);
        let seen = Seen::look(Some(seen), Some(&lease("other", "2")), at(22));
        assert_eq!(next(&seen, "me", at(22)), Move::Wait);
        let seen = Seen::look(Some(seen), Some(&lease("other", "2")), at(23));
        assert_eq!(next(&seen, "me", at(23)), Move::Take);
    }

    #[test]
    fn a_new_holder_counts_as_a_transition() {
        let now = || MicroTime(Timestamp::UNIX_EPOCH);
        let first = lease("one", "1");
        assert_eq!(first.spec.as_ref().unwrap().lease_transitions, Some(0));
        let second = taken(renewed(first, HOLD, now()), "two", HOLD, now());
        assert_eq!(second.spec.as_ref().unwrap().lease_transitions, Some(1));
        assert_eq!(holder(&second), "two");
    }
}
