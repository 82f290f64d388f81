//! Whose requests a connection may carry, for every server name and every version of HTTP.

use tidegate_proto::v1;

use super::{
    client::{self, WIRES},
    harness::{Gateway, echo},
};
use crate::snapshot::fixture;

fn https(id: &str, hostname: &str) -> v1::Listener {
    fixture::https(id, 0, hostname, "default/site")
}

async fn start(listeners: Vec<v1::Listener>) -> Gateway {
    let rules = vec![(fixture::rule("default/echo:80"), vec![echo(false).await])];
    Gateway::start_changed(listeners, rules, None, |wire| {
        // The listener for every name has a route for one.
        for route in &mut wire.routes {
            if route.attachments[0].listener_id == "default/edge/any" {
                route.attachments[0].hostnames = vec!["example.org".into()];
            }
        }
    })
    .await
}

#[tokio::test]
async fn server_name_and_authority_must_mean_the_same_listener() {
    let gateway = start(vec![
        https("default/edge/any", ""),
        https("default/edge/second", "second-example.org"),
        https("default/edge/wild", "*.wildcard.org"),
        https("default/edge/fourth", "fourth-example.wildcard.org"),
    ])
    .await;
    for (name, host, expected) in [
        ("example.org", "example.org", 200),
        ("example.org", "Example.ORG:8443", 200),
        ("example.org", "second-example.org", 421),
        ("example.org", "unknown-example.org", 404),
        ("second-example.org", "second-example.org", 200),
        ("second-example.org", "example.org", 421),
        ("second-example.org", "unknown-example.org", 421),
        ("third.wildcard.org", "third.wildcard.org", 200),
        ("third.wildcard.org", "fifth.wildcard.org", 200),
        ("third.wildcard.org", "fourth-example.wildcard.org", 421),
        ("third.wildcard.org", "second-example.org", 421),
        ("third.wildcard.org", "unknown-example.org", 421),
        (
            "fourth-example.wildcard.org",
            "fourth-example.wildcard.org",
            200,
        ),
        ("fourth-example.wildcard.org", "fifth.wildcard.org", 421),
        ("unknown-example.org", "example.org", 200),
        ("unknown-example.org", "unknown-example.org", 404),
        // No server name is sent with an address: authorities alone decide.
        ("127.0.0.1", "127.0.0.1", 404),
        ("127.0.0.1", "example.org", 200),
        ("127.0.0.1", "second-example.org", 200),
    ] {
        for wire in WIRES {
            let tls = client::tls(wire, None);
            let answer = client::get(wire, &tls, gateway.address, name, host).await;
            let (status, text) = answer.unwrap_or_else(|error| panic!("{wire:?} {name}: {error}"));
            assert_eq!(status, expected, "{wire:?} {name} {host}\n{text}");
        }
    }
}

#[tokio::test]
async fn a_name_that_no_listener_has_gets_a_connection_and_nothing_on_it() {
    let gateway = start(vec![
        https("default/edge/a", "a.example"),
        https("default/edge/b", "*.b.example"),
    ])
    .await;
    for (name, host, expected) in [
        ("c.example", "c.example", 404),
        ("b.example", "b.example", 404),
        ("c.example", "a.example", 421),
        ("c.example", "x.b.example", 421),
        ("a.example", "c.example", 404),
        ("127.0.0.1", "127.0.0.1", 404),
        ("127.0.0.1", "x.b.example", 200),
    ] {
        for wire in WIRES {
            let tls = client::tls(wire, None);
            let answer = client::get(wire, &tls, gateway.address, name, host).await;
            let (status, text) = answer.unwrap_or_else(|error| panic!("{wire:?} {name}: {error}"));
            assert_eq!(status, expected, "{wire:?} {name} {host}\n{text}");
        }
    }
}
