//! How large a header section may be is what its listener says, in every version of HTTP.

use http::{HeaderName, HeaderValue, Request};
use tidegate_tests::{Gateway, Upstream, empty};

const BYTES: &str = "tidegate.dev/max-header-bytes";
const FIELDS: &str = "tidegate.dev/max-header-fields";

/// Adds so many fields with values of this length.
fn with_fields<B>(mut request: Request<B>, count: usize, length: usize) -> Request<B> {
    for index in 0..count {
        let name = HeaderName::try_from(format!("x-{index}")).expect("letters and digits");
        let value = HeaderValue::try_from("v".repeat(length)).expect("letters");
        request.headers_mut().insert(name, value);
    }
    request
}

/// The statuses of a request with these fields, of HTTP/1.1, HTTP/2 and HTTP/3.
async fn statuses(gateway: &Gateway, count: usize, length: usize) -> [u16; 3] {
    let mut h1 = gateway.h1().await;
    let mut h2 = gateway.h2().await;
    let h3 = gateway.h3().await;
    let request = with_fields(h1.request("GET", "/", empty()), count, length);
    let one = h1.send(request).await.expect("HTTP/1.1 answers");
    let request = with_fields(h2.request("GET", "/", empty()), count, length);
    let two = h2.send(request).await.expect("HTTP/2 answers");
    let request = with_fields(h3.request("GET", "/"), count, length);
    let three = h3.send(request, bytes::Bytes::new()).await;
    let three = three.expect("HTTP/3 answers");
    [one, two, three].map(|answer| answer.status.as_u16())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_may_take_more_than_is_usual() {
    let upstream = Upstream::start().await;
    let usual = Gateway::start(&upstream).await;
    assert_eq!(statuses(&usual, 20, 2_500).await, [431; 3]);
    assert_eq!(statuses(&usual, 150, 10).await, [431; 3]);
    let generous = Gateway::builder()
        .tls_option(BYTES, "98304")
        .tls_option(FIELDS, "256")
        .start(&upstream)
        .await;
    assert_eq!(statuses(&generous, 20, 2_500).await, [200; 3]);
    // An upstream over HTTP/1.1 takes a hundred.
    assert_eq!(statuses(&generous, 80, 500).await, [200; 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_may_take_less_than_is_usual() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .tls_option(BYTES, "2048")
        .tls_option(FIELDS, "30")
        .start(&upstream)
        .await;
    assert_eq!(statuses(&gateway, 10, 10).await, [200; 3]);
    assert_eq!(statuses(&gateway, 40, 1).await, [431; 3]);
    assert_eq!(statuses(&gateway, 2, 1_000).await, [431; 3]);
}
