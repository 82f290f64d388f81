//! Calls of a gRPC client (tonic) through the gateway.

use serde_json::json;
use tidegate_proto::v1::Selector;
use tidegate_tests::{Folder, Gateway, Upstream};
use tonic::{
    Code, Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

async fn gateway(upstream: &Upstream) -> Gateway {
    let fill = |folder: &Folder| {
        folder.service_with("app", &[upstream.address], Some("kubernetes.io/h2c"));
        folder.service("empty", &[]);
        let rule = |path: &str, backend: &str, timeout: &str| {
            json!({
                "matches": [{"path": {"type": "PathPrefix", "value": path}}],
                "backendRefs": [{"name": backend, "port": 80}],
                "timeouts": {"request": timeout},
            })
        };
        let rules = json!([
            rule("/mirror", "app", "0s"),
            rule("/never", "app", "200ms"),
            rule("/empty", "empty", "0s"),
            rule("/missing", "missing", "0s"),
        ]);
        folder.route("calls", &[], &rules);
    };
    Gateway::builder().start_with(fill).await
}

async fn client(gateway: &Gateway) -> Grpc<Channel> {
    let target = gateway.cleartext();
    let url = format!("http://{}", target.address);
    let endpoint = Endpoint::from_shared(url).expect("a URL");
    let origin = format!("http://{}", target.server_name);
    let endpoint = endpoint.origin(origin.parse().expect("a URL"));
    Grpc::new(endpoint.connect().await.expect("it listens"))
}

/// One call, whose message the upstream sends back.
async fn call(client: &mut Grpc<Channel>, method: &'static str) -> Result<Selector, Code> {
    client.ready().await.expect("it is connected");
    let message = Selector {
        listener: "default/edge/http".into(),
        ..Default::default()
    };
    let codec = ProstCodec::<Selector, Selector>::default();
    let path = PathAndQuery::from_static(method);
    let answer = client.unary(Request::new(message), path, codec).await;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| status.code())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_pass_and_failures_have_a_grpc_status() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut client = client(&gateway).await;
    let reply = call(&mut client, "/mirror/Call").await;
    assert_eq!(reply.expect("an answer").listener, "default/edge/http");
    for (method, code) in [
        ("/elsewhere/Call", Code::Unimplemented),
        ("/empty/Call", Code::Unavailable),
        ("/missing/Call", Code::Unavailable),
        ("/never/Call", Code::DeadlineExceeded),
    ] {
        assert_eq!(call(&mut client, method).await, Err(code), "{method}");
    }
    assert!(call(&mut client, "/mirror/Call").await.is_ok());
}
