use std::{cell::RefCell, rc::Rc, time::Duration};

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::LocalSet,
    time::timeout,
};

use super::*;
use crate::{metrics::ShardMetrics, proxy::interim::Interims, snapshot::BackendProtocol};

/// What an upstream does with a request.
#[derive(Clone, Copy)]
enum Reaction {
    Answer(&'static str),
    /// Answers, and ends the connection.
    Last(&'static str),
    Close,
}
use Reaction::{Answer, Close, Last};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An HTTP/1.1 server that says what it is told to, and what it was asked.
struct Server {
    address: SocketAddr,
    /// Number of the connection, and the request's head.
    seen: Rc<RefCell<Vec<(usize, String)>>>,
}

impl Server {
    /// `script` is asked with the number of the connection and of the request on it.
    async fn start(script: impl Fn(usize, usize) -> Reaction + 'static) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (log, script) = (seen.clone(), Rc::new(script));
        tokio::task::spawn_local(async move {
            for connection in 0.. {
                let Ok((stream, _)) = socket.accept().await else {
                    return;
                };
                let (log, script) = (log.clone(), script.clone());
                tokio::task::spawn_local(answer(stream, connection, log, script));
            }
        });
        Self { address, seen }
    }

    fn connections(&self) -> usize {
        self.seen
            .borrow()
            .iter()
            .map(|(connection, _)| connection + 1)
            .max()
            .unwrap_or(0)
    }
}

async fn answer(
    mut stream: TcpStream,
    connection: usize,
    log: Rc<RefCell<Vec<(usize, String)>>>,
    script: Rc<impl Fn(usize, usize) -> Reaction>,
) {
    let mut read = Vec::new();
    for request in 0.. {
        let head = loop {
            if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head: Vec<u8> = read.drain(..end + 4).collect();
                break String::from_utf8(head).expect("text");
            }
            match stream.read_buf(&mut read).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        log.borrow_mut().push((connection, head));
        let (text, last) = match script(connection, request) {
            Answer(text) => (text, false),
            Last(text) => (text, true),
            Close => return,
        };
        if stream.write_all(text.as_bytes()).await.is_err() || last {
            return;
        }
    }
}

fn backend(protocol: BackendProtocol) -> Arc<Backend> {
    let connect_timeout = Duration::from_secs(20);
    Arc::new(Backend {
        id: "default/upstream:80".into(),
        protocol,
        tls: None,
        connect_timeout,
    })
}

fn request(method: &str, path: &str) -> Request<RequestBody> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "a.example");
    request.body(RequestBody::empty()).expect("a valid request")
}

/// A shard's pools, and what goes with them.
struct Client {
    pools: Pools,
    metrics: ShardMetrics,
    backend: Arc<Backend>,
}

impl Client {
    fn new(protocol: BackendProtocol) -> Self {
        let (pools, metrics) = (Pools::default(), ShardMetrics::default());
        Self {
            pools,
            metrics,
            backend: backend(protocol),
        }
    }

    async fn send(
        &self,
        endpoints: &[SocketAddr],
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        self.send_for(endpoints, request, None).await
    }

    async fn send_for(
        &self,
        endpoints: &[SocketAddr],
        request: Request<RequestBody>,
        interims: Option<&Interims>,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        let to = Destination {
            backend: &self.backend,
            identity: None,
            endpoints,
        };
        let mut tried = Tried::new();
        let (request, metrics) = (Box::new(request), &self.metrics.http);
        let send = (self.pools).send(to, &mut tried, request, interims, metrics);
        timeout(Duration::from_secs(30), send)
            .await
            .expect("an answer in time")
    }

    /// Sends, reads the whole response, and gives the connection back.
    async fn fetch(&self, endpoints: &[SocketAddr], method: &str) -> Result<Bytes, Failure> {
        let (response, lease) = self.send(endpoints, request(method, "/")).await?;
        let content = response
            .into_body()
            .collect()
            .await
            .map_err(|_| Failure::Upstream)?;
        lease.release();
        Ok(content.to_bytes())
    }
}

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection() {
    let run = async {
        let server = Server::start(|_, _| Answer(OK)).await;
        let client = Client::new(BackendProtocol::Http1);
        for method in ["GET", "POST", "GET", "DELETE"] {
            let content = client.fetch(&[server.address], method).await;
            assert_eq!(content.as_deref(), Ok(&b"ok"[..]), "{method}");
        }
        assert_eq!(server.seen.borrow().len(), 4);
        assert_eq!(server.connections(), 1);
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn requests_at_the_same_time_do_not_wait_for_each_other() {
    let run = async {
        let server = Server::start(|_, _| Answer(OK)).await;
        let client = Client::new(BackendProtocol::Http1);
        let endpoints = [server.address];
        let both = (
            client.send(&endpoints, request("GET", "/1")),
            client.send(&endpoints, request("GET", "/2")),
        );
        let (one, two) = tokio::join!(both.0, both.1);
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(server.connections(), 2);
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn a_connection_is_not_used_again_when_it_must_not_be() {
    let run = async {
        let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
        for (first, discard) in [(closing, false), (OK, true)] {
            let server = Server::start(move |connection, _| {
                Answer(if connection == 0 { first } else { OK })
            })
            .await;
            let client = Client::new(BackendProtocol::Http1);
            let (response, lease) = client
                .send(&[server.address], request("GET", "/"))
                .await
                .expect("a response");
            let content = response
                .into_body()
                .collect()
                .await
                .expect("content")
                .to_bytes();
            assert_eq!(&*content, b"ok");
            if discard {
                lease.discard()
            } else {
                lease.release()
            }
            assert_eq!(
                client.fetch(&[server.address], "GET").await.as_deref(),
                Ok(&b"ok"[..])
            );
            assert_eq!(server.connections(), 2, "{first}");
        }
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn a_request_is_sent_again_only_if_it_may_be_repeated() {
    let run = async {
        for (method, expected) in [
            ("GET", Ok(())),
            ("DELETE", Ok(())),
            ("POST", Err(Failure::Upstream)),
        ] {
            // The first connection breaks when its second request is there: that may have
            // had its effect.
            let server = Server::start(|connection, request| match (connection, request) {
                (0, 1) => Close,
                _ => Answer(OK),
            })
            .await;
            let client = Client::new(BackendProtocol::Http1);
            assert!(client.fetch(&[server.address], "GET").await.is_ok());
            let second = client.fetch(&[server.address], method).await;
            assert_eq!(second.map(drop), expected, "{method}");
            let seen = server.seen.borrow().len();
            assert_eq!(seen, if expected.is_ok() { 3 } else { 2 }, "{method}");
        }
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_the_same() {
    let run = async {
        let server = Server::start(|connection, request| match (connection, request) {
            (0, 1) => Close,
            _ => Answer(OK),
        });
        let server = server.await;
        let client = Client::new(BackendProtocol::Http1);
        assert!(client.fetch(&[server.address], "GET").await.is_ok());
        let mut request = request("DELETE", "/a?b=c");
        for value in ["1", "2"] {
            let value = HeaderValue::from_static(value);
            request.headers_mut().append("x-repeated", value);
        }
        request
            .headers_mut()
            .insert("te", HeaderValue::from_static("trailers"));
        assert!(client.send(&[server.address], request).await.is_ok());
        let seen = server.seen.borrow();
        let [_, (0, first), (1, again)] = &seen[..] else {
            panic!("{seen:?}")
        };
        assert_eq!(first, again);
        assert!(
            first.starts_with("DELETE /a?b=c HTTP/1.1\r\n")
                && first.contains("x-repeated: 1\r\nx-repeated: 2\r\n"),
            "{first}"
        );
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn a_new_connection_that_breaks_is_not_tried_again() {
    let run = async {
        let server = Server::start(|_, _| Close).await;
        let client = Client::new(BackendProtocol::Http1);
        let failure = client.fetch(&[server.address], "GET").await;
        assert_eq!(failure, Err(Failure::Upstream));
        assert_eq!(server.seen.borrow().len(), 1);
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn content_that_breaks_off_is_an_error_and_never_an_end() {
    let run = async {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        ] {
            let server = Server::start(move |_, _| Last(text)).await;
            let client = Client::new(BackendProtocol::Http1);
            let failure = client.fetch(&[server.address], "GET").await;
            assert_eq!(failure, Err(Failure::Upstream), "{text}");
        }
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn another_endpoint_is_tried_where_nobody_listens() {
    let run = async {
        let server = Server::start(|_, _| Answer(OK)).await;
        let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let nobody = gone.local_addr().expect("an address");
        drop(gone);
        let client = Client::new(BackendProtocol::Http1);
        for _ in 0..20 {
            let content = client.fetch(&[nobody, server.address], "POST").await;
            assert_eq!(content.as_deref(), Ok(&b"ok"[..]));
        }
        assert_eq!(client.fetch(&[nobody], "GET").await, Err(Failure::Connect));
        assert_eq!(client.fetch(&[], "GET").await, Err(Failure::NoEndpoints));
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn settings_that_change_are_not_served_by_old_connections() {
    let run = async {
        let server = Server::start(|_, _| Answer(OK)).await;
        let mut client = Client::new(BackendProtocol::Http1);
        assert!(client.fetch(&[server.address], "GET").await.is_ok());
        // The same settings in a new snapshot.
        client.backend = backend(BackendProtocol::Http1);
        assert!(client.fetch(&[server.address], "GET").await.is_ok());
        assert_eq!(server.connections(), 1);
        client.backend = backend(BackendProtocol::Auto);
        assert!(client.fetch(&[server.address], "GET").await.is_ok());
        assert_eq!(server.connections(), 2);
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn requests_over_http_2_share_one_connection() {
    let run = async {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let accepted = Rc::new(RefCell::new(0));
        let count = accepted.clone();
        tokio::task::spawn_local(async move {
            loop {
                let Ok((stream, _)) = socket.accept().await else {
                    return;
                };
                *count.borrow_mut() += 1;
                let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
                    assert_eq!(
                        request.uri().authority().map(|it| it.as_str()),
                        Some("a.example")
                    );
                    let path = request.uri().path().to_owned();
                    Ok::<_, std::convert::Infallible>(Response::new(path))
                });
                let io = hyper_util::rt::TokioIo::new(stream);
                let builder = hyper::server::conn::http2::Builder::new(crate::proxy::local::Local);
                tokio::task::spawn_local(builder.serve_connection(io, service));
            }
        });
        let client = Client::new(BackendProtocol::Http2);
        let endpoints = [address];
        let fetch = |number: usize| {
            let (client, endpoints) = (&client, &endpoints);
            async move {
                let path = format!("/{number}");
                let sent = client.send(endpoints, request("GET", &path)).await;
                let (response, lease) = sent.expect("a response");
                let content = response
                    .into_body()
                    .collect()
                    .await
                    .expect("content")
                    .to_bytes();
                assert_eq!(content, path);
                lease.release();
            }
        };
        futures_util::future::join_all((0..50).map(fetch)).await;
        assert_eq!(*accepted.borrow(), 1);
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn what_precedes_a_response_is_passed_on() {
    let run = async {
        let text = "HTTP/1.1 100 Continue\r\n\r\n\
                    HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nkeep-alive: x\r\n\r\n\
                    HTTP/1.1 103 Early Hints\r\nlink: </b>\r\n\r\n\
                    HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        // The second request's connection is closed when it is there, so that it is sent again.
        let server = Server::start(move |connection, request| match (connection, request) {
            (0, 1) => Close,
            _ => Answer(text),
        });
        let server = server.await;
        let client = Client::new(BackendProtocol::Http1);
        for _ in 0..2 {
            let interims = Interims::new(Arc::new(ShardMetrics::default()));
            let passed = RefCell::new(Vec::new());
            let pass_on = |head: Response<()>| {
                assert_eq!(head.status(), 103);
                assert!(head.headers().get("keep-alive").is_none());
                passed.borrow_mut().push(head.headers()["link"].clone());
            };
            let endpoints = [server.address];
            let response = client.send_for(&endpoints, request("GET", "/"), Some(&interims));
            let response = interims.relay(&pass_on, std::pin::pin!(response)).await;
            let (response, lease) = response.expect("a response");
            assert_eq!(response.status(), 200);
            assert_eq!(*passed.borrow(), ["</a>", "</b>"]);
            let content = response.into_body().collect().await.expect("content");
            assert_eq!(content.to_bytes(), "ok");
            lease.release();
        }
        assert_eq!(server.connections(), 2);
    };
    LocalSet::new().run_until(run).await;
}

#[tokio::test]
async fn a_connection_that_waited_long_is_closed() {
    let run = async {
        let server = Server::start(|_, _| Answer(OK)).await;
        let client = Client::new(BackendProtocol::Http1);
        assert!(client.fetch(&[server.address], "GET").await.is_ok());
        let endpoint = client
            .pools
            .backends
            .pool(&client.backend, None)
            .endpoint(server.address);
        let now = Instant::now();
        assert!(endpoint.reap(now));
        assert!(client.fetch(&[server.address], "GET").await.is_ok());
        assert_eq!(server.connections(), 1);
        assert!(!endpoint.reap(now + Duration::from_secs(120)));
        assert!(client.fetch(&[server.address], "GET").await.is_ok());
        assert_eq!(server.connections(), 2);
    };
    LocalSet::new().run_until(run).await;
}
