//! The connection layer serves any application: an echo over raw streams goes through
//! admission, statistics, commands, drain and close.

use std::{net::Ipv4Addr, sync::Arc, time::Instant};

use quinn::{ConnectionError, Endpoint, crypto::rustls::QuicClientConfig};
use tidegate_dataplane::quic::{ConnectionShutdownBehaviour, DrainPhase, QuicCommand};
use tidegate_proto::v1::ClosedBy;
use tidegate_tests::{Authority, EchoServer, Payload, Policy, eventually, sha256_hex, within};

async fn start(policy: Policy) -> (Authority, EchoServer) {
    let authority = Authority::new();
    let server = EchoServer::start(&authority.issue(&["echo.test"]), policy).await;
    (authority, server)
}

async fn connect(
    authority: &Authority,
    server: &EchoServer,
) -> Result<quinn::Connection, ConnectionError> {
    let crypto =
        QuicClientConfig::try_from(authority.client(&["echo"])).expect("the provider has TLS 1.3");
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback binds");
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let mut transport = quinn::TransportConfig::default();
    transport.max_idle_timeout(Some(quinn::VarInt::from_u32(5000).into()));
    config.transport_config(Arc::new(transport));
    endpoint
        .connect_with(config, server.address, "echo.test")
        .expect("the name is valid")
        .await
}

/// Sends a payload over a stream of its own and returns what came back.
async fn echo(connection: &quinn::Connection, payload: Payload) -> Vec<u8> {
    let (mut send, mut receive) = connection.open_bi().await.expect("streams are granted");
    let upload = async move {
        for piece in payload.pieces() {
            send.write_all(&piece).await.expect("it flows");
        }
        send.finish().expect("it ends once");
    };
    let most = usize::try_from(payload.length).expect("it fits memory");
    let (_, back) = tokio::join!(upload, receive.read_to_end(most));
    back.expect("it comes whole")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_get_back_what_they_sent() {
    let (authority, server) = start(Policy::Serve).await;
    let connection = connect(&authority, &server).await.expect("it is let in");
    let large = Payload::of(10 * 1024 * 1024);
    assert_eq!(sha256_hex(&echo(&connection, large).await), large.sha256());
    let small = futures_util::future::join_all(
        (0..90).map(|turn| echo(&connection, Payload::of(turn * 777))),
    );
    for (turn, back) in (0..90).zip(small.await) {
        assert_eq!(sha256_hex(&back), Payload::of(turn * 777).sha256());
    }
    let noted = server.notes.read();
    assert_eq!(
        (noted.served, noted.established.len(), noted.closed.len()),
        (1, 1, 0)
    );
    assert_eq!(
        noted.untouched_tls,
        [true],
        "TLS is reachable before the handshake"
    );

    connection.close(quinn::VarInt::from_u32(77), b"enough");
    let record = eventually("the connection leaves its record", || async {
        server.notes.read().closed.pop()
    })
    .await;
    let audit = record.audit.clone().expect("a record has an audit");
    assert_eq!(
        (audit.closed_by(), audit.connection_close_reason.as_str()),
        (ClosedBy::Peer, "enough")
    );
    assert_eq!(audit.recvd_conn_close_application_error_code, Some(77));
    assert_eq!(record.requests, 91);
    assert!(record.stats.expect("a record has statistics").bytes_sent > large.length);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admission_refuses_between_handshake_and_serving() {
    let (authority, server) = start(Policy::Refuse(0x42, "not today")).await;
    let seen = match connect(&authority, &server).await {
        Ok(connection) => within("the refusal comes", connection.closed()).await,
        Err(error) => error,
    };
    let ConnectionError::ApplicationClosed(frame) = seen else {
        panic!("closed by {seen:?}")
    };
    assert_eq!(
        (frame.error_code.into_inner(), &frame.reason[..]),
        (0x42, &b"not today"[..])
    );
    let record = eventually("the connection leaves its record", || async {
        server.notes.read().closed.pop()
    })
    .await;
    let audit = record.audit.expect("a record has an audit");
    assert_eq!(
        (
            audit.closed_by(),
            audit.sent_conn_close_application_error_code
        ),
        (ClosedBy::Admission, Some(0x42))
    );
    assert!(record.handshake.expect("it had one").elapsed_us > 0);
    assert_eq!(
        server.notes.read().served,
        0,
        "the application never saw it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_are_live_and_commands_run_on_the_connection() {
    let (authority, server) = start(Policy::Serve).await;
    let connection = connect(&authority, &server).await.expect("it is let in");
    let before = server.stats().await;
    echo(&connection, Payload::of(1_000_000)).await;
    let after = server.stats().await;
    assert!(
        after.bytes_recvd > before.bytes_recvd + 1_000_000,
        "{before:?} {after:?}"
    );
    assert!(after.rtt_us > 0 && after.cwnd > 0, "{after:?}");

    let (reply, answer) = tokio::sync::oneshot::channel();
    let queued = server
        .on_thread(move |connections| {
            connections[0].command(QuicCommand::Custom(Box::new(move |qconn| {
                let _ = reply.send(qconn.application_proto().to_vec());
            })))
        })
        .await;
    assert!(queued);
    assert_eq!(
        within("the command runs", answer)
            .await
            .expect("it replies"),
        b"echo"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_resolves_when_the_peer_can_know() {
    let (authority, server) = start(Policy::Serve).await;
    let connection = connect(&authority, &server).await.expect("it is let in");
    echo(&connection, Payload::of(1000)).await;
    let behaviour = ConnectionShutdownBehaviour::application(0x99, "closing time");
    within("the shutdown resolves", server.shutdown(behaviour)).await;
    let seen = within("the close comes", connection.closed()).await;
    let ConnectionError::ApplicationClosed(frame) = seen else {
        panic!("closed by {seen:?}")
    };
    assert_eq!(
        (frame.error_code.into_inner(), &frame.reason[..]),
        (0x99, &b"closing time"[..])
    );

    eventually("the connection leaves its record", || async {
        server.notes.read().closed.pop()
    })
    .await;
    let audit = server
        .on_thread(|connections| connections[0].audit_stats())
        .await;
    assert_eq!(
        audit.closed_by(),
        ClosedBy::Local,
        "it can be read after the end"
    );
    assert_eq!(audit.sent_conn_close_application_error_code, Some(0x99));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_lets_streams_finish_and_says_goodbye() {
    let (authority, server) = start(Policy::Serve).await;
    let connection = connect(&authority, &server).await.expect("it is let in");
    let (mut send, mut receive) = connection.open_bi().await.expect("streams are granted");
    send.write_all(b"first").await.expect("it flows");
    let mut back = [0; 5];
    receive.read_exact(&mut back).await.expect("it comes back");
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    server
        .on_thread(move |connections| connections[0].drain(deadline))
        .await;
    eventually("both phases come", || async {
        (server.notes.read().drain_phases == [DrainPhase::Announce, DrainPhase::Refuse])
            .then_some(())
    })
    .await;
    assert_eq!(connection.close_reason(), None, "a stream is under way");
    send.write_all(b" and last").await.expect("it flows");
    send.finish().expect("it ends once");
    assert_eq!(
        receive.read_to_end(100).await.expect("it comes whole"),
        b" and last"
    );
    let seen = within("the connection ends", connection.closed()).await;
    let ConnectionError::ApplicationClosed(frame) = seen else {
        panic!("closed by {seen:?}")
    };
    assert_eq!(
        (frame.error_code.into_inner(), &frame.reason[..]),
        (0, &b"drained"[..])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_dropped_leaves_its_record() {
    let (authority, server) = start(Policy::Drop).await;
    let attempt = tokio::spawn(async move {
        let outcome = connect(&authority, &server).await.map(drop);
        (outcome, server)
    });
    let (outcome, server) = within("the attempt ends", attempt)
        .await
        .expect("it does not panic");
    assert!(outcome.is_err());
    let noted = server.notes.read();
    assert!(
        !noted.closed.is_empty() && noted.established.is_empty(),
        "{noted:?}"
    );
    let by = noted.closed[0]
        .audit
        .clone()
        .expect("a record has an audit")
        .closed_by();
    assert_eq!(by, ClosedBy::Abort);
}
