//! Which sessions a client may resume: clients here offer every ticket that they have, to
//! whomever.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, NamedGroup,
    client::{
        ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
        Tls13ClientSessionValue,
    },
    pki_types::ServerName,
};
use tidegate_proto::v1::{self, client_validation::Mode};

use super::{
    client::{self, Authority, WIRES, Wire},
    harness::{Gateway, echo},
};
use crate::snapshot::fixture;

const ONE: &str = "one.example";
const OTHER: &str = "other.example";

async fn start(listeners: Vec<v1::Listener>) -> Gateway {
    let rules = vec![(fixture::rule("default/echo:80"), vec![echo(false).await])];
    Gateway::start_all(listeners, rules, None).await
}

/// The server names of connections that resumed.
fn resumed(records: &[v1::Connection]) -> Vec<&str> {
    let all = records.iter().filter_map(|record| record.tls.as_ref());
    all.filter(|tls| tls.resumed)
        .map(|tls| tls.server_name.as_str())
        .collect()
}

#[tokio::test]
async fn a_session_of_one_virtual_host_is_none_of_another() {
    let mut gateway = start(vec![
        fixture::https("default/edge/one", 0, ONE, "default/site"),
        fixture::https("default/edge/other", 0, OTHER, "default/site"),
    ])
    .await;
    for wire in WIRES {
        let tls = offering_all(client::tls(wire, None));
        for name in [ONE, ONE, ONE, OTHER] {
            let answer = client::get(wire, &tls, gateway.address, name, name).await;
            assert_eq!(answer.expect("an answer").0, 200, "{wire:?} {name}");
        }
    }
    let records = gateway.closed(4 * WIRES.len()).await;
    let resumed = resumed(&records);
    assert!(resumed.len() >= WIRES.len(), "{records:#?}");
    assert!(!resumed.contains(&OTHER), "{records:#?}");
}

#[tokio::test]
async fn a_session_ends_with_the_certificate_that_its_client_has_shown() {
    const LIFE: Duration = Duration::from_secs(20);
    let authority = Authority::new("good");
    let mut gateway = start(vec![v1::Listener {
        client_validation: Some(v1::ClientValidation {
            ca_pem: authority.pem.clone().into(),
            mode: Mode::Unspecified.into(),
        }),
        ..fixture::https("default/edge/one", 0, ONE, "default/site")
    }])
    .await;
    let end = tokio::time::Instant::now() + LIFE;
    let identity = authority.issue_for("device-7", LIFE);
    let clients = WIRES.map(|wire| (wire, client::tls(wire, Some(&identity))));
    let ask = async |wire: Wire, tls: &ClientConfig| {
        client::get(wire, tls, gateway.address, ONE, ONE).await
    };
    for (wire, tls) in &clients {
        for _ in 0..2 {
            let answer = ask(*wire, tls).await;
            assert_eq!(answer.expect("it is let in").0, 200, "{wire:?}");
        }
    }
    // Certificates count in whole seconds.
    tokio::time::sleep_until(end + Duration::from_secs(2)).await;
    for (wire, tls) in &clients {
        let answer = ask(*wire, tls).await;
        assert!(answer.is_err(), "{wire:?} {answer:?}");
    }
    let records = gateway.closed(2 * WIRES.len()).await;
    assert!(resumed(&records).len() >= WIRES.len(), "{records:#?}");
}

fn offering_all(mut tls: ClientConfig) -> ClientConfig {
    let store = AnyName(ClientSessionMemoryCache::new(16));
    tls.resumption = Resumption::store(Arc::new(store));
    tls
}

/// Keeps all sessions as if they were of one server.
#[derive(Debug)]
struct AnyName(ClientSessionMemoryCache);

fn any() -> ServerName<'static> {
    ServerName::try_from("any.example").expect("it is a name")
}

impl ClientSessionStore for AnyName {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(any(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&any())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(any(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&any())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&any());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(any(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&any())
    }
}
