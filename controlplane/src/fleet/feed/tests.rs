use super::*;
use crate::translate::Translation;

fn published(version: &str, backends: &[(&str, u32)]) -> Published {
    let snapshot = v1::Snapshot {
        version: version.into(),
        backends: backends
            .iter()
            .map(|(id, _)| v1::Backend {
                id: (*id).into(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let endpoints = backends.iter().map(|(id, port)| {
        let address = v1::Endpoint {
            address: "127.0.0.1".into(),
            port: *port,
        };
        let endpoints = vec![address];
        (
            (*id).into(),
            v1::Endpoints {
                backend_id: (*id).into(),
                endpoints,
            },
        )
    });
    Published {
        translation: Translation {
            snapshots: [(String::new(), snapshot)].into(),
            endpoints: endpoints.collect(),
            ..Default::default()
        },
        problems: vec![],
        as_of_ms: 0,
    }
}

/// `v1` for a snapshot, `a:1` for a backend with its port.
fn sent(messages: Vec<Message>) -> Vec<String> {
    let show = |message| match message {
        Message::Snapshot(snapshot) => snapshot.version,
        Message::Endpoints(sent) => format!("{}:{}", sent.backend_id, sent.endpoints[0].port),
        Message::Command(_) | Message::Peers(_) => {
            unreachable!("a feed sends neither commands nor peers")
        }
    };
    messages.into_iter().map(show).collect()
}

#[test]
fn a_snapshot_comes_first_and_its_endpoints_follow() {
    let mut feed = Feed::default();
    let messages = feed.advance(&published("v1", &[("a", 1), ("b", 1)]));
    assert_eq!(sent(messages), ["v1", "a:1", "b:1"]);
    assert_eq!(feed.in_flight(), Some("v1"));
}

#[test]
fn changed_endpoints_are_sent_alone_even_while_a_snapshot_is_in_flight() {
    let mut feed = Feed::default();
    feed.advance(&published("v1", &[("a", 1), ("b", 1)]));
    assert_eq!(
        sent(feed.advance(&published("v1", &[("a", 1), ("b", 2)]))),
        ["b:2"]
    );
    assert_eq!(
        sent(feed.advance(&published("v1", &[("a", 1), ("b", 2)]))),
        [""; 0]
    );
}

#[test]
fn a_slow_dataplane_skips_versions() {
    let mut feed = Feed::default();
    feed.advance(&published("v1", &[("a", 1)]));
    assert!(feed.advance(&published("v2", &[("a", 2)])).is_empty());
    assert!(feed.advance(&published("v3", &[("a", 3)])).is_empty());
    feed.answered("v0", true);
    assert!(
        feed.advance(&published("v3", &[("a", 3)])).is_empty(),
        "another's answer"
    );
    feed.answered("v1", true);
    assert_eq!(
        sent(feed.advance(&published("v3", &[("a", 3)]))),
        ["v3", "a:3"]
    );
}

#[test]
fn unchanged_endpoints_are_not_sent_again_with_a_new_snapshot() {
    let mut feed = Feed::default();
    feed.advance(&published("v1", &[("a", 1)]));
    feed.answered("v1", true);
    assert_eq!(
        sent(feed.advance(&published("v2", &[("a", 1), ("b", 1)]))),
        ["v2", "b:1"]
    );
}

#[test]
fn a_backend_that_comes_back_is_sent_again() {
    let mut feed = Feed::default();
    for (version, backends) in [("v1", &[("a", 1)][..]), ("v2", &[])] {
        feed.advance(&published(version, backends));
        feed.answered(version, true);
    }
    assert_eq!(
        sent(feed.advance(&published("v3", &[("a", 1)]))),
        ["v3", "a:1"]
    );
}

#[test]
fn all_endpoints_follow_the_snapshot_after_a_refused_one() {
    let mut feed = Feed::default();
    feed.advance(&published("v1", &[("a", 1)]));
    feed.answered("v1", false);
    assert!(
        feed.advance(&published("v1", &[("a", 1)])).is_empty(),
        "not the same again"
    );
    assert_eq!(
        sent(feed.advance(&published("v2", &[("a", 1)]))),
        ["v2", "a:1"]
    );
}

#[test]
fn a_dataplane_that_never_answers_is_sent_the_newest_after_all() {
    let mut feed = Feed::default();
    feed.advance(&published("v1", &[("a", 1)]));
    feed.give_up();
    assert_eq!(
        sent(feed.advance(&published("v2", &[("a", 1)]))),
        ["v2", "a:1"]
    );
}

#[test]
fn a_dataplane_of_an_unknown_gateway_gets_nothing_yet() {
    let mut feed = Feed::new("default/other".into());
    assert!(feed.advance(&published("v1", &[("a", 1)])).is_empty());
    assert_eq!(feed.in_flight(), None);
}
