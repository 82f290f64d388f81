//! What happens to a connection's paths, written into its record.

use std::net::SocketAddr;

use quiche::PathEvent;
use tidegate_proto::v1::{self, PathEventKind as Kind};

use crate::quic::shared::Shared;

/// Writes an event down. Moves of the client are [`migrated`]'s.
pub(super) fn note(shared: &Shared, event: &PathEvent) {
    let noted = match *event {
        PathEvent::New(local, peer) => of(Kind::New, local, peer),
        PathEvent::Validated(local, peer) => of(Kind::Validated, local, peer),
        PathEvent::FailedValidation(local, peer) => of(Kind::ValidationFailed, local, peer),
        PathEvent::Closed(local, peer) => of(Kind::Closed, local, peer),
        PathEvent::ReusedSourceConnectionId(_, (_, before), (local, peer)) => v1::PathEvent {
            before: before.to_string(),
            ..of(Kind::ConnectionIdReused, local, peer)
        },
        PathEvent::PmtuUpdated { local, peer, pmtu } => v1::PathEvent {
            pmtu: pmtu as u32,
            ..of(Kind::PmtuUpdated, local, peer)
        },
        _ => return,
    };
    push(shared, noted);
}

/// Writes a validated change of address down.
pub(super) fn migrated(shared: &Shared, local: SocketAddr, peer: SocketAddr) {
    let from = shared.peer.replace(peer);
    if from == peer {
        return;
    }
    shared.endpoint.host.metrics().path_changed();
    push(
        shared,
        v1::PathEvent {
            before: from.to_string(),
            ..of(Kind::PeerMigrated, local, peer)
        },
    );
    let mut audit = shared.audit.borrow_mut();
    if audit.path_changes.len() < MOST_NOTED {
        audit.path_changes.push(v1::PathChange {
            at_ms: age(shared),
            from: from.to_string(),
            to: peer.to_string(),
        });
    }
}

/// At the end: paths of which nobody knows whether the client was there.
pub(super) fn unresolved(shared: &Shared) {
    let unresolved = open(&shared.audit.borrow().path_events);
    for event in unresolved {
        push(
            shared,
            v1::PathEvent {
                kind: Kind::Unresolved.into(),
                ..event
            },
        );
    }
}

/// The paths that were seen, and then neither validated nor given up. One that was given up
/// may be seen again.
fn open(events: &[v1::PathEvent]) -> Vec<v1::PathEvent> {
    let mut open: Vec<v1::PathEvent> = Vec::new();
    for event in events {
        let known = |new: &v1::PathEvent| (&new.local, &new.peer) == (&event.local, &event.peer);
        match event.kind() {
            Kind::New => open.push(event.clone()),
            Kind::Validated | Kind::ValidationFailed | Kind::PeerMigrated => {
                open.retain(|new| !known(new));
            }
            _ => {}
        }
    }
    open
}

fn of(kind: Kind, local: SocketAddr, peer: SocketAddr) -> v1::PathEvent {
    v1::PathEvent {
        kind: kind.into(),
        peer: peer.to_string(),
        local: local.to_string(),
        ..Default::default()
    }
}

fn push(shared: &Shared, event: v1::PathEvent) {
    let mut audit = shared.audit.borrow_mut();
    if audit.path_events.len() < MOST_NOTED {
        audit.path_events.push(v1::PathEvent {
            at_ms: age(shared),
            ..event
        });
    } else {
        audit.path_events_omitted += 1;
    }
}

fn age(shared: &Shared) -> u64 {
    shared.started.elapsed().as_millis() as u64
}

/// A client that changes its address all the time does not make the record grow.
const MOST_NOTED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_seen_again_is_open_until_it_is_settled_again() {
        let local = "192.0.2.1:443".parse().expect("an address");
        let path = |kind, port| of(kind, local, SocketAddr::from(([198, 51, 100, 7], port)));
        let mut events = vec![path(Kind::New, 1), path(Kind::New, 2)];
        assert_eq!(open(&events), events);
        events.push(path(Kind::ValidationFailed, 1));
        assert_eq!(open(&events), [path(Kind::New, 2)]);
        events.push(path(Kind::New, 1));
        assert_eq!(open(&events), [path(Kind::New, 2), path(Kind::New, 1)]);
        events.extend([path(Kind::Validated, 2), path(Kind::PeerMigrated, 1)]);
        assert_eq!(open(&events), []);
    }
}
