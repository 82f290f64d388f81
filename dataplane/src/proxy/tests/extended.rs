//! CORS, mirrors, retries, and answers to gRPC clients.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tidegate_proto::v1::{self, filter::Kind};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::harness::{Gateway, PATIENCE, echo, under};

/// An upstream that reads whole requests, by Content-Length, and answers them as it is told
/// for the number of the request.
struct Upstream {
    address: std::net::SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    async fn start(script: impl Fn(usize) -> Option<&'static str> + Send + Sync + 'static) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, script) = (seen.clone(), Arc::new(script));
        let count = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = socket.accept().await {
                let (log, script, count) = (log.clone(), script.clone(), count.clone());
                tokio::spawn(async move {
                    while let Some(request) = read(&mut stream).await {
                        log.lock().expect("a lock").push(request);
                        let answer = script(count.fetch_add(1, Ordering::Relaxed));
                        let Some(answer) = answer else { return };
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                });
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("a lock").clone()
    }

    async fn sees(&self, count: usize) -> Vec<String> {
        let waited = tokio::time::timeout(PATIENCE, async {
            while self.seen().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.expect("requests");
        self.seen()
    }
}

async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, content)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let chunked = head.contains("transfer-encoding: chunked");
            let whole = match length.and_then(|length| length.parse::<usize>().ok()) {
                Some(length) => content.len() >= length,
                None => !chunked || content.ends_with("0\r\n\r\n"),
            };
            if whole {
                return Some(text);
            }
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const DOWN: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\ndown";

fn retrying(codes: &[u32], attempts: u32) -> v1::Rule {
    v1::Rule {
        retry: Some(v1::Retry {
            codes: codes.to_vec(),
            attempts,
            backoff_ms: 1,
        }),
        ..under("/", "default/retried:80")
    }
}

fn with_filters(rule: v1::Rule, kinds: Vec<Kind>) -> v1::Rule {
    let filters = kinds
        .into_iter()
        .map(|kind| v1::Filter { kind: Some(kind) });
    v1::Rule {
        filters: filters.collect(),
        ..rule
    }
}

fn mirror(backend: &str, numerator: u32, denominator: u32) -> Kind {
    Kind::Mirror(v1::Mirror {
        backend_id: backend.into(),
        numerator,
        denominator,
    })
}

fn post(content: &str) -> String {
    let length = content.len();
    format!(
        "POST /a HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{content}"
    )
}

#[tokio::test]
async fn a_status_is_tried_again_as_often_as_the_rule_says() {
    for (failures, codes, status, requests) in [
        (2, &[503][..], 200, 3),
        (3, &[503], 200, 4),
        (4, &[503], 503, 4),
        (2, &[500], 503, 1),
    ] {
        let upstream =
            Upstream::start(move |number| Some(if number < failures { DOWN } else { OK }));
        let upstream = upstream.await;
        let gateway = Gateway::start(vec![(retrying(codes, 3), vec![upstream.address])]).await;
        let (got, answer) = gateway.get("/a", "").await;
        assert_eq!((got, upstream.seen().len()), (status, requests), "{answer}");
    }
}

#[tokio::test]
async fn an_attempt_gets_the_whole_content_again() {
    let upstream = Upstream::start(|number| match number {
        0 => Some(DOWN),
        1 => None,
        _ => Some(OK),
    });
    let upstream = upstream.await;
    let gateway = Gateway::start(vec![(retrying(&[503], 3), vec![upstream.address])]).await;
    let answer = gateway.raw(&post("hello")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = upstream.seen();
    assert_eq!(seen.len(), 3);
    assert!(
        seen.iter()
            .all(|request| request.ends_with("\r\n\r\nhello")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn content_that_is_too_much_to_keep_is_sent_once() {
    let upstream = Upstream::start(|_| Some(DOWN)).await;
    let gateway = Gateway::start(vec![(retrying(&[503], 3), vec![upstream.address])]).await;
    let answer = gateway.raw(&post(&"x".repeat(100_000))).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("down"), "{answer}");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn another_attempt_goes_to_another_endpoint() {
    let down = Upstream::start(|_| Some(DOWN)).await;
    let up = Upstream::start(|_| Some(OK)).await;
    let addresses = vec![down.address, up.address];
    let gateway = Gateway::start(vec![(retrying(&[503], 1), addresses)]).await;
    for _ in 0..20 {
        assert_eq!(gateway.get("/a", "").await.0, 200);
    }
    assert_eq!(up.seen().len(), 20);
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_followed_by_another() {
    let upstream = Upstream::start(|number| (number > 0).then_some(OK).or(Some(""))).await;
    let rule = v1::Rule {
        backend_request_timeout_ms: Some(200),
        ..retrying(&[], 1)
    };
    let gateway = Gateway::start(vec![(rule, vec![upstream.address])]).await;
    assert_eq!(gateway.get("/a", "").await.0, 200);
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn the_whole_request_bounds_its_attempts() {
    let upstream = Upstream::start(|_| Some("")).await;
    let rule = v1::Rule {
        request_timeout_ms: Some(300),
        backend_request_timeout_ms: Some(120),
        ..retrying(&[], 50)
    };
    let gateway = Gateway::start(vec![(rule, vec![upstream.address])]).await;
    assert_eq!(gateway.get("/a", "").await.0, 504);
    assert!((2..=3).contains(&upstream.seen().len()));
}

#[tokio::test]
async fn a_copy_goes_to_each_mirror_with_content_and_changed_fields() {
    let (one, two) = (Upstream::start(|_| Some(OK)), Upstream::start(|_| None));
    let (one, two) = (one.await, two.await);
    let main = echo(false).await;
    let set = v1::HeaderModifier {
        set: vec![v1::HeaderField {
            name: "x-set".into(),
            value: "by-the-rule".into(),
        }],
        ..Default::default()
    };
    let filters = vec![
        mirror("default/one:80", 0, 0),
        Kind::RequestHeaders(set),
        mirror("default/two:80", 1, 1),
        mirror("default/one:80", 0, 100),
        mirror("", 0, 0),
    ];
    let gateway = Gateway::start(vec![
        (
            with_filters(under("/a", "default/main:80"), filters),
            vec![main],
        ),
        (under("/one", "default/one:80"), vec![one.address]),
        (under("/two", "default/two:80"), vec![two.address]),
    ])
    .await;
    let answer = gateway.raw(&post("hello")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\n\nhello"), "{answer}");
    for mirror in [one, two] {
        let seen = mirror.sees(1).await;
        assert_eq!(seen.len(), 1);
        assert!(seen[0].starts_with("POST /a HTTP/1.1\r\n"), "{seen:?}");
        assert!(seen[0].contains("x-set: by-the-rule\r\n"), "{seen:?}");
        assert!(seen[0].contains("host: a.example\r\n"), "{seen:?}");
        assert!(seen[0].ends_with("\r\n\r\nhello"), "{seen:?}");
    }
}

#[tokio::test]
async fn a_mirror_that_hangs_or_is_down_changes_nothing() {
    let main = echo(false).await;
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody = {
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        free.local_addr().expect("an address")
    };
    let filters = vec![
        mirror("default/hanging:80", 0, 0),
        mirror("default/nobody:80", 0, 0),
    ];
    let gateway = Gateway::start(vec![
        (
            with_filters(under("/a", "default/main:80"), filters),
            vec![main],
        ),
        (
            under("/hanging", "default/hanging:80"),
            vec![hanging.local_addr().expect("an address")],
        ),
        (under("/nobody", "default/nobody:80"), vec![nobody]),
    ])
    .await;
    // More than what sockets and the copy may hold.
    let content = "x".repeat(8 * 1024 * 1024);
    let request = post(&content);
    let answer = tokio::time::timeout(PATIENCE, gateway.raw(&request));
    let answer = answer.await.expect("an answer in time");
    assert!(answer.starts_with("HTTP/1.1 200"), "{}", &answer[..200]);
    assert!(answer.contains(&content));
}

fn cors() -> Kind {
    Kind::Cors(v1::Cors {
        allow_origins: vec!["https://www.foo.com".into(), "https://*.bar.com".into()],
        allow_methods: vec!["GET".into(), "PUT".into()],
        ..Default::default()
    })
}

#[tokio::test]
async fn preflights_are_answered_and_responses_permitted() {
    let upstream = echo(false).await;
    let mut by_method = under("/put", "default/main:80");
    by_method.matches[0].method = "PUT".into();
    let failing = with_filters(under("/failing", ""), vec![cors()]);
    let gateway = Gateway::start(vec![
        (with_filters(by_method, vec![cors()]), vec![upstream]),
        (
            with_filters(under("/a", "default/a:80"), vec![cors()]),
            vec![upstream],
        ),
        (failing, vec![]),
    ])
    .await;
    for path in ["/a", "/put"] {
        let preflight = format!(
            "OPTIONS {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\
             origin: https://x.bar.com\r\naccess-control-request-method: PUT\r\n\r\n"
        );
        let answer = gateway.raw(&preflight).await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
        assert!(answer.contains("access-control-allow-origin: https://x.bar.com\r\n"));
        assert!(answer.contains("access-control-allow-methods: GET, PUT\r\n"));
        assert!(!answer.contains("x-upstream"), "{answer}");
    }
    // What the gateway itself answers is for the page's script too.
    for (path, expected) in [("/a", 200), ("/failing", 500)] {
        let (status, answer) = gateway.get(path, "origin: https://www.foo.com\r\n").await;
        assert_eq!(status, expected);
        assert!(answer.contains("access-control-allow-origin: https://www.foo.com\r\n"));
        let (status, answer) = gateway.get(path, "origin: https://foobar.com\r\n").await;
        assert_eq!(status, expected);
        assert!(!answer.contains("access-control"), "{answer}");
    }
}

#[tokio::test]
async fn grpc_clients_get_a_status_of_theirs() {
    let gateway = Gateway::start(vec![
        (under("/none", ""), vec![]),
        (under("/empty", "default/empty:80"), vec![]),
    ])
    .await;
    for (path, expected) in [("/none", "14"), ("/empty", "14"), ("/elsewhere", "12")] {
        let (status, answer) = gateway
            .get(path, "content-type: application/grpc\r\n")
            .await;
        assert_eq!(status, 200, "{path}");
        assert!(
            answer.contains(&format!("grpc-status: {expected}\r\n")),
            "{answer}"
        );
        assert!(
            answer.contains("content-type: application/grpc\r\n"),
            "{answer}"
        );
    }
}
