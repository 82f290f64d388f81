//! Configuration changes under live connections, and none of them notices.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_tests::{
    Gateway, Tcp, Upstream, Wire, eventually, eventually_within, free_port, http, https, within,
};

fn to(service: &str) -> Value {
    json!([{"backendRefs": [{"name": service, "port": 80}]}])
}

async fn colours() -> (Upstream, Upstream, Gateway) {
    let (red, blue) = (Upstream::named("red").await, Upstream::named("blue").await);
    let fill = |folder: &tidegate_tests::Folder| {
        folder.service("red", &[red.address]);
        folder.service("blue", &[blue.address]);
        folder.route("app", &[], &to("red"));
    };
    let gateway = Gateway::builder().start_with(fill).await;
    (red, blue, gateway)
}

async fn leaf_shown(gateway: &Gateway) -> Option<Vec<u8>> {
    Tcp::connect(&gateway.target(), Wire::H2)
        .await
        .certificate
        .take()
}

/// The leaf that a QUIC handshake shows.
fn quic_leaf(client: &tidegate_tests::H3) -> Vec<u8> {
    let identity = client
        .connection
        .peer_identity()
        .expect("the server has a certificate");
    let chain = identity
        .downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>()
        .expect("rustls made it");
    chain[0].to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_route_takes_effect_within_a_second_and_closes_nothing() {
    let (_red, _blue, gateway) = colours().await;
    let (h3, mut h2, mut h1) = (gateway.h3().await, gateway.h2().await, gateway.h1().await);
    for client in [&mut h2, &mut h1] {
        assert_eq!(client.get("/").await.header("x-upstream"), "red");
    }
    assert_eq!(h3.get("/").await.header("x-upstream"), "red");
    let before = gateway.admin().connections("").await;
    assert_eq!(before.len(), 3);

    for (service, other) in [("blue", "red"), ("red", "blue"), ("blue", "red")] {
        let edited = Instant::now();
        gateway.folder.route("app", &[], &to(service));
        loop {
            let answer = h3.get("/").await;
            assert_eq!(answer.status, 200, "no request fails meanwhile");
            if answer.header("x-upstream") == service {
                break;
            }
            assert_eq!(answer.header("x-upstream"), other);
            assert!(
                edited.elapsed() < Duration::from_secs(1),
                "the edit is not in effect after a second"
            );
        }
    }
    for client in [&mut h2, &mut h1] {
        assert_eq!(client.get("/").await.header("x-upstream"), "blue");
    }
    let ids = |list: &[Value]| {
        list.iter()
            .map(|connection| connection["id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ids(&gateway.admin().connections("").await),
        ids(&before),
        "the same connections"
    );
    assert!(
        gateway.admin().audit("").await.is_empty(),
        "none was closed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_under_way_finish_on_the_route_that_they_began_with() {
    let (red, _blue, gateway) = colours().await;
    let client = gateway.h3().await;
    let slow = client.get("/gate/slow");
    let change = async {
        eventually("the request is under way", || async {
            (red.active() == 1).then_some(())
        })
        .await;
        gateway.folder.route("app", &[], &to("blue"));
        eventually("new requests take the new route", || async {
            (client.get("/").await.header("x-upstream") == "blue").then_some(())
        })
        .await;
        red.open("slow");
    };
    let (answer, ()) = tokio::join!(slow, change);
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-upstream")),
        (200, "red")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_for_new_handshakes_and_old_connections_live_on() {
    let (_red, _blue, gateway) = colours().await;
    let old = gateway.h3().await;
    assert_eq!(old.get("/").await.status, 200);
    let id = gateway.admin().connection_from(old.local_address()).await["id"].clone();
    let first = quic_leaf(&old);

    let renewed = gateway.authority.issue(&["site.test"]);
    assert_ne!(renewed.der, first);
    gateway.folder.secret("site", &renewed);
    eventually("TCP handshakes show the new certificate", || async {
        (leaf_shown(&gateway).await.as_ref() == Some(&renewed.der)).then_some(())
    })
    .await;
    eventually("QUIC handshakes show the new certificate", || async {
        // A resumed session shows what was remembered, so this client remembers nothing.
        let mut target = gateway.target();
        target.tls = Some(gateway.authority.client(&["h3"]));
        let client = tidegate_tests::H3::connect(&target).await;
        (quic_leaf(&client) == renewed.der).then_some(())
    })
    .await;

    assert_eq!(old.get("/").await.status, 200);
    assert_eq!(
        gateway.admin().connection_from(old.local_address()).await["id"],
        id
    );
}

/// Everything that `/v1/status` says, as one text.
async fn status_text(gateway: &Gateway) -> String {
    gateway.admin().read("/v1/status").await.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_read_is_named_and_the_last_good_one_serves_on() {
    let (_red, _blue, gateway) = colours().await;
    let client = gateway.h3().await;
    assert_eq!(client.get("/").await.header("x-upstream"), "red");
    for broken in [
        "kind: [unclosed",
        "a: 1\n\tb: 2",
        "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {name: app, namespace: default}\nspec: {rules: 7}",
    ] {
        gateway.folder.text("route-app", broken);
        eventually("the status names the file", || async {
            status_text(&gateway)
                .await
                .contains("route-app.yaml")
                .then_some(())
        })
        .await;
        assert_eq!(
            client.get("/").await.header("x-upstream"),
            "red",
            "{broken}"
        );
        assert_eq!(
            gateway.h3().await.get("/").await.header("x-upstream"),
            "red",
            "{broken}"
        );
    }
    gateway.folder.route("app", &[], &to("blue"));
    eventually("the mended file is in service", || async {
        (client.get("/").await.header("x-upstream") == "blue").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_certificate_is_refused_by_name_and_the_last_good_one_serves_on() {
    let (_red, _blue, gateway) = colours().await;
    let good = leaf_shown(&gateway).await;
    let mut broken = gateway.authority.issue(&["site.test"]);
    broken.key_pem = gateway.authority.issue(&["site.test"]).key_pem;
    gateway.folder.secret("site", &broken);
    eventually(
        "a listener says what is wrong with its certificate",
        || async {
            let conditions = gateway.admin().conditions("Gateway", "edge").await;
            let told = conditions.iter().any(|condition| {
                condition["status"] == "False"
                    && condition["message"]
                        .as_str()
                        .is_some_and(|message| message.contains("site"))
            });
            told.then_some(())
        },
    )
    .await;
    assert_eq!(
        leaf_shown(&gateway).await,
        good,
        "the last good certificate serves on"
    );
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_to_nothing_is_told_in_the_status_of_its_route() {
    let (_red, _blue, gateway) = colours().await;
    gateway.folder.route("lost", &[], &json!([
        {"matches": [{"path": {"value": "/lost"}}], "backendRefs": [{"name": "no-such-service", "port": 80}]},
    ]));
    let condition = eventually(
        "the route says that its reference does not resolve",
        || async {
            let conditions = gateway.admin().conditions("HTTPRoute", "lost").await;
            conditions.into_iter().find(|condition| {
                condition["type"] == "ResolvedRefs" && condition["status"] == "False"
            })
        },
    )
    .await;
    assert_eq!(condition["reason"], "BackendNotFound");
    assert!(
        condition["message"]
            .as_str()
            .is_some_and(|message| message.contains("no-such-service")),
        "{condition}"
    );
    let client = gateway.h3().await;
    // The status is the control plane's; the data plane follows.
    eventually("its requests are refused", || async {
        (client.get("/lost").await.status == 500).then_some(())
    })
    .await;
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_configuration_is_accepted_and_programmed() {
    let (_red, _blue, gateway) = colours().await;
    eventually("the Gateway is programmed", || async {
        let conditions = gateway.admin().conditions("Gateway", "edge").await;
        let holds = |kind: &str| {
            let of_kind: Vec<_> = conditions
                .iter()
                .filter(|condition| condition["type"] == kind)
                .collect();
            !of_kind.is_empty()
                && of_kind
                    .iter()
                    .all(|condition| condition["status"] == "True")
        };
        (holds("Accepted") && holds("Programmed")).then_some(())
    })
    .await;
    let acked =
        gateway.admin().read("/v1/dataplanes").await["dataplanes"][0]["acked_version"].clone();
    let config = gateway.admin().read("/v1/config").await;
    assert_eq!(config["snapshot"]["version"], acked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_is_added_while_others_serve() {
    let (_red, _blue, gateway) = colours().await;
    let client = gateway.h3().await;
    client.get("/").await;
    let port = free_port();
    gateway.folder.gateway(&json!([
        https("https", gateway.https.port(), None),
        http(gateway.http.port()),
        https("more", port, None),
    ]));
    let mut address = gateway.https;
    address.set_port(port);
    let target = gateway.target().at(address);
    eventually("the new port answers", || async {
        Tcp::try_connect(&target, Wire::H2).await.ok().map(drop)
    })
    .await;
    assert_eq!(
        tidegate_tests::H3::connect(&target)
            .await
            .get("/")
            .await
            .status,
        200
    );
    assert_eq!(
        client.get("/").await.status,
        200,
        "the first connection lives on"
    );
    assert_eq!(client.connection.close_reason(), None);
}

/// Writes the Gateway with these listeners beside `http`: names, ports, host names, and whether
/// HTTP/3 is on.
fn listen(gateway: &Gateway, listeners: &[(&str, u16, Option<&str>, bool)]) {
    let mut all = vec![http(gateway.http.port())];
    for (name, port, hostname, http3) in listeners {
        let mut listener = https(name, *port, *hostname);
        let word = if *http3 { "on" } else { "off" };
        listener["tls"]["options"] = json!({"tidegate.dev/http3": word});
        all.push(listener);
    }
    gateway.folder.gateway(&json!(all));
}

/// Waits until a connection is drained. It has nothing under way, so that is at once.
async fn drained(client: &tidegate_tests::H3) {
    let reason = within("the connection is drained", client.closed()).await;
    let quinn::ConnectionError::ApplicationClosed(close) = &reason else {
        panic!("{reason}");
    };
    assert_eq!(
        close.error_code.into_inner(),
        0x100,
        "H3_NO_ERROR: {reason}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_moves_to_another_port_drains_the_one_that_it_had() {
    let (_red, _blue, gateway) = colours().await;
    let (h3, mut h2) = (gateway.h3().await, gateway.h2().await);
    assert_eq!(h3.get("/").await.status, 200);
    assert_eq!(h2.get("/").await.status, 200);
    let port = free_port();
    listen(&gateway, &[("https", port, None, true)]);
    drained(&h3).await;
    let _ended = within("the TCP connection ends", h2.closed()).await;
    let mut address = gateway.https;
    address.set_port(port);
    let target = gateway.target().at(address);
    let moved = eventually("the new port answers", || async {
        tidegate_tests::H3::try_connect(&target).await.ok()
    })
    .await;
    assert_eq!(moved.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http3_is_switched_off_for_one_name_and_on_for_the_others() {
    let (_red, _blue, gateway) = colours().await;
    let port = gateway.https.port();
    let names = |http3| {
        [
            ("https", port, Some("one.site.test"), http3),
            ("more", port, Some("two.site.test"), true),
        ]
    };
    listen(&gateway, &names(true));
    let connect = async |name: &str| {
        let target = gateway.target().named(name);
        eventually("the name has its listener", || async {
            let client = tidegate_tests::H3::try_connect(&target).await.ok()?;
            client.get("/").await;
            let facts = gateway
                .admin()
                .connection_from(client.local_address())
                .await;
            let listener = facts["listener_id"]
                .as_str()
                .expect("it has one")
                .to_owned();
            let wanted = if name == "two.site.test" {
                "/more"
            } else {
                "/https"
            };
            listener.ends_with(wanted).then_some(client)
        })
        .await
    };
    let (two, one) = (
        connect("two.site.test").await,
        connect("one.site.test").await,
    );
    listen(&gateway, &names(false));
    drained(&one).await;
    assert_eq!(two.get("/").await.status, 200);
    assert_eq!(two.connection.close_reason(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_http3_is_switched_off_nobody_begins_and_the_port_is_given_back() {
    let (_red, _blue, gateway) = colours().await;
    let client = gateway.h3().await;
    assert_eq!(client.get("/").await.status, 200);
    let port = gateway.https.port();
    listen(&gateway, &[("https", port, None, false)]);
    drained(&client).await;
    // No more than a first flight: it is dropped, and why is counted.
    let flight = tidegate_tests::Forge::new(1).whole_first_flight();
    let _stranger = gateway.stranger(&flight).await;
    eventually("it is counted", || async {
        let dropped = gateway.dataplane_samples().sum(
            "tidegate_quic_datagrams_dropped_total",
            &[("reason", "listener_stopped")],
        );
        dropped.filter(|count| *count > 0.0)
    })
    .await;
    // After the time that a connection may take.
    eventually_within(
        Duration::from_secs(90),
        Duration::from_secs(1),
        "the port is free",
        || async { std::net::UdpSocket::bind(gateway.https).ok() },
    )
    .await;
    listen(&gateway, &[("https", port, None, true)]);
    let target = gateway.target();
    let again = eventually("HTTP/3 is back", || async {
        tidegate_tests::H3::try_connect(&target).await.ok()
    })
    .await;
    assert_eq!(again.get("/").await.status, 200);
}
