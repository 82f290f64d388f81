//! Whether traffic can flow. Pure.

use tidegate_proto::v1;

use super::Published;

/// Why it cannot.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotReady {
    /// Nothing was translated yet.
    #[error("the configuration was not read yet")]
    NoConfiguration,
    /// Nobody is there to serve.
    #[error("no dataplane is connected")]
    NoDataplane,
    /// Why each dataplane is not ready.
    #[error("{}", .0.join("; "))]
    Dataplanes(Vec<String>),
}

/// Ready once one dataplane has acknowledged the current version of its snapshot and
/// its listeners are up.
pub(crate) fn readiness(
    published: Option<&Published>,
    dataplanes: &[v1::Dataplane],
) -> Result<(), NotReady> {
    let published = published.ok_or(NotReady::NoConfiguration)?;
    if dataplanes.is_empty() {
        return Err(NotReady::NoDataplane);
    }
    let mut reasons = Vec::new();
    for dataplane in dataplanes {
        match obstacle(published, dataplane) {
            None => return Ok(()),
            Some(reason) => {
                let name = dataplane
                    .hello
                    .as_ref()
                    .map_or("", |hello| &hello.dataplane_id);
                reasons.push(format!("{name}: {reason}"));
            }
        }
    }
    Err(NotReady::Dataplanes(reasons))
}

fn obstacle(published: &Published, dataplane: &v1::Dataplane) -> Option<String> {
    let gateway = dataplane.hello.as_ref().map_or("", |hello| &hello.gateway);
    let Some(snapshot) = published.snapshot(gateway) else {
        return Some(format!("its Gateway {gateway} is not configured"));
    };
    if let Some(nack) = &dataplane.nack
        && nack.version == snapshot.version
    {
        return Some("it refused the current configuration".into());
    }
    if dataplane.acked_version != snapshot.version {
        return Some("it has not acknowledged the current configuration".into());
    }
    if snapshot.listeners.is_empty() {
        return Some("no listener is configured".into());
    }
    let states = dataplane
        .state
        .as_ref()
        .map_or(&[][..], |state| &state.listeners);
    let down = snapshot.listeners.iter().find(|listener| {
        let state = states.iter().find(|state| state.id == listener.id);
        !state.is_some_and(|state| state.tcp_up && (state.quic_up || listener.http3.is_none()))
    });
    down.map(|listener| format!("listener {} is not up", listener.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::Translation;

    fn published(version: &str) -> Published {
        let listener = |id: &str, http3| v1::Listener {
            id: id.into(),
            http3,
            ..Default::default()
        };
        let snapshot = v1::Snapshot {
            version: version.into(),
            listeners: vec![
                listener("d/g/http", None),
                listener("d/g/https", Some(v1::Http3::default())),
            ],
            ..Default::default()
        };
        let snapshots = [(String::new(), snapshot)].into();
        let translation = Translation {
            snapshots,
            ..Default::default()
        };
        Published {
            translation,
            problems: vec![],
            as_of_ms: 0,
        }
    }

    fn dataplane(acked: &str, quic_up: bool) -> v1::Dataplane {
        let state = |id: &str, quic_up| v1::ListenerState {
            id: id.into(),
            tcp_up: true,
            quic_up,
            ..Default::default()
        };
        let listeners = vec![state("d/g/http", false), state("d/g/https", quic_up)];
        v1::Dataplane {
            hello: Some(v1::Hello {
                dataplane_id: "edge".into(),
                ..Default::default()
            }),
            acked_version: acked.into(),
            state: Some(v1::DataplaneState {
                listeners,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn reason(published: Option<&Published>, dataplanes: &[v1::Dataplane]) -> String {
        readiness(published, dataplanes).unwrap_err().to_string()
    }

    #[test]
    fn one_dataplane_that_serves_the_current_version_suffices() {
        let now = published("v2");
        assert_eq!(readiness(Some(&now), &[dataplane("v2", true)]), Ok(()));
        assert_eq!(
            readiness(Some(&now), &[dataplane("v1", true), dataplane("v2", true)]),
            Ok(())
        );
    }

    #[test]
    fn what_is_missing_is_said() {
        let now = published("v2");
        assert!(reason(None, &[dataplane("v2", true)]).contains("not read"));
        assert!(reason(Some(&now), &[]).contains("no dataplane"));
        assert!(reason(Some(&now), &[dataplane("v1", true)]).contains("edge: it has not ack"));
        let down = reason(Some(&now), &[dataplane("v2", false)]);
        assert!(down.contains("d/g/https is not up"), "{down}");
        let silent = v1::Dataplane {
            state: None,
            ..dataplane("v2", true)
        };
        assert!(reason(Some(&now), &[silent]).contains("d/g/http is not up"));
    }

    #[test]
    fn a_refused_configuration_is_not_ready() {
        let nack = Some(v1::Nack {
            version: "v2".into(),
            ..Default::default()
        });
        let refused = v1::Dataplane {
            nack,
            ..dataplane("v1", true)
        };
        assert!(reason(Some(&published("v2")), &[refused]).contains("refused"));
    }

    #[test]
    fn a_configuration_without_listeners_serves_nobody() {
        let mut empty = published("v2");
        empty
            .translation
            .snapshots
            .get_mut("")
            .unwrap()
            .listeners
            .clear();
        assert!(reason(Some(&empty), &[dataplane("v2", true)]).contains("no listener"));
    }
}
