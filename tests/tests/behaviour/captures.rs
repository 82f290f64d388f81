//! qlog and key log on demand: what an operator gets of chosen connections, and what it
//! costs others.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use futures_util::StreamExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tidegate_tests::{Gateway, H3, Target, Tcp, Upstream, Wire, eventually, heavy, within};

async fn begin(gateway: &Gateway, path: &str, body: Value) -> Response {
    let request = gateway.admin().request(Method::POST, path).json(&body);
    request.send().await.expect("the admin API answers")
}

async fn qlog_of(gateway: &Gateway, id: &str, body: Value) -> Response {
    begin(gateway, &format!("/v1/connections/{id}/qlog"), body).await
}

/// The records of a JSON text sequence (RFC 7464).
fn records(text: &str) -> Vec<Value> {
    let mut all = text.split('\u{1e}');
    assert_eq!(all.next(), Some(""), "a record begins with a separator");
    all.map(|record| {
        assert!(record.ends_with('\n'), "{record:?} is not whole");
        serde_json::from_str(record).expect("a record is JSON")
    })
    .collect()
}

fn named<'a>(records: &'a [Value], name: &str) -> Vec<&'a Value> {
    let all = records.iter();
    all.filter(|record| record["name"] == name).collect()
}

async fn whole(response: Response) -> Vec<Value> {
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["content-type"],
        "application/qlog+json-seq"
    );
    let text = within("the capture ends", response.text()).await;
    records(&text.expect("it comes whole"))
}

fn reason(records: &[Value]) -> &str {
    let last = records.last().expect("there is one");
    assert_eq!(last["name"], "tidegate:capture_ended", "{last}");
    last["data"]["reason"].as_str().expect("a string")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qlog_shows_what_happens_until_the_connection_ends() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = gateway.admin().id_from(client.local_address()).await;
    let response = qlog_of(&gateway, &id, json!({})).await;
    client.get("/bytes/50000").await;
    drop(client);
    let records = whole(response).await;
    assert_eq!(records[0]["trace"]["vantage_point"]["type"], "server");
    assert_eq!(records[0]["title"], id.as_str());
    assert!(named(&records, "quic:packet_received").len() > 1);
    assert!(named(&records, "quic:packet_sent").len() > 30);
    assert_eq!(reason(&records), "connection ended");
    let record = gateway.admin().audited(&id).await;
    assert_eq!(record["requests"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qlog_does_not_show_what_clients_and_upstreams_keep_secret() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    for level in ["core", "base", "extra"] {
        let client = gateway.h3().await;
        client.get("/").await;
        let id = gateway.admin().id_from(client.local_address()).await;
        let response = qlog_of(&gateway, &id, json!({"level": level})).await;
        let secrets = [("authorization", "Bearer hush"), ("cookie", "id=hush")];
        let answer = client.get_with("/?token=hush", &secrets).await;
        assert_eq!(answer.status, 200);
        drop(client);
        let records = whole(response).await;
        let text = serde_json::to_string(&records).expect("it was JSON");
        assert!(!text.contains("hush"), "{level}");
        let asked = named(&records, "http3:frame_parsed");
        let answered = named(&records, "http3:frame_created");
        if level == "core" {
            assert!(
                asked.is_empty() && answered.is_empty(),
                "frames of HTTP/3 are not its"
            );
            continue;
        }
        assert_eq!(values(&asked, "authorization"), [&Value::Null], "{asked:?}");
        assert_eq!(values(&asked, ":method"), ["GET"], "{asked:?}");
        assert_eq!(values(&answered, ":status"), ["200"], "{answered:?}");
        assert_eq!(values(&answered, "x-upstream"), [&Value::Null]);
    }
}

/// What is shown of a field's value, each time that the field comes.
fn values<'a>(frames: &[&'a Value], name: &str) -> Vec<&'a Value> {
    let frames = frames
        .iter()
        .filter_map(|frame| frame["data"]["frame"]["headers"].as_array());
    let fields = frames.flatten().filter(|field| field["name"] == name);
    fields.map(|field| &field["value"]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_comes_while_it_is_written() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = gateway.admin().id_from(client.local_address()).await;
    let mut stream = qlog_of(&gateway, &id, json!({"level": "core"}))
        .await
        .bytes_stream();
    let mut text = String::new();
    for _ in 0..3 {
        let before = text.matches("quic:packet_sent").count();
        client.get("/").await;
        while text.matches("quic:packet_sent").count() == before {
            let piece = within("more comes", stream.next()).await;
            let piece = piece.expect("it goes on").expect("it is sound");
            text += std::str::from_utf8(&piece).expect("pieces are whole records");
        }
    }
    assert!(named(&records(&text), "quic:packet_sent").len() >= 3);
    assert!(!text.contains("quic:stream_data_moved"), "core is less");
    // A client that leaves ends it, so that another may begin.
    drop(stream);
    eventually("another capture may begin", || async {
        let again = qlog_of(&gateway, &id, json!({"duration_ms": 1})).await;
        (again.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_when_its_time_is_over_or_when_it_is_long_enough() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = gateway.admin().id_from(client.local_address()).await;
    let timed = whole(qlog_of(&gateway, &id, json!({"duration_ms": 300})).await).await;
    assert_eq!(reason(&timed), "duration");
    let response = qlog_of(&gateway, &id, json!({"max_bytes": 20_000})).await;
    client.get("/bytes/500000").await;
    let text = response.text().await.expect("it comes whole");
    assert_eq!(reason(&records(&text)), "max_bytes");
    assert!((15_000..20_200).contains(&text.len()), "{}", text.len());
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_told_what_it_missed_and_holds_nobody_up() {
    let _alone = heavy().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = gateway.admin().id_from(client.local_address()).await;
    let body = json!({"max_bytes": 1 << 30, "level": "extra"});
    let mut unread = qlog_of(&gateway, &id, body).await.bytes_stream();
    // Much more than sockets hold.
    for _ in 0..4 {
        let answer = client.get("/bytes/30000000").await;
        assert_eq!(answer.body.len(), 30_000_000);
        if lost(&gateway) > 0.0 {
            break;
        }
    }
    assert!(lost(&gateway) > 0.0);
    drop(client);
    let mut text = Vec::new();
    while let Some(piece) = within("more comes", unread.next()).await {
        text.extend_from_slice(&piece.expect("it is sound"));
    }
    let records = records(std::str::from_utf8(&text).expect("JSON is UTF-8"));
    let missing: u64 = named(&records, "tidegate:records_lost")
        .iter()
        .filter_map(|record| record["data"]["count"].as_u64())
        .sum();
    assert_eq!(missing as f64, lost(&gateway));
    assert_eq!(reason(&records), "connection ended");
}

fn lost(gateway: &Gateway) -> f64 {
    let samples = gateway.dataplane_samples();
    samples
        .sum("tidegate_captures_lost_total", &[("reason", "slow_reader")])
        .expect("it is counted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_captured_is_refused_with_the_reason() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = gateway.admin().id_from(client.local_address()).await;
    let mut tcp = gateway.h2().await;
    tcp.get("/").await;
    let over_tcp = gateway.admin().id_from(tcp.local_address()).await;
    let _first = qlog_of(&gateway, &id, json!({})).await;
    for (id, body, status, part) in [
        ("edge.0.9999.1", json!({}), 404, "edge.0.9999.1"),
        ("nonsense", json!({}), 400, "nonsense"),
        (over_tcp.as_str(), json!({}), 400, "QUIC"),
        (id.as_str(), json!({}), 503, "already"),
        (
            id.as_str(),
            json!({"duration_ms": 3_600_001}),
            400,
            "duration_ms",
        ),
        (
            id.as_str(),
            json!({"max_bytes": 2_u64 << 30}),
            400,
            "max_bytes",
        ),
        (id.as_str(), json!({"level": "all"}), 400, "level"),
    ] {
        let response = qlog_of(&gateway, id, body.clone()).await;
        assert_eq!(response.status(), status, "{id} {body}");
        let problem: Value = response.json().await.expect("a problem is JSON");
        let detail = problem["detail"].as_str().expect("it says why");
        assert!(
            detail.contains(part) || part == "level" || part == "nonsense",
            "{detail}"
        );
    }
    let named = json!({"server_name": "site.test"});
    let refused = begin(&gateway, "/v1/connections/next/qlog", named).await;
    assert_eq!(refused.status(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_connection_is_shown_from_its_first_packet_on() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let body = json!({"peer": "127.0.0.1"});
    let response = begin(&gateway, "/v1/connections/next/qlog", body).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = gateway.admin().id_from(client.local_address()).await;
    let other = gateway.h3().await;
    other.get("/").await;
    drop(client);
    let records = whole(response).await;
    assert_eq!(records[0]["title"], id.as_str());
    let first = named(&records, "quic:packet_received")[0];
    assert_eq!(first["data"]["header"]["packet_type"], "initial", "{first}");
    assert_eq!(reason(&records), "connection ended");
}

/// Secrets as a client has them: lines of a key log.
#[derive(Debug, Default)]
struct Secrets(Mutex<BTreeSet<String>>);

impl rustls::KeyLog for Secrets {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        let line = format!("{label} {} {}", hex(client_random), hex(secret));
        self.0.lock().expect("no panic holds it").insert(line);
    }
}

impl Secrets {
    fn lines(&self) -> BTreeSet<String> {
        self.0.lock().expect("no panic holds it").clone()
    }
}

fn noting(target: &Target, alpn: &str, gateway: &Gateway) -> (Target, Arc<Secrets>) {
    let secrets = Arc::<Secrets>::default();
    let mut tls = (*gateway.authority.client(&[alpn])).clone();
    tls.key_log = secrets.clone();
    let mut target = target.clone();
    target.tls = Some(Arc::new(tls));
    (target, secrets)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_log_has_the_secrets_of_the_connections_that_were_meant() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let before = H3::connect(&gateway.target().named("a.site.test")).await;
    let body = json!({"server_name": "A.site.test", "connections": 2});
    let mut stream = begin(&gateway, "/v1/connections/next/keylog", body)
        .await
        .bytes_stream();
    let target = gateway.target().named("a.site.test");
    let (other, _) = noting(&gateway.target().named("b.site.test"), "h3", &gateway);
    let other = H3::connect(&other).await;
    let (quic, of_quic) = noting(&target, "h3", &gateway);
    let quic = H3::connect(&quic).await;
    let (tcp, of_tcp) = noting(&target, "h2", &gateway);
    let tcp = Tcp::connect(&tcp, Wire::H2).await;
    let late = H3::connect(&target).await;
    let clients: BTreeSet<String> = of_quic.lines().union(&of_tcp.lines()).cloned().collect();
    assert!(clients.len() >= 8, "{} lines", clients.len());
    let mut text = String::new();
    while text.lines().count() < clients.len() {
        let piece = within("more comes", stream.next()).await;
        text += std::str::from_utf8(&piece.expect("it goes on").expect("it is sound"))
            .expect("it is ASCII");
    }
    let lines: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines, clients, "both sides have the same secrets");
    drop((before, other, quic, tcp, late));
    let rest = within("it ends with its connections", async {
        let mut rest = String::new();
        while let Some(piece) = stream.next().await {
            rest += std::str::from_utf8(&piece.expect("it is sound")).expect("it is ASCII");
        }
        rest
    })
    .await;
    assert_eq!(rest, "# ended: connection ended\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn captures_are_there_over_grpc() {
    use tidegate_proto::v1::{CaptureQlogRequest, admin_client::AdminClient};
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let id = gateway.admin().id_from(client.local_address()).await;
    let mut api = AdminClient::connect(format!("http://{}", gateway.admin().address))
        .await
        .expect("the admin port answers");
    let with_token = |message| {
        let mut request = tonic::Request::new(message);
        let token = format!("Bearer {}", gateway.admin().token);
        let token = token.parse().expect("it is ASCII");
        request.metadata_mut().insert("authorization", token);
        request
    };
    let wanted = CaptureQlogRequest {
        connection_id: id,
        ..Default::default()
    };
    let mut pieces = api
        .capture_qlog(with_token(wanted))
        .await
        .expect("it begins")
        .into_inner();
    client.get("/").await;
    drop(client);
    let mut text = Vec::new();
    while let Some(piece) = within("more comes", pieces.message())
        .await
        .expect("it is sound")
    {
        text.extend_from_slice(&piece.data);
    }
    let records = records(std::str::from_utf8(&text).expect("JSON is UTF-8"));
    assert_eq!(reason(&records), "connection ended");
    let unknown = CaptureQlogRequest {
        connection_id: "edge.0.9999.1".into(),
        ..Default::default()
    };
    let refused = api.capture_qlog(with_token(unknown)).await;
    assert_eq!(
        refused.expect_err("there is none").code(),
        tonic::Code::NotFound
    );
}
