//! Encrypted ClientHello (RFC 9849): the hidden server name counts, over HTTP/3 and over TCP;
//! keys change without harm; who has none, or a wrong one, gets on.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use boring::{
    ssl::{SslConnector, SslMethod},
    x509::X509,
};
use rustls::{
    PeerIncompatible,
    internal::msgs::{codec::Codec, handshake::EchConfigPayload},
};
use serde_json::{Value, json};
use tidegate_controlplane::ech::EchKeys;
use tidegate_tests::{Gateway, H3, Target, Tcp, Upstream, Wire, empty, eventually, https, within};
use tokio::net::UdpSocket;

/// What clients say in clear.
const PUBLIC: &str = "public.site.test";
/// What they ask for.
const HIDDEN: &str = "hidden.site.test";

fn keys(before: Option<EchKeys>) -> EchKeys {
    EchKeys::renewed(PUBLIC, before).expect("the name is sound")
}

/// A gateway whose HTTPS listener, for any name, has these keys.
async fn start(upstream: &Upstream, keys: &EchKeys) -> Gateway {
    Gateway::builder()
        .tls_option("tidegate.dev/ech", "ech")
        .start_with(|folder| {
            folder.text("ech", &keys.to_manifest("ech", "default"));
            folder.service("app", &[upstream.address]);
            let rules = json!([{"backendRefs": [{"name": "app", "port": 80}]}]);
            folder.route("app", &[], &rules);
        })
        .await
}

fn hidden(gateway: &Gateway, config_list: &[u8]) -> Target {
    let target = gateway.target().named(HIDDEN);
    target.encrypted(&gateway.authority, config_list)
}

async fn facts(gateway: &Gateway, client: &H3) -> Value {
    assert_eq!(client.get("/").await.status, 200);
    let address = client.local_address();
    gateway.admin().connection_from(address).await["tls"].clone()
}

async fn counted(gateway: &Gateway, outcome: &str) -> f64 {
    let samples = gateway.dataplane_metrics().await;
    let count = samples.sum("tidegate_tls_ech_total", &[("outcome", outcome)]);
    count.expect("it is there from the start")
}

/// The config list that a client is told with the refusal of its own.
async fn told(target: &Target) -> Vec<u8> {
    let error = Tcp::try_connect(target, Wire::H2).await;
    let error = error.err().expect("the key is unknown");
    let error = error
        .downcast_ref::<std::io::Error>()
        .and_then(|error| error.get_ref())
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::PeerIncompatible(
        PeerIncompatible::ServerRejectedEncryptedClientHello(Some(configs)),
    )) = error
    else {
        panic!("{error:?}");
    };
    Vec::<EchConfigPayload>::get_encoding(configs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hidden_name_counts_on_every_protocol() {
    let upstream = Upstream::start().await;
    let keys = keys(None);
    let gateway = start(&upstream, &keys).await;
    let target = hidden(&gateway, &keys.config_list());
    let seen = facts(&gateway, &H3::connect(&target).await).await;
    assert_eq!(seen["server_name"], HIDDEN, "{seen}");
    assert_eq!(seen["ech_accepted"], true, "{seen}");
    for wire in [Wire::H2, Wire::H1] {
        let mut client = Tcp::connect(&target, wire).await;
        assert_eq!(client.get("/").await.status, 200);
        let seen = gateway
            .admin()
            .connection_from(client.local_address())
            .await;
        assert_eq!(seen["tls"]["server_name"], HIDDEN, "{seen}");
        assert_eq!(seen["tls"]["ech_accepted"], true, "{seen}");
    }
    let seen = facts(&gateway, &gateway.h3().await).await;
    assert_eq!(seen["ech_accepted"], false, "{seen}");
    assert_eq!(counted(&gateway, "accepted").await, 3.0);
    assert_eq!(counted(&gateway, "rejected").await, 0.0);
    let (_, config) = gateway.admin().get("/v1/config").await;
    let text = config.to_string();
    assert!(
        text.contains("ech_keys") && !text.contains("private_key"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_resume_under_the_hidden_name() {
    let upstream = Upstream::start().await;
    let keys = keys(None);
    let gateway = start(&upstream, &keys).await;
    let target = hidden(&gateway, &keys.config_list());
    for resumed in [false, true, true] {
        let client = H3::connect(&target).await;
        let seen = facts(&gateway, &client).await;
        assert_eq!(seen["resumed"], resumed, "{seen}");
        assert_eq!(seen["ech_accepted"], true, "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_and_certificate_are_those_of_the_hidden_name() {
    let upstream = Upstream::start().await;
    let keys = keys(None);
    let gateway = start(&upstream, &keys).await;
    let identity = gateway.authority.issue(&[HIDDEN]);
    gateway.folder.secret("hidden", &identity);
    let port = gateway.https.port();
    let mut public = https("public", port, Some(PUBLIC));
    public["tls"]["options"] = json!({"tidegate.dev/ech": "ech"});
    let mut secret = https("hidden", port, Some(HIDDEN));
    secret["tls"]["certificateRefs"] = json!([{"name": "hidden"}]);
    gateway.folder.gateway(&json!([public, secret]));
    let target = hidden(&gateway, &keys.config_list());
    let (id, certificate) = eventually("both listeners serve", || async {
        let mut client = Tcp::try_connect(&target, Wire::H2).await.ok()?;
        let request = client.request("GET", "/", empty());
        let status = client.send(request).await.ok()?.status;
        let local = client.local_address().to_string();
        let live = gateway.admin().connections("").await;
        let own = live.iter().find(|one| one["peer_address"] == local)?;
        let id = own["listener_id"].clone();
        (status == 200 && id != "default/edge/https").then(|| (id, client.certificate.clone()))
    })
    .await;
    assert_eq!(id, "default/edge/hidden");
    assert_eq!(certificate.as_deref(), Some(&identity.der[..]));
    // Over QUIC, it is the one that the client has verified.
    let client = H3::connect(&target).await;
    let chain = client.connection.peer_identity().expect("TLS has one");
    let chain = chain
        .downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>()
        .expect("quinn has certificates of rustls");
    assert_eq!(chain[0].as_ref(), identity.der);
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_an_unknown_key_is_told_the_right_one() {
    let upstream = Upstream::start().await;
    let (keys, unknown) = (keys(None), keys(None));
    let gateway = start(&upstream, &keys).await;
    let target = hidden(&gateway, &unknown.config_list());
    let list = told(&target).await;
    assert_eq!(list, keys.config_list());
    let error = H3::try_connect(&target).await.err();
    assert!(error.is_some(), "it has to begin anew");
    assert_eq!(counted(&gateway, "rejected").await, 2.0);
    let audited = gateway.admin().audit("").await;
    let text = Value::from(audited).to_string();
    assert!(!text.contains(HIDDEN), "nobody learned the name: {text}");
    let seen = facts(&gateway, &H3::connect(&hidden(&gateway, &list)).await).await;
    assert_eq!(seen["ech_accepted"], true, "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_looks_encrypted_is_served_by_its_name_in_clear() {
    let upstream = Upstream::start().await;
    let gateway = start(&upstream, &keys(None)).await;
    let target = gateway.target().as_if_encrypted(&gateway.authority);
    let seen = facts(&gateway, &H3::connect(&target).await).await;
    assert_eq!(seen["server_name"], "site.test", "{seen}");
    assert_eq!(seen["ech_accepted"], false, "{seen}");
    assert_eq!(counted(&gateway, "rejected").await, 1.0);
    let mut client = Tcp::connect(&target, Wire::H1).await;
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_a_hello_that_looks_encrypted_is_nothing_special() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let target = gateway.target().as_if_encrypted(&gateway.authority);
    let seen = facts(&gateway, &H3::connect(&target).await).await;
    assert_eq!(seen["ech_accepted"], false, "{seen}");
    assert_eq!(counted(&gateway, "rejected").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_overlap_and_change_under_live_connections() {
    let upstream = Upstream::start().await;
    let first = keys(None);
    let gateway = start(&upstream, &first).await;
    let live = H3::connect(&hidden(&gateway, &first.config_list())).await;
    facts(&gateway, &live).await;
    let write = |keys: &EchKeys| {
        let manifest = keys.to_manifest("ech", "default");
        gateway.folder.text("ech", &manifest);
    };
    let accepts = async |keys: &EchKeys| {
        let target = hidden(&gateway, &keys.config_list());
        Tcp::try_connect(&target, Wire::H2).await.is_ok()
    };

    let second = keys(Some(first.clone()));
    write(&second);
    eventually("the new key is in use", || async {
        accepts(&second).await.then_some(())
    })
    .await;
    assert!(accepts(&first).await, "the one before still reads");
    let unknown = keys(None);
    let list = told(&hidden(&gateway, &unknown.config_list())).await;
    assert_eq!(list, second.config_list(), "the new one alone is told");

    write(&unknown);
    eventually("the keys before are gone", || async {
        (!accepts(&second).await).then_some(())
    })
    .await;
    let list = told(&hidden(&gateway, &first.config_list())).await;
    assert_eq!(list, unknown.config_list());

    // A file that went wrong changes nothing.
    gateway.folder.text(
        "ech",
        &unknown
            .to_manifest("ech", "default")
            .replace("BEGIN PRIVATE", "BEGIN X"),
    );
    eventually("the mistake is told", || async {
        let (_, status) = gateway.admin().get("/v1/status").await;
        let text = status.to_string();
        (text.contains("ech.pem") && text.contains("FileRefused")).then_some(())
    })
    .await;
    assert!(accepts(&unknown).await);
    let seen = facts(&gateway, &live).await;
    assert_eq!(seen["ech_accepted"], true, "the same connection: {seen}");
    assert!(live.connection.close_reason().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_stack_is_understood_and_told_over_quic() {
    let upstream = Upstream::start().await;
    let (keys, unknown) = (keys(None), keys(None));
    let gateway = start(&upstream, &keys).await;
    let mut client = handshake(gateway.https, &keys.config_list()).await;
    assert!(client.is_established() && tls(&mut client).ech_accepted());
    let mut client = handshake(gateway.https, &unknown.config_list()).await;
    assert!(client.local_error().is_some(), "it has to begin anew");
    let told = tls(&mut client).get_ech_retry_configs().map(<[u8]>::to_vec);
    assert_eq!(told, Some(keys.config_list()));
}

fn tls(client: &mut quiche::Connection) -> &boring::ssl::SslRef {
    client.as_mut()
}

/// A handshake of quiche's, to its end.
async fn handshake(server: SocketAddr, config_list: &[u8]) -> quiche::Connection {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let socket = socket.expect("loopback binds");
    let local = socket.local_addr().expect("it is bound");
    let mut config = quiche::Config::new(quiche::PROTOCOL_VERSION).expect("the version is known");
    config.set_application_protos(&[b"h3"]).expect("one name");
    config.verify_peer(false);
    config.set_initial_max_data(100_000);
    config.set_initial_max_streams_uni(3);
    let scid = quiche::ConnectionId::from_ref(&[7; 8]);
    let mut client =
        quiche::connect(Some(HIDDEN), &scid, local, server, &mut config).expect("it is sound");
    let ssl: &mut boring::ssl::SslRef = client.as_mut();
    ssl.set_ech_config_list(config_list).expect("a list");
    let mut buffer = vec![0; 2000];
    let exchange = async {
        while !client.is_established() && client.local_error().is_none() {
            while let Ok((length, _)) = client.send(&mut buffer) {
                let sent = socket.send_to(&buffer[..length], server).await;
                sent.expect("loopback sends");
            }
            let (length, from) = socket
                .recv_from(&mut buffer)
                .await
                .expect("loopback receives");
            let info = quiche::RecvInfo { from, to: local };
            let _state_tells = client.recv(&mut buffer[..length], info);
        }
    };
    within("the handshake ends", exchange).await;
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_stack_is_understood_over_tcp() {
    let upstream = Upstream::start().await;
    let keys = keys(None);
    let gateway = start(&upstream, &keys).await;
    let address = gateway.https;
    let root = X509::from_pem(gateway.authority.pem().as_bytes()).expect("rcgen writes PEM");
    let list = keys.config_list();
    let client = tokio::task::spawn_blocking(move || {
        let mut builder = SslConnector::builder(SslMethod::tls()).expect("BoringSSL starts");
        builder.cert_store_mut().add_cert(&root).expect("a root");
        let connector = builder.build();
        let mut ssl = connector
            .configure()
            .and_then(|configuration| configuration.into_ssl(HIDDEN))
            .expect("a host name");
        ssl.set_ech_config_list(&list).expect("a list");
        let stream = TcpStream::connect(address).expect("it listens");
        let stream = ssl.connect(stream).expect("the handshake is complete");
        assert!(stream.ssl().ech_accepted());
        let local = stream.get_ref().local_addr().expect("it is connected");
        (stream, local)
    });
    let (stream, local) = client.await.expect("no panic");
    // The client has completed the handshake; the gateway may not have read its end.
    let name = eventually("the gateway knows its name", || async {
        let mut seen = gateway.admin().connection_from(local).await;
        Some(seen["tls"]["server_name"].take()).filter(|name| !name.is_null())
    });
    assert_eq!(name.await, HIDDEN);
    drop(stream);
}
