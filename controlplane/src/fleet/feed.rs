//! What a dataplane is to be sent next. Pure: `control` asks after every change.
//!
//! A snapshot is in flight until it is answered, and meanwhile newer ones are passed
//! over, so a slow dataplane goes from the one that it has to the newest. Addresses of
//! backends follow the snapshot that names them, and then come one backend at a time as
//! they change.

use std::collections::BTreeMap;

use tidegate_proto::v1::{self, session_down::Message};

use super::publish::Published;

/// What one dataplane was sent.
#[derive(Default)]
pub(super) struct Feed {
    gateway: String,
    version: Option<String>,
    in_flight: bool,
    /// The snapshot was not taken, so who knows what became of the addresses after it.
    distrusted: bool,
    endpoints: BTreeMap<String, v1::Endpoints>,
}

impl Feed {
    /// For a dataplane that serves `gateway`; empty: all Gateways.
    pub(super) fn new(gateway: String) -> Self {
        Self { gateway, ..Self::default() }
    }

    /// Messages to send now, in order. They count as sent.
    pub(super) fn advance(&mut self, published: &Published) -> Vec<Message> {
        let Some(snapshot) = published.snapshot(&self.gateway) else { return vec![] };
        let mut messages = Vec::new();
        if self.version.as_ref() != Some(&snapshot.version) {
            if self.in_flight {
                return messages;
            }
            self.version = Some(snapshot.version.clone());
            self.in_flight = true;
            // A backend that is named again later is sent again.
            let trusted = !std::mem::take(&mut self.distrusted);
            self.endpoints.retain(|id, _| {
                trusted && snapshot.backends.iter().any(|backend| backend.id == *id)
            });
            messages.push(Message::Snapshot(snapshot.clone()));
        }
        for endpoints in published.endpoints_of(snapshot) {
            if self.endpoints.get(&endpoints.backend_id) != Some(&endpoints) {
                self.endpoints.insert(endpoints.backend_id.clone(), endpoints.clone());
                messages.push(Message::Endpoints(endpoints));
            }
        }
        messages
    }

    /// The version in flight, if one is.
    pub(super) fn in_flight(&self) -> Option<&str> {
        self.version.as_deref().filter(|_| self.in_flight)
    }

    /// A version was taken, or refused.
    pub(super) fn answered(&mut self, version: &str, taken: bool) {
        if self.version.as_deref() == Some(version) {
            self.in_flight = false;
            self.distrusted = !taken;
        }
    }

    /// No answer to what is in flight is awaited any more.
    pub(super) fn give_up(&mut self) {
        self.in_flight = false;
        self.distrusted = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::Translation;

    fn published(version: &str, backends: &[(&str, u32)]) -> Published {
        let snapshot = v1::Snapshot {
            version: version.into(),
            backends: backends
                .iter()
                .map(|(id, _)| v1::Backend { id: (*id).into(), ..Default::default() })
                .collect(),
            ..Default::default()
        };
        let endpoints = backends.iter().map(|(id, port)| {
            let address = v1::Endpoint { address: "127.0.0.1".into(), port: *port };
            let endpoints = vec![address];
            ((*id).into(), v1::Endpoints { backend_id: (*id).into(), endpoints })
        });
        Published {
            translation: Translation {
                snapshots: [(String::new(), snapshot)].into(),
                endpoints: endpoints.collect(),
                ..Default::default()
            },
            problems: vec![],
        }
    }

    /// `v1` for a snapshot, `a:1` for a backend with its port.
    fn sent(messages: Vec<Message>) -> Vec<String> {
        let show = |message| match message {
            Message::Snapshot(snapshot) => snapshot.version,
            Message::Endpoints(sent) => format!("{}:{}", sent.backend_id, sent.endpoints[0].port),
            Message::Command(_) => unreachable!("a feed sends no commands"),
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
        assert_eq!(sent(feed.advance(&published("v1", &[("a", 1), ("b", 2)]))), ["b:2"]);
        assert_eq!(sent(feed.advance(&published("v1", &[("a", 1), ("b", 2)]))), [""; 0]);
    }

    #[test]
    fn a_slow_dataplane_skips_versions() {
        let mut feed = Feed::default();
        feed.advance(&published("v1", &[("a", 1)]));
        assert!(feed.advance(&published("v2", &[("a", 2)])).is_empty());
        assert!(feed.advance(&published("v3", &[("a", 3)])).is_empty());
        feed.answered("v0", true);
        assert!(feed.advance(&published("v3", &[("a", 3)])).is_empty(), "another's answer");
        feed.answered("v1", true);
        assert_eq!(sent(feed.advance(&published("v3", &[("a", 3)]))), ["v3", "a:3"]);
    }

    #[test]
    fn unchanged_endpoints_are_not_sent_again_with_a_new_snapshot() {
        let mut feed = Feed::default();
        feed.advance(&published("v1", &[("a", 1)]));
        feed.answered("v1", true);
        assert_eq!(sent(feed.advance(&published("v2", &[("a", 1), ("b", 1)]))), ["v2", "b:1"]);
    }

    #[test]
    fn a_backend_that_comes_back_is_sent_again() {
        let mut feed = Feed::default();
        for (version, backends) in [("v1", &[("a", 1)][..]), ("v2", &[])] {
            feed.advance(&published(version, backends));
            feed.answered(version, true);
        }
        assert_eq!(sent(feed.advance(&published("v3", &[("a", 1)]))), ["v3", "a:1"]);
    }

    #[test]
    fn all_endpoints_follow_the_snapshot_after_a_refused_one() {
        let mut feed = Feed::default();
        feed.advance(&published("v1", &[("a", 1)]));
        feed.answered("v1", false);
        assert!(feed.advance(&published("v1", &[("a", 1)])).is_empty(), "not the same again");
        assert_eq!(sent(feed.advance(&published("v2", &[("a", 1)]))), ["v2", "a:1"]);
    }

    #[test]
    fn a_dataplane_that_never_answers_is_sent_the_newest_after_all() {
        let mut feed = Feed::default();
        feed.advance(&published("v1", &[("a", 1)]));
        feed.give_up();
        assert_eq!(sent(feed.advance(&published("v2", &[("a", 1)]))), ["v2", "a:1"]);
    }

    #[test]
    fn a_dataplane_of_an_unknown_gateway_gets_nothing_yet() {
        let mut feed = Feed::new("default/other".into());
        assert!(feed.advance(&published("v1", &[("a", 1)])).is_empty());
        assert_eq!(feed.in_flight(), None);
    }
}
