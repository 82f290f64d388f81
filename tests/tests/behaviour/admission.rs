//! Who may connect is decided between the handshake and the first request.

use quinn::ConnectionError;
use tidegate_tests::{Gateway, H3, Tcp, Upstream, Wire, eventually, within};

/// RFC 9114 8.1.
const H3_REQUEST_REJECTED: u64 = 0x10b;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_denied_gets_a_handshake_and_a_refusal() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option("tidegate.dev/deny", "127.0.0.0/8")
        .start(&upstream)
        .await;
    // The refusal may overtake the client's view of its own handshake.
    let seen = match H3::try_connect(&gateway.target()).await {
        Ok(client) => within("the refusal comes", client.closed()).await,
        Err(error) => error,
    };
    let ConnectionError::ApplicationClosed(frame) = seen else {
        panic!("closed by {seen:?}")
    };
    assert_eq!(frame.error_code.into_inner(), H3_REQUEST_REJECTED);
    let record = eventually("the refusal is audited", || async {
        gateway.admin().audit("").await.pop()
    })
    .await;
    assert_eq!(record["connection"]["audit"]["closed_by"], "admission");
    assert_eq!(record["connection"]["requests"], 0);
    let samples = gateway.dataplane_metrics().await;
    assert_eq!(
        samples.sum("tidegate_quic_admission_refused_total", &[]),
        Some(1.0)
    );

    let refused = match Tcp::try_connect(&gateway.target(), Wire::H2).await {
        Ok(mut client) => client
            .send(client.request("GET", "/", tidegate_tests::empty()))
            .await
            .is_err(),
        Err(_) => true,
    };
    assert!(refused, "over TCP alike");
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_are_allowed_come_in() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option("tidegate.dev/allow", "127.0.0.1/32,10.0.0.0/8")
        .start(&upstream)
        .await;
    assert_eq!(gateway.h3().await.get("/").await.status, 200);
    assert_eq!(gateway.h2().await.get("/").await.status, 200);
}
