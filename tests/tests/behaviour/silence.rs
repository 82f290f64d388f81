//! Clients that fall silent, before, while and after a connection closes: what is kept for
//! them is given back in time, and what is said about it is right.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tidegate_tests::{Close, Forge, Gateway, H3, Kind, Relay, Tap, Upstream, eventually, within};

const CLOSE: Close<'_> = Close {
    send_application_close: true,
    error_code: 0x1234,
    reason: "maintenance",
};
const IDLE: &str = "tidegate.dev/max-idle-timeout";

/// Waits until nothing is left of a connection.
async fn gone(gateway: &Gateway, id: &str) {
    eventually("its memory is given back", || async {
        let answer = gateway.admin().get(&format!("/v1/connections/{id}")).await;
        (answer.0 == 404).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closing_connection_answers_ever_more_seldom_and_then_never() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(1).start(&upstream).await;
    // Three probe time-outs have to be long enough to count in.
    let tap = Tap::to(gateway.https, Duration::from_millis(300)).await;
    let client = H3::connect(&gateway.target().at(tap.address)).await;
    client.get("/").await;
    let id = gateway.admin().id_from(tap.source).await;
    // Until all is said and acknowledged.
    let mut said = 0;
    while tap.down().len() > said {
        said = tap.down().len();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    tap.deafen();
    tap.mute();
    let before = tap.down().len();
    assert_eq!(gateway.admin().close(&id, CLOSE).await.0, 200);
    let farewell = eventually("the close frame is sent", || async {
        tap.down().get(before).cloned()
    })
    .await;
    let late = tap.up().pop().expect("the client has spoken");
    for turn in 1..=20_u32 {
        tap.send(gateway.https, &late).await;
        if turn.is_power_of_two() {
            eventually("it is answered", || async {
                let answers = tap.down().len() - before - 1;
                (answers as u32 == turn.ilog2() + 1).then_some(())
            })
            .await;
        } else {
            // Each has to come in a turn of its own.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let answers = tap.down().split_off(before);
    assert!(answers.iter().all(|answer| *answer == farewell));
    assert_eq!(
        answers.len(),
        1 + 5,
        "the frame, then after 1, 2, 4, 8 and 16"
    );

    gone(&gateway, &id).await;
    let before = tap.down().len();
    for _ in 0..16 {
        tap.send(gateway.https, &late).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let after = tap.down().split_off(before);
    assert!(
        after.iter().all(|answer| *answer != farewell),
        "who still sends is told by a stateless reset"
    );
    drop(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_connection_is_forgotten_though_its_client_is_silent() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option(IDLE, "10m")
        .start(&upstream)
        .await;
    let relay = Relay::to(gateway.https).await;
    let client = H3::connect(&gateway.target().at(relay.address)).await;
    client.get("/").await;
    let id = gateway.admin().id_from(relay.sources()[0]).await;
    relay.cut();
    let (status, closed) = gateway.admin().close(&id, CLOSE).await;
    assert_eq!((status.as_u16(), &closed["count"]), (200, &1.into()));
    assert_eq!(gateway.admin().close(&id, CLOSE).await.0, 404);
    let record = gateway.admin().audited(&id).await;
    let audit = &record["audit"];
    assert_eq!(
        (
            &audit["closed_by"],
            &audit["sent_conn_close_application_error_code"]
        ),
        (&"command".into(), &0x1234.into()),
        "{record}"
    );
    gone(&gateway, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_client_is_idle() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option(IDLE, "2s")
        .start(&upstream)
        .await;
    let relay = Relay::to(gateway.https).await;
    let client = H3::connect(&gateway.target().at(relay.address)).await;
    client.get("/").await;
    let id = gateway.admin().id_from(relay.sources()[0]).await;
    relay.cut();
    let record = gateway.admin().audited(&id).await;
    assert_idle(&record);
    // RFC 9000 10.1: an idle connection ends without a word, and without a closing period.
    gone(&gateway, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_into_the_void_do_not_prolong_a_connection() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option(IDLE, "3s")
        .start(&upstream)
        .await;
    let relay = Relay::to(gateway.https).await;
    let client = H3::connect(&gateway.target().at(relay.address)).await;
    client.get("/").await;
    let id = gateway.admin().id_from(relay.sources()[0]).await;
    let download = async {
        let request = client.request("GET", "/bytes/200000000");
        // It ends for the client at about the same time.
        let _cut = client.send(request, Bytes::new()).await;
        std::future::pending::<()>().await;
    };
    let cut = async {
        eventually("the transfer is under way", || async {
            (relay.bytes_down() > 100_000).then_some(())
        })
        .await;
        relay.cut();
        let alive = gateway.admin().connection(&id).await["age_ms"].as_u64();
        (alive.expect("a number"), gateway.admin().audited(&id).await)
    };
    let (at, record) = tokio::select! {
        () = download => unreachable!("it is pending"),
        record = within("it ends", cut) => record,
    };
    assert_idle(&record);
    assert!(
        record["stats"]["total_pto_count"].as_u64() > Some(1),
        "{record}"
    );
    let silent = record["age_ms"].as_u64().expect("a number") - at;
    // Once more when the first packet after the last answer is sent (RFC 9000 10.1), but not
    // with every probe: those go on for much longer.
    assert!((2_000..9_000).contains(&silent), "{silent} ms");
    gone(&gateway, &id).await;
}

fn assert_idle(record: &Value) {
    let audit = &record["audit"];
    assert_eq!(
        (&audit["closed_by"], &audit["connection_close_reason"]),
        (&"idle_timeout".into(), &"idle timeout".into()),
        "{record}"
    );
    for code in [
        "sent_conn_close_transport_error_code",
        "sent_conn_close_application_error_code",
    ] {
        assert!(audit[code].is_null(), "{record}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_nobody_goes_on_with_is_forgotten() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option(IDLE, "10m")
        .start(&upstream)
        .await;
    let flight = Forge::new(7).make(Kind::InitialTrue);
    let stranger = gateway.stranger(&[flight]).await;
    let address = stranger.local_addr().expect("it is bound");
    let id = gateway.admin().id_from(address).await;
    let record = gateway.admin().audited(&id).await;
    assert_eq!(
        record["audit"]["closed_by"], "handshake_timeout",
        "{record}"
    );
    // What may be sent to an address without proof was spent on probes: the close cannot go.
    gone(&gateway, &id).await;
}
