//! Listeners: each as one, though many dataplanes may have it.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use tidegate_proto::v1::{self, command::Kind as Command, command_reply::Kind as Reply};

use super::{Operations, connections::unexpected};
use crate::api::failure::Failure;

impl Operations {
    /// Every listener that is configured or still in use.
    pub(crate) fn list_listeners(&self) -> v1::ListListenersResponse {
        let mut listeners = BTreeMap::new();
        if let Some(published) = self.fleet.configuration() {
            let snapshots = published.translation.snapshots.values();
            for listener in snapshots.flat_map(|snapshot| &snapshot.listeners) {
                listeners.insert(listener.id.clone(), summary(listener));
            }
        }
        merge(&mut listeners, &self.fleet.dataplanes());
        v1::ListListenersResponse {
            listeners: listeners.into_values().collect(),
        }
    }

    /// Begins to drain a listener on every dataplane that has it.
    pub(crate) async fn drain_listener(
        &self,
        request: v1::DrainRequest,
    ) -> Result<v1::DrainResponse, Failure> {
        let v1::DrainRequest { id, deadline_ms } = request;
        let drain = v1::Drain {
            listener: id.clone(),
            deadline_ms,
        };
        self.begin_everywhere(&id, &Command::Drain(drain)).await
    }

    /// New connections of a drained listener are ordinary again.
    pub(crate) async fn undrain_listener(
        &self,
        request: v1::UndrainRequest,
    ) -> Result<v1::DrainResponse, Failure> {
        let undrain = v1::Undrain {
            listener: request.id.clone(),
        };
        self.begin_everywhere(&request.id, &Command::Undrain(undrain))
            .await
    }

    async fn begin_everywhere(
        &self,
        listener: &str,
        command: &Command,
    ) -> Result<v1::DrainResponse, Failure> {
        if listener.is_empty() {
            return Err(Failure::Invalid("the listener's id is empty".into()));
        }
        let replies = join_all(self.dataplane_ids().into_iter().map(|id| async move {
            let reply = self.fleet.command(&id, command.clone()).await;
            (id, reply.map_err(Failure::from))
        }));
        let (mut dataplanes, mut failed) = (Vec::new(), None);
        for (id, reply) in replies.await {
            match reply {
                Ok(Reply::Done(v1::Done {})) => dataplanes.push(id),
                Ok(_) => failed = Some(unexpected()),
                // It serves another Gateway, or has left.
                Err(Failure::NotFound(_)) => {}
                Err(failure) => failed = Some(failure),
            }
        }
        match failed {
            Some(failure) => Err(failure),
            None if dataplanes.is_empty() => Err(Failure::NotFound(format!(
                "no dataplane has a listener `{listener}`"
            ))),
            None => Ok(v1::DrainResponse { dataplanes }),
        }
    }
}

fn summary(listener: &v1::Listener) -> v1::ListenerSummary {
    v1::ListenerSummary {
        id: listener.id.clone(),
        port: listener.port,
        hostname: listener.hostname.clone(),
        protocol: listener.protocol,
        http3: listener.http3.is_some(),
        connections: 0,
        draining: false,
    }
}

/// Adds what dataplanes say: connections over all of them, and draining where all of
/// those that have the listener drain it.
fn merge(listeners: &mut BTreeMap<String, v1::ListenerSummary>, dataplanes: &[v1::Dataplane]) {
    let mut seen = std::collections::BTreeSet::new();
    for state in dataplanes
        .iter()
        .filter_map(|dataplane| dataplane.state.as_ref())
    {
        for on_one in &state.listeners {
            let merged = listeners.entry(on_one.id.clone()).or_insert_with(|| {
                // Removed from the configuration; its last connections are still served.
                v1::ListenerSummary {
                    id: on_one.id.clone(),
                    port: on_one.port,
                    ..Default::default()
                }
            });
            merged.connections += on_one.connections;
            let drains = on_one.draining || state.draining;
            let first = seen.insert(on_one.id.clone());
            merged.draining = drains && (first || merged.draining);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataplane(draining: bool, listener: v1::ListenerState) -> v1::Dataplane {
        let state = v1::DataplaneState {
            draining,
            listeners: vec![listener],
            ..Default::default()
        };
        v1::Dataplane {
            state: Some(state),
            ..Default::default()
        }
    }

    fn state(id: &str, connections: u64, draining: bool) -> v1::ListenerState {
        v1::ListenerState {
            id: id.into(),
            connections,
            draining,
            ..Default::default()
        }
    }

    fn merged(dataplanes: &[v1::Dataplane]) -> BTreeMap<String, v1::ListenerSummary> {
        let configured = v1::ListenerSummary {
            id: "a".into(),
            port: 443,
            ..Default::default()
        };
        let mut listeners = BTreeMap::from([("a".to_owned(), configured)]);
        merge(&mut listeners, dataplanes);
        listeners
    }

    #[test]
    fn connections_add_up_over_dataplanes() {
        let two = [
            dataplane(false, state("a", 3, false)),
            dataplane(false, state("a", 4, false)),
        ];
        let listeners = merged(&two);
        assert_eq!((listeners["a"].connections, listeners["a"].port), (7, 443));
    }

    #[test]
    fn a_listener_drains_when_every_dataplane_drains_it() {
        for (states, draining) in [
            ([(false, true), (false, true)], true),
            ([(false, true), (true, false)], true),
            ([(false, true), (false, false)], false),
            ([(false, false), (false, true)], false),
        ] {
            let two = states.map(|(all, this)| dataplane(all, state("a", 0, this)));
            assert_eq!(merged(&two)["a"].draining, draining, "{states:?}");
        }
        assert!(!merged(&[])["a"].draining);
    }

    #[test]
    fn a_removed_listener_is_shown_while_it_is_in_use() {
        assert_eq!(
            merged(&[dataplane(false, state("old", 1, true))])["old"].connections,
            1
        );
    }
}
