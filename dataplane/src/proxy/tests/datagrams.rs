//! QUIC datagrams: offered where they are switched on, and of no harm.

use bytes::Bytes;
use tidegate_proto::v1;

use super::{
    client::{self, Wire},
    harness::{Gateway, PATIENCE, echo},
};
use crate::snapshot::fixture;

#[tokio::test]
async fn datagrams_are_taken_where_they_are_on_and_wanted_by_nobody() {
    for (datagrams, retry) in [
        (false, v1::RetryMode::Never),
        (true, v1::RetryMode::Never),
        // The transport parameters are at their longest after a Retry.
        (true, v1::RetryMode::Always),
    ] {
        let listener = v1::Listener {
            quic: Some(v1::QuicTransport {
                datagrams,
                retry: retry.into(),
                disable_active_migration: true,
                ..Default::default()
            }),
            ..fixture::https("default/edge/a", 0, "", "default/site")
        };
        let rules = vec![(fixture::rule("default/echo:80"), vec![echo(false).await])];
        let gateway = Gateway::start_with(listener, rules).await;
        let tls = client::tls(Wire::H3, None);
        let connecting = client::connect(&tls, gateway.address, "a.example");
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        let (_endpoint, connection) = connected.expect("in time").expect("a connection");
        assert_eq!(connection.max_datagram_size().is_some(), datagrams);
        if datagrams {
            for _ in 0..1_000 {
                connection
                    .send_datagram_wait(Bytes::from_static(&[0; 900]))
                    .await
                    .expect("it is sent");
            }
        }
        let answer = client::ask(connection.clone(), "a.example").await;
        assert_eq!(answer.expect("an answer").0, 200);
        assert!(connection.close_reason().is_none());
    }
}
