//! TLS on both sides: who is served under which name, and whom the gateway believes.

use std::{net::SocketAddr, pin::Pin};

use boring::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    ssl::{
        AlpnError, SslAcceptor, SslConnector, SslMethod, SslVerifyMode, SslVersion,
        select_next_proto,
    },
    x509::{
        X509, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate_proto::v1;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_boring::{SslStream, SslStreamBuilder};

use super::harness::{Gateway, PATIENCE, echo, echo_one, endless};
use crate::snapshot::fixture;

/// A connection to the gateway that asks for `name` and offers these protocols.
async fn connect(gateway: &Gateway, name: &str, protocols: &[u8]) -> Option<SslStream<TcpStream>> {
    let mut builder = SslConnector::builder(SslMethod::tls()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_alpn_protos(protocols).unwrap();
    let mut configuration = builder.build().configure().unwrap();
    configuration.set_verify_hostname(false);
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    tokio_boring::connect(configuration, name, stream)
        .await
        .ok()
}

async fn exchange(stream: &mut SslStream<TcpStream>, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = Pin::new(stream).get_mut().read_to_end(&mut answer);
    let _ = timeout(PATIENCE, read).await.expect("an answer in time");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(gateway: &Gateway, name: &str, host: &str) -> (u16, String) {
    let mut stream = connect(gateway, name, b"\x08http/1.1").await.expect("TLS");
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let answer = exchange(&mut stream, &request).await;
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.unwrap_or_default(), answer)
}

fn https(id: &str, hostname: &str, http3: bool) -> v1::Listener {
    let mut listener = fixture::https(id, 0, hostname, "default/site");
    if !http3 {
        listener.http3 = None;
    }
    listener
}

#[tokio::test]
async fn a_request_for_another_listener_than_the_server_names_is_misdirected() {
    let listeners = vec![
        https("default/edge/a", "a.example", false),
        https("default/edge/b", "*.b.example", false),
    ];
    let rules = vec![(fixture::rule("default/echo:80"), vec![echo(false).await])];
    let gateway = Gateway::start_all(listeners, rules, None).await;
    for (name, host, expected) in [
        ("a.example", "a.example", 200),
        ("a.example", "A.example:8443", 200),
        ("a.example", "x.b.example", 421),
        ("x.b.example", "x.b.example", 200),
        ("x.b.example", "y.b.example", 200),
        ("x.b.example", "a.example", 421),
        ("a.example", "c.example", 404),
        // A name that nobody serves gets a connection, and nothing on it.
        ("c.example", "c.example", 404),
        ("c.example", "a.example", 421),
        ("c.example", "x.b.example", 421),
    ] {
        let (status, answer) = get(&gateway, name, host).await;
        assert_eq!(status, expected, "{name} {host}\n{answer}");
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_has_the_time_that_its_name_gives_it() {
    let (upstream, mut ended) = endless().await;
    let listener = |id: &str, hostname: &str, milliseconds| v1::Listener {
        limits: Some(v1::HttpLimits {
            body_idle_timeout_ms: milliseconds,
            ..Default::default()
        }),
        ..https(id, hostname, false)
    };
    let listeners = vec![
        listener("default/edge/patient", "a.example", 24 * 60 * 60 * 1000),
        listener("default/edge/hasty", "b.example", 400),
    ];
    let rules = vec![(fixture::rule("default/x:80"), vec![upstream])];
    let gateway = Gateway::start_all(listeners, rules, None).await;
    let client = connect(&gateway, "b.example", b"\x08http/1.1").await;
    let mut client = client.expect("TLS");
    let request = b"GET / HTTP/1.1\r\nhost: b.example\r\n\r\n";
    client.write_all(request).await.unwrap();
    let freed = timeout(PATIENCE, ended.recv()).await;
    freed.expect("the upstream is freed").expect("it is");
}

#[tokio::test]
async fn http_3_is_advertised_where_it_is_up_and_only_there() {
    for http3 in [true, false] {
        let listeners = vec![https("default/edge/a", "a.example", http3)];
        let rules = vec![(fixture::rule("default/echo:80"), vec![echo(false).await])];
        let gateway = Gateway::start_all(listeners, rules, None).await;
        let (status, answer) = get(&gateway, "a.example", "a.example").await;
        assert_eq!(status, 200, "{answer}");
        let offer = format!("alt-svc: h3=\":{}\"; ma=86400\r\n", gateway.address.port());
        assert_eq!(answer.contains(&offer), http3, "{answer}");
        assert!(answer.contains("\nx-forwarded-proto: https\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_tls_connection_is_described_with_its_facts() {
    let listeners = vec![https("default/edge/a", "a.example", false)];
    let rules = vec![(fixture::rule("default/echo:80"), vec![echo(false).await])];
    let mut gateway = Gateway::start_all(listeners, rules, None).await;
    let stream = connect(&gateway, "a.example", b"\x02h2\x08http/1.1")
        .await
        .expect("TLS");
    assert_eq!(stream.ssl().selected_alpn_protocol(), Some(&b"h2"[..]));
    drop(stream);
    let (_, answer) = get(&gateway, "a.example", "a.example").await;
    assert!(!answer.contains("alt-svc"), "{answer}");
    let mut closed = gateway.closed(2).await;
    closed.sort_by_key(|record| record.requests);
    let tls = closed[1].tls.as_ref().unwrap();
    assert_eq!(
        (&*tls.server_name, &*tls.alpn, &*tls.version),
        ("a.example", "http/1.1", "TLSv1.3")
    );
    assert!(!tls.cipher.is_empty() && !tls.group.is_empty(), "{tls:?}");
    assert_eq!(closed[1].listener_id, "default/edge/a");
    assert!(closed[1].handshake.as_ref().unwrap().elapsed_us > 0);
}

#[tokio::test]
async fn a_handshake_that_fails_leaves_a_record() {
    let listeners = vec![https("default/edge/a", "a.example", false)];
    let mut gateway = Gateway::start_all(listeners, vec![], None).await;
    assert_eq!(
        gateway
            .raw("GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
            .await
            .find("200"),
        None
    );
    let closed = gateway.closed(1).await;
    assert_eq!(closed[0].requests, 0);
    assert_eq!(closed[0].handshake.as_ref().unwrap().elapsed_us, 0);
}

/// A certificate that is its own authority.
fn authority(name: &str) -> (X509, PKey<Private>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(30).unwrap())
        .unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .append_extension(&BasicConstraints::new().critical().ca().build().unwrap())
        .unwrap();
    let context = builder.x509v3_context(None, None);
    let names = SubjectAlternativeName::new()
        .dns(name)
        .build(&context)
        .unwrap();
    builder.append_extension(&names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

/// An echoing upstream with a certificate for `name`, and that certificate in PEM.
async fn tls_echo(name: &str, protocols: &'static [u8]) -> (SocketAddr, Vec<u8>) {
    let (certificate, key) = authority(name);
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    builder
        .set_max_proto_version(Some(SslVersion::TLS1_3))
        .unwrap();
    builder.set_certificate(&certificate).unwrap();
    builder.set_private_key(&key).unwrap();
    builder.set_alpn_select_callback(move |_, offered| {
        select_next_proto(protocols, offered).ok_or(AlpnError::NOACK)
    });
    let acceptor = builder.build();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let ssl = boring::ssl::Ssl::new(acceptor.context()).unwrap();
            let Ok(stream) = SslStreamBuilder::new(ssl, stream).accept().await else {
                continue;
            };
            let multiplex = stream.ssl().selected_alpn_protocol() == Some(b"h2");
            let io = TokioIo::new(stream);
            let service = hyper::service::service_fn(echo_one);
            if multiplex {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(builder.serve_connection(io, service));
            } else {
                let builder = hyper::server::conn::http1::Builder::new();
                tokio::spawn(builder.serve_connection(io, service));
            }
        }
    });
    (address, certificate.to_pem().unwrap())
}

#[tokio::test]
async fn an_upstreams_certificate_must_have_the_name_and_the_authority() {
    const BOTH: &[u8] = b"\x02h2\x08http/1.1";
    const OLD: &[u8] = b"\x08http/1.1";
    let good = "upstream.example";
    for (backend, name, protocols, trusted, expected) in [
        ("default/auto:443", good, BOTH, true, Some("HTTP/2.0")),
        ("default/auto:443", good, OLD, true, Some("HTTP/1.1")),
        ("default/h1:443", good, BOTH, true, Some("HTTP/1.1")),
        ("default/h2:443", good, BOTH, true, Some("HTTP/2.0")),
        ("default/h2:443", good, OLD, true, None),
        ("default/auto:443", "other.example", BOTH, true, None),
        ("default/auto:443", good, BOTH, false, None),
    ] {
        let (address, pem) = tls_echo(name, protocols).await;
        let stranger = authority(good).0.to_pem().unwrap();
        let ca = if trusted { pem } else { stranger };
        let rules = vec![(fixture::rule(backend), vec![address])];
        let listeners = vec![fixture::http("default/edge/http", 0, "")];
        let gateway = Gateway::start_all(listeners, rules, Some(ca)).await;
        let (status, answer) = gateway.get("/", "").await;
        match expected {
            Some(version) => {
                assert_eq!(status, 200, "{backend} {name}\n{answer}");
                assert!(
                    answer.lines().any(|it| it.ends_with(version)),
                    "{backend}\n{answer}"
                );
            }
            None => assert_eq!(status, 503, "{backend} {name} {trusted}\n{answer}"),
        }
    }
}
