//! Certificates that clients show, and that the gateway shows to backends.

use tidegate_proto::v1::{self, client_validation::Mode};

use super::{
    client::{self, Authority, WIRES, Wire},
    harness::{Gateway, echo},
};
use crate::snapshot::fixture;

const CLOSED: &str = "closed.example";
const OPEN: &str = "open.example";

fn https(id: &str, hostname: &str) -> v1::Listener {
    fixture::https(id, 0, hostname, "default/site")
}

fn validated(id: &str, hostname: &str, authority: &Authority, mode: Mode) -> v1::Listener {
    v1::Listener {
        client_validation: Some(v1::ClientValidation {
            ca_pem: authority.pem.clone().into(),
            mode: mode.into(),
        }),
        ..https(id, hostname)
    }
}

async fn start(listeners: Vec<v1::Listener>) -> Gateway {
    let rules = vec![(fixture::rule("default/echo:80"), vec![echo(false).await])];
    Gateway::start_all(listeners, rules, None).await
}

#[tokio::test]
async fn a_client_without_a_certificate_of_the_authority_is_turned_away() {
    let authority = Authority::new("good");
    let stranger = Authority::new("good");
    let good = authority.issue("device-7", vec![]);
    let bad = stranger.issue("device-7", vec![]);
    let mut gateway = start(vec![
        https("default/edge/open", OPEN),
        validated("default/edge/closed", CLOSED, &authority, Mode::Unspecified),
    ])
    .await;
    for wire in WIRES {
        let ask = async |identity, name, host| {
            let tls = client::tls(wire, identity);
            client::get(wire, &tls, gateway.address, name, host).await
        };
        let answer = ask(Some(&good), CLOSED, CLOSED).await;
        assert_eq!(answer.expect("it is let in").0, 200, "{wire:?}");
        for identity in [None, Some(&bad)] {
            let answer = ask(identity, CLOSED, CLOSED).await;
            assert!(answer.is_err(), "{wire:?} {answer:?}");
            let answer = ask(identity, OPEN, OPEN).await;
            assert_eq!(answer.expect("nobody is asked").0, 200, "{wire:?}");
            // By no way around does a request get in that was not verified.
            for name in [OPEN, "other.example", "127.0.0.1"] {
                let answer = ask(identity, name, CLOSED).await;
                assert_eq!(answer.expect("a connection").0, 421, "{wire:?} {name}");
            }
        }
    }
    let closed = gateway.closed(WIRES.len()).await;
    let shown: Vec<_> = closed
        .iter()
        .filter_map(|record| record.tls.as_ref()?.client_certificate.as_ref())
        .collect();
    assert!(!shown.is_empty());
    for certificate in shown {
        assert_eq!(certificate.subject, "CN=device-7");
        assert!(certificate.verified && certificate.sha256.len() == 64);
    }
}

#[tokio::test]
async fn with_the_insecure_fallback_certificates_are_asked_for_and_everybody_is_let_in() {
    let authority = Authority::new("good");
    let good = authority.issue("device-7", vec![]);
    let bad = Authority::new("bad").issue("device-8", vec![]);
    let mode = Mode::AllowInsecureFallback;
    let mut gateway = start(vec![validated(
        "default/edge/closed",
        CLOSED,
        &authority,
        mode,
    )])
    .await;
    for wire in WIRES {
        for identity in [None, Some(&bad), Some(&good)] {
            let tls = client::tls(wire, identity);
            let answer = client::get(wire, &tls, gateway.address, CLOSED, CLOSED).await;
            assert_eq!(answer.expect("it is let in").0, 200, "{wire:?}");
        }
    }
    let closed = gateway.closed(3 * WIRES.len()).await;
    let shown: Vec<_> = closed
        .iter()
        .filter_map(|record| record.tls.as_ref()?.client_certificate.as_ref())
        .collect();
    assert_eq!(shown.len(), 2 * WIRES.len());
    assert!(shown.iter().all(|certificate| !certificate.verified));
}

#[tokio::test]
async fn a_session_resumes_with_what_its_client_has_shown() {
    let authority = Authority::new("good");
    let good = authority.issue("device-7", vec![]);
    let mut gateway = start(vec![validated(
        "default/edge/closed",
        CLOSED,
        &authority,
        Mode::Unspecified,
    )])
    .await;
    for wire in WIRES {
        let tls = client::tls(wire, Some(&good));
        for _ in 0..3 {
            let answer = client::get(wire, &tls, gateway.address, CLOSED, CLOSED).await;
            assert_eq!(answer.expect("it is let in").0, 200, "{wire:?}");
        }
    }
    let closed = gateway.closed(3 * WIRES.len()).await;
    let resumed = closed.iter().filter_map(|record| record.tls.as_ref());
    let resumed: Vec<_> = resumed.filter(|tls| tls.resumed).collect();
    assert!(resumed.len() >= WIRES.len(), "{closed:#?}");
    for tls in resumed {
        let certificate = tls.client_certificate.as_ref().expect("it is kept");
        assert_eq!(certificate.subject, "CN=device-7");
    }
}

#[tokio::test]
async fn a_session_of_other_terms_lets_nobody_in() {
    let (authority, former) = (Authority::new("good"), Authority::new("former"));
    let id = "default/edge/it";
    // One listener, with keys that outlive it, in three lives.
    let mut open = start(vec![https(id, CLOSED)]).await;
    let mode = Mode::Unspecified;
    let before = start(vec![validated(id, CLOSED, &former, mode)]).await;
    let closed = start(vec![validated(id, CLOSED, &authority, mode)]).await;
    let known = former.issue("device-7", vec![]);
    for wire in WIRES {
        let tls = client::tls(wire, None);
        for _ in 0..3 {
            let answer = client::get(wire, &tls, open.address, CLOSED, CLOSED).await;
            assert_eq!(answer.expect("nobody is asked").0, 200, "{wire:?}");
        }
        let answer = client::get(wire, &tls, closed.address, CLOSED, CLOSED).await;
        assert!(answer.is_err(), "{wire:?} {answer:?}");

        let tls = client::tls(wire, Some(&known));
        for _ in 0..3 {
            let answer = client::get(wire, &tls, before.address, CLOSED, CLOSED).await;
            assert_eq!(answer.expect("it was trusted").0, 200, "{wire:?}");
        }
        let answer = client::get(wire, &tls, closed.address, CLOSED, CLOSED).await;
        assert!(answer.is_err(), "{wire:?} {answer:?}");
    }
    let records = open.closed(3 * WIRES.len()).await;
    let resumed = records
        .iter()
        .filter(|it| it.tls.as_ref().is_some_and(|tls| tls.resumed));
    assert!(
        resumed.count() >= WIRES.len(),
        "sessions were there to be offered"
    );
}

#[tokio::test]
async fn backends_see_the_certificate_of_the_requests_listener_and_no_other() {
    let authority = Authority::new("backends");
    let site = authority.issue(
        "upstream",
        vec![rcgen::SanType::DnsName(
            "upstream.example".try_into().unwrap(),
        )],
    );
    let (address, seen) = backend(&site, &authority).await;
    let listeners = vec![
        https("default/edge/a", "a.example"),
        https("default/edge/b", "b.example"),
    ];
    let identities = [
        ("default/a", authority.issue("a", vec![])),
        ("default/b", authority.issue("b", vec![])),
    ];
    for backend in ["default/h1:443", "default/h2:443"] {
        let rules = vec![(fixture::rule(backend), vec![address])];
        let ca = Some(authority.pem.clone().into_bytes());
        let gateway = Gateway::start_changed(listeners.clone(), rules, ca, |wire| {
            for (listener, (id, identity)) in wire.listeners.iter_mut().zip(&identities) {
                listener.backend_certificate_id = (*id).into();
                wire.certificates.push(v1::Certificate {
                    id: (*id).into(),
                    chain_pem: identity.pem.clone().into(),
                    private_key_pem: identity.key.serialize_pem().into(),
                });
            }
        })
        .await;
        for host in ["a.example", "b.example", "a.example", "b.example"] {
            let tls = client::tls(Wire::H1, None);
            let answer = client::get(Wire::H1, &tls, gateway.address, host, host).await;
            let (status, text) = answer.expect("an answer");
            assert_eq!(status, 200, "{text}");
            let expected = format!("shown: CN={}", &host[..1]);
            assert!(text.contains(&expected), "{backend} {host} {text}");
        }
    }
    assert_eq!(seen.load(std::sync::atomic::Ordering::Relaxed), 4);
}

/// A backend that insists on a certificate and tells which one it got; with a count of its
/// connections.
async fn backend(
    site: &client::Identity,
    authority: &Authority,
) -> (
    std::net::SocketAddr,
    std::sync::Arc<std::sync::atomic::AtomicUsize>,
) {
    use boring::{
        pkey::PKey,
        ssl::{AlpnError, Ssl, SslAcceptor, SslMethod, SslVerifyMode, select_next_proto},
        x509::{X509, store::X509StoreBuilder},
    };
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    builder
        .set_max_proto_version(Some(boring::ssl::SslVersion::TLS1_3))
        .unwrap();
    builder
        .set_certificate(&X509::from_pem(site.pem.as_bytes()).unwrap())
        .unwrap();
    let key = PKey::private_key_from_pem(site.key.serialize_pem().as_bytes()).unwrap();
    builder.set_private_key(&key).unwrap();
    let mut store = X509StoreBuilder::new().unwrap();
    store
        .add_cert(X509::from_pem(authority.pem.as_bytes()).unwrap())
        .unwrap();
    builder.set_cert_store(store.build());
    builder.set_session_id_context(b"backend").unwrap();
    builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    builder.set_alpn_select_callback(|_, offered| {
        select_next_proto(b"\x02h2\x08http/1.1", offered).ok_or(AlpnError::NOACK)
    });
    let acceptor = builder.build();
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let ssl = Ssl::new(acceptor.context()).unwrap();
            let accepted = tokio_boring::SslStreamBuilder::new(ssl, stream)
                .accept()
                .await;
            let Ok(stream) = accepted else { continue };
            counted.fetch_add(1, Ordering::Relaxed);
            let certificate = stream.ssl().peer_certificate().unwrap();
            let subject = certificate.subject_name().print_ex(0).unwrap();
            let multiplex = stream.ssl().selected_alpn_protocol() == Some(b"h2");
            let service =
                hyper::service::service_fn(move |_: http::Request<hyper::body::Incoming>| {
                    let text = format!("shown: {subject}");
                    async {
                        Ok::<_, std::convert::Infallible>(http::Response::new(
                            http_body_util::Full::new(bytes::Bytes::from(text)),
                        ))
                    }
                });
            let io = TokioIo::new(stream);
            if multiplex {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(builder.serve_connection(io, service));
            } else {
                let builder = hyper::server::conn::http1::Builder::new();
                tokio::spawn(builder.serve_connection(io, service));
            }
        }
    });
    (address, count)
}

#[tokio::test]
async fn a_backends_certificate_needs_one_of_the_names_that_are_asked_for() {
    use rcgen::SanType;
    use tidegate_proto::v1::subject_alt_name::Kind;
    let authority = Authority::new("backends");
    let uri = "spiffe://cluster.example/upstream";
    let site = authority.issue(
        "upstream",
        vec![
            SanType::DnsName("inside.example".try_into().unwrap()),
            SanType::DnsName("*.wild.example".try_into().unwrap()),
            SanType::URI(uri.try_into().unwrap()),
        ],
    );
    let (address, _) = backend(&site, &authority).await;
    let identity = authority.issue("a", vec![]);
    let dns = |name: &str| Kind::Dns(name.into());
    for (names, expected) in [
        // Nothing else is asked for: the server name, which it has not.
        (vec![], 503),
        (vec![dns("inside.example")], 200),
        (vec![dns("Inside.Example")], 200),
        (vec![dns("*.wild.example")], 200),
        (vec![dns("x.wild.example")], 503),
        (vec![dns("upstream.example")], 503),
        (vec![Kind::Uri(uri.into())], 200),
        (
            vec![Kind::Uri("spiffe://cluster.example/other".into())],
            503,
        ),
        (vec![dns("other.example"), Kind::Uri(uri.into())], 200),
        (vec![Kind::Uri("inside.example".into())], 503),
    ] {
        let rules = vec![(fixture::rule("default/h1:443"), vec![address])];
        let ca = Some(authority.pem.clone().into_bytes());
        let listeners = vec![fixture::http("default/edge/http", 0, "")];
        let wanted = names.iter().map(|kind| v1::SubjectAltName {
            kind: Some(kind.clone()),
        });
        let gateway = Gateway::start_changed(listeners, rules, ca, |wire| {
            let tls = wire.backends[0].tls.as_mut().unwrap();
            tls.subject_alt_names = wanted.collect();
            wire.listeners[0].backend_certificate_id = "default/a".into();
            wire.certificates.push(v1::Certificate {
                id: "default/a".into(),
                chain_pem: identity.pem.clone().into(),
                private_key_pem: identity.key.serialize_pem().into(),
            });
        })
        .await;
        let (status, answer) = gateway.get("/", "").await;
        assert_eq!(status, expected, "{names:?}\n{answer}");
    }
}
