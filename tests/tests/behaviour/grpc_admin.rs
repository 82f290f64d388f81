//! The admin API over gRPC gives the answers that it gives over REST.

use tidegate_proto::v1::{
    self, CloseConnection, CloseSelected, ClosedBy, ConnectionShutdownBehaviour, DrainRequest,
    GetConfigRequest, GetConnectionRequest, GetStatusRequest, ListAuditRequest, ListConnections,
    ListDataplanesRequest, ListListenersRequest, Selector, UndrainRequest, WatchEventsRequest,
    admin_client::AdminClient,
};
use tidegate_tests::{Gateway, H3, Upstream, eventually, within};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::interceptor::InterceptedService,
    transport::Channel,
};

/// Adds the token to every call.
#[derive(Clone)]
struct Bearer(MetadataValue<Ascii>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

async fn channel(gateway: &Gateway) -> Channel {
    let endpoint =
        Channel::from_shared(format!("http://{}", gateway.admin().address)).expect("a URL");
    endpoint
        .connect()
        .await
        .expect("the admin port speaks HTTP/2")
}

async fn admin(gateway: &Gateway) -> AdminClient<InterceptedService<Channel, Bearer>> {
    let token = format!("Bearer {}", gateway.admin().token)
        .parse()
        .expect("the token is ASCII");
    AdminClient::with_interceptor(channel(gateway).await, Bearer(token))
}

fn behaviour(reason: &str) -> Option<ConnectionShutdownBehaviour> {
    Some(ConnectionShutdownBehaviour {
        send_application_close: true,
        error_code: 0x107,
        reason: reason.to_owned(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_the_token_is_not_answered() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut bare = AdminClient::new(channel(&gateway).await);
    let status = bare
        .list_connections(ListConnections::default())
        .await
        .expect_err("it wants the token");
    assert_eq!(status.code(), Code::Unauthenticated);
    let mut wrong = AdminClient::with_interceptor(
        channel(&gateway).await,
        Bearer("Bearer wrong".parse().expect("ASCII")),
    );
    let status = wrong
        .get_config(GetConfigRequest::default())
        .await
        .expect_err("it wants the right token");
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_those_of_rest() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let clients = [
        gateway.h3().await,
        H3::connect(&gateway.target().named("a.site.test")).await,
    ];
    for client in &clients {
        client.get("/").await;
    }
    let mut admin = admin(&gateway).await;

    let list = admin
        .list_connections(ListConnections::default())
        .await
        .expect("it is answered")
        .into_inner();
    let rest = gateway.admin().connections("").await;
    let ids: Vec<&str> = list.connections.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(
        ids,
        rest.iter()
            .map(|one| one["id"].as_str().expect("a string"))
            .collect::<Vec<_>>()
    );
    let selector = Some(Selector {
        server_name: "a.site.test".into(),
        ..Default::default()
    });
    let selected = admin
        .list_connections(ListConnections {
            selector,
            ..Default::default()
        })
        .await;
    assert_eq!(
        selected
            .expect("it is answered")
            .into_inner()
            .connections
            .len(),
        1
    );

    let one = admin
        .get_connection(GetConnectionRequest {
            id: ids[0].to_owned(),
        })
        .await
        .expect("it is there")
        .into_inner();
    let same = gateway.admin().connection(ids[0]).await;
    assert_eq!(one.peer_address, same["peer_address"]);
    assert_eq!(one.tls.expect("QUIC has TLS").cipher, same["tls"]["cipher"]);
    assert!(one.stats.expect("it is live").rtt_us > 0);

    let fleet = admin
        .list_dataplanes(ListDataplanesRequest {})
        .await
        .expect("it is answered")
        .into_inner();
    let rest = gateway.admin().read("/v1/dataplanes").await;
    assert_eq!(
        fleet.dataplanes[0].acked_version,
        rest["dataplanes"][0]["acked_version"]
    );

    let listeners = admin.list_listeners(ListListenersRequest {}).await;
    let listeners = listeners.expect("it is answered").into_inner().listeners;
    let https = listeners.iter().find(|one| one.id == "default/edge/https");
    let https = https.expect("it is listed");
    assert_eq!(https.port, u32::from(gateway.https.port()));
    assert_eq!(https.protocol(), v1::Protocol::Https);
    // Dataplanes report their counts from time to time.
    let counted = admin.clone();
    eventually("both connections are counted", || {
        let mut admin = counted.clone();
        async move {
            let listeners = admin.list_listeners(ListListenersRequest {}).await;
            let listeners = listeners.expect("it is answered").into_inner().listeners;
            listeners
                .into_iter()
                .find(|one| one.id == "default/edge/https" && one.connections == 2)
        }
    })
    .await;

    let status = admin
        .get_status(GetStatusRequest {})
        .await
        .expect("it is answered")
        .into_inner();
    let rest = gateway.admin().read("/v1/status").await;
    assert_eq!(
        status.objects.len(),
        rest["objects"].as_array().expect("a list").len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_has_no_secrets() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let config = admin(&gateway)
        .await
        .get_config(GetConfigRequest::default())
        .await
        .expect("it is answered")
        .into_inner();
    let snapshot = config.snapshot.expect("there is one");
    assert_eq!(
        snapshot.version,
        gateway.admin().read("/v1/config").await["snapshot"]["version"]
    );
    assert!(!snapshot.certificates.is_empty());
    assert!(
        snapshot
            .certificates
            .iter()
            .all(|certificate| certificate.private_key_pem.is_empty())
    );
    let keys = snapshot.keys.unwrap_or_default();
    let all = keys
        .ticket
        .iter()
        .chain(&keys.retry)
        .chain(&keys.reset)
        .chain(&keys.cid);
    assert!(all.into_iter().all(|key| key.material.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closes_and_their_audit_go_over_grpc() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut admin = admin(&gateway).await;
    let mut events = admin
        .watch_events(WatchEventsRequest::default())
        .await
        .expect("it is answered")
        .into_inner();
    let client = gateway.h3().await;
    client.get("/").await;
    let established = within("the event comes", events.message())
        .await
        .expect("it is sound")
        .expect("it goes on");
    let id = established.connection.expect("it is of one").id;
    assert_eq!(established.kind, "established");

    let close = CloseConnection {
        connection_id: id.clone(),
        behaviour: behaviour("over gRPC"),
    };
    assert_eq!(
        admin
            .close_connection(close.clone())
            .await
            .expect("it is there")
            .into_inner()
            .count,
        1
    );
    let seen = within("the close comes", client.closed()).await;
    let quinn::ConnectionError::ApplicationClosed(frame) = seen else {
        panic!("closed by {seen:?}")
    };
    assert_eq!(
        (frame.error_code.into_inner(), &frame.reason[..]),
        (0x107, &b"over gRPC"[..])
    );
    let closed = within("the event comes", events.message())
        .await
        .expect("it is sound")
        .expect("it goes on");
    assert_eq!(closed.kind, "closed");

    let request = ListAuditRequest {
        connection_id: id,
        ..Default::default()
    };
    let audit = {
        let admin = &admin;
        let request = &request;
        eventually("the record arrives", || async move {
            let list = admin
                .clone()
                .list_audit(request.clone())
                .await
                .expect("it is answered")
                .into_inner();
            list.records.into_iter().next()?.connection?.audit
        })
        .await
    };
    assert_eq!(
        (audit.closed_by(), audit.connection_close_reason.as_str()),
        (ClosedBy::Command, "over gRPC")
    );
    assert_eq!(
        admin
            .close_connection(close)
            .await
            .expect_err("it is gone")
            .code(),
        Code::NotFound
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_have_the_right_codes() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut admin = admin(&gateway).await;
    let unknown = admin
        .get_connection(GetConnectionRequest {
            id: "edge.0.99.9".into(),
        })
        .await;
    assert_eq!(unknown.expect_err("there is none").code(), Code::NotFound);
    let everything = CloseSelected {
        selector: Some(Selector::default()),
        behaviour: behaviour("all"),
    };
    assert_eq!(
        admin
            .close_connections(everything)
            .await
            .expect_err("it selects nothing")
            .code(),
        Code::InvalidArgument
    );
    let selector = Some(Selector {
        peer: "not-a-range".into(),
        ..Default::default()
    });
    let list = admin
        .list_connections(ListConnections {
            selector,
            ..Default::default()
        })
        .await;
    assert_eq!(
        list.expect_err("that is no range").code(),
        Code::InvalidArgument
    );
    let drain = admin
        .drain_listener(DrainRequest {
            id: "default/edge/none".into(),
            deadline_ms: 0,
        })
        .await;
    assert_eq!(drain.expect_err("there is none").code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drains_go_over_grpc() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let mut admin = admin(&gateway).await;
    let id = "default/edge/https".to_owned();
    let drain = admin
        .drain_listener(DrainRequest {
            id: id.clone(),
            deadline_ms: 10_000,
        })
        .await
        .expect("it is there");
    assert_eq!(drain.into_inner().dataplanes, ["edge"]);
    within("the connection ends", client.closed()).await;
    admin
        .undrain_listener(UndrainRequest { id })
        .await
        .expect("it is there");
    eventually("the listener takes connections again", || async {
        let target = gateway.target();
        let attempt =
            tokio::time::timeout(std::time::Duration::from_secs(1), H3::try_connect(&target)).await;
        attempt.ok()?.ok().map(drop)
    })
    .await;
}
