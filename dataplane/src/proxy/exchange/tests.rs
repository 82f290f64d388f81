use std::{collections::VecDeque, future::poll_fn, pin::Pin, task::Context, task::Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};

use super::*;
use crate::proxy::BodyError;

/// What a client sends, step by step. It ends as a connection does that has nothing more to
/// give: with the last step, or never.
struct Script {
    steps: VecDeque<Step>,
    /// Says with the last frame that it is the last.
    knows_its_end: bool,
    dropped: Rc<Cell<bool>>,
}

#[derive(Clone)]
enum Step {
    Data(&'static str),
    Trailers(&'static str),
    Error,
    Nothing,
}
use Step::{Data, Error, Nothing, Trailers};

impl HttpBody for Script {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Data(data)) => Poll::Ready(Some(Ok(Frame::data(data.into())))),
            Some(Trailers(name)) => {
                let mut trailers = HeaderMap::new();
                trailers.insert(name, "value".parse().expect("a value"));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Some(Error) => Poll::Ready(Some(Err(BodyError::Reset))),
            Some(Nothing) => {
                self.steps.push_front(Nothing);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.knows_its_end && self.steps.is_empty()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.dropped.set(true);
    }
}

const IDLE: Duration = Duration::from_millis(200);

struct Fixture {
    exchange: Rc<Exchange>,
    body: RequestBody,
    dropped: Rc<Cell<bool>>,
}

fn fixture(announced: Option<u64>, knows_its_end: bool, steps: &[Step]) -> Fixture {
    let exchange = Exchange::begin(
        Arc::new(ShardMetrics::default()),
        crate::telemetry::Telemetry::default().start_request(&Method::POST, "/", &HeaderMap::new()),
        Method::POST,
        Version::HTTP_3,
        "https",
    );
    let dropped = Rc::new(Cell::new(false));
    let script = Script {
        steps: steps.iter().cloned().collect(),
        knows_its_end,
        dropped: dropped.clone(),
    };
    let limits = HttpLimits {
        body_idle_timeout: IDLE,
        ..HttpLimits::default()
    };
    let body = exchange.request_body(Body::Boxed(Box::pin(script)), announced, &limits);
    Fixture {
        exchange,
        body,
        dropped,
    }
}

/// What the upstream gets: the content, and how it ends.
async fn received(body: &mut RequestBody) -> (String, Result<bool, BodyError>) {
    let mut content = String::new();
    let mut trailers = false;
    loop {
        if body.is_end_stream() {
            return (content, Ok(trailers));
        }
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            None => return (content, Ok(trailers)),
            Some(Err(error)) => return (content, Err(error)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => content += std::str::from_utf8(&data).expect("text"),
                Err(_) => trailers = true,
            },
        }
    }
}

#[tokio::test]
async fn content_as_long_as_announced_passes_whole() {
    let rows: &[(Option<u64>, &[Step], &str, bool)] = &[
        (Some(5), &[Data("hello")], "hello", false),
        (Some(5), &[Data("he"), Data("llo")], "hello", false),
        (Some(5), &[Data("hello"), Data("")], "hello", false),
        (Some(5), &[Data("hello"), Trailers("x-sum")], "hello", true),
        (Some(0), &[], "", false),
        (Some(0), &[Data("")], "", false),
        (None, &[], "", false),
        (None, &[Data("he"), Data(""), Data("llo")], "hello", false),
        (None, &[Data("hello"), Trailers("x-sum")], "hello", true),
        (None, &[Trailers("x-sum")], "", true),
    ];
    for knows_its_end in [false, true] {
        for (announced, steps, content, trailers) in rows {
            let mut it = fixture(*announced, knows_its_end, steps);
            let (got, end) = received(&mut it.body).await;
            assert_eq!(
                (&*got, end.ok()),
                (*content, Some(*trailers)),
                "{announced:?} {content}"
            );
            assert!(it.exchange.upload_is_done() && it.dropped.get());
            assert_eq!(it.exchange.request_bytes.get(), content.len() as u64);
        }
    }
}

#[tokio::test]
async fn the_upstream_never_sees_the_end_of_content_of_another_length() {
    let rows: &[(u64, &[Step], &str)] = &[
        // Too short.
        (5, &[], ""),
        (5, &[Data("hell")], "hell"),
        (5, &[Data("hell"), Trailers("x-sum")], "hell"),
        // Too long: the chunk that would have completed it is not sent either.
        (5, &[Data("hello!")], ""),
        (5, &[Data("hello"), Data("!")], ""),
        (5, &[Data("he"), Data("llo"), Data("!")], "he"),
        (5, &[Data("hello"), Data(""), Data("GET / HTTP/1.1")], ""),
        (0, &[Data("GET / HTTP/1.1")], ""),
    ];
    for knows_its_end in [false, true] {
        for (announced, steps, content) in rows {
            let mut it = fixture(Some(*announced), knows_its_end, steps);
            let (got, end) = received(&mut it.body).await;
            // A last frame that says so is held to the announcement at once.
            assert!(content.starts_with(&got), "{announced} gave {got}");
            assert!(end.is_err(), "{announced} {content} ended well");
            let failure = it.exchange.upload_failure().expect("a failure");
            assert_eq!(failure.status(), StatusCode::BAD_REQUEST);
            assert!(it.dropped.get());
        }
    }
}

#[tokio::test]
async fn an_announcement_without_any_content_is_a_failure_at_once() {
    let exchange = fixture(None, true, &[]).exchange;
    let limits = HttpLimits::default();
    let mut body = exchange.request_body(Body::Empty, Some(5), &limits);
    assert!(!body.is_end_stream());
    assert!(received(&mut body).await.1.is_err());
}

#[tokio::test]
async fn trailers_that_frame_or_route_break_the_request_off() {
    for name in ["content-length", "transfer-encoding", "host"] {
        let mut it = fixture(None, false, &[Data("hello"), Trailers(name)]);
        assert!(received(&mut it.body).await.1.is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_breaks_the_upstream_request_off() {
    let mut it = fixture(Some(5), false, &[Data("he"), Error]);
    let (content, end) = received(&mut it.body).await;
    assert!(content == "he" && end.is_err());
    assert_eq!(it.exchange.upload_failure(), Some(Failure::ClientGone));
}

#[tokio::test]
async fn content_that_stands_still_is_given_up() {
    let mut it = fixture(None, false, &[Data("he"), Nothing]);
    let began = Instant::now();
    let (content, end) = received(&mut it.body).await;
    assert_eq!((&*content, end.is_err()), ("he", true));
    assert_eq!(it.exchange.upload_failure(), Some(Failure::RequestBodyIdle));
    assert!(began.elapsed() >= IDLE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_response_that_is_over_stops_the_upload() {
    let mut it = fixture(None, false, &[Data("he"), Nothing]);
    let exchange = it.exchange.clone();
    let local = tokio::task::LocalSet::new();
    let end = local.run_until(async {
        let upload = tokio::task::spawn_local(async move { received(&mut it.body).await });
        tokio::task::yield_now().await;
        exchange.over(None);
        upload.await.expect("the task ends")
    });
    let (content, end) = end.await;
    assert_eq!(content, "he");
    assert!(matches!(end, Err(BodyError::Reset)), "{end:?}");
    assert!(it.dropped.get(), "the client is not told to stop");
    assert_eq!(exchange.upload_failure(), None);
}

#[tokio::test]
async fn a_request_is_found_empty_before_it_is_sent() {
    for announced in [None, Some(0)] {
        let mut it = fixture(announced, false, &[]);
        assert!(!it.body.is_end_stream());
        assert_eq!(it.body.settle().await, Ok(()));
        assert!(it.body.is_end_stream());
    }
}

#[tokio::test]
async fn settling_loses_nothing_and_does_not_wait_for_content() {
    let mut it = fixture(None, false, &[Data("he"), Data("llo"), Trailers("x-sum")]);
    assert_eq!(it.body.settle().await, Ok(()));
    let (content, end) = received(&mut it.body).await;
    assert_eq!((&*content, end.ok()), ("hello", Some(true)));

    let mut waiting = fixture(None, false, &[Nothing]);
    assert_eq!(waiting.body.settle().await, Ok(()));
    assert!(!waiting.body.is_end_stream());

    let mut smuggled = fixture(Some(0), false, &[Data("GET / HTTP/1.1")]);
    assert!(matches!(
        smuggled.body.settle().await,
        Err(Failure::Malformed(_))
    ));
}

#[tokio::test]
async fn what_was_sent_is_sent_again_and_then_the_rest() {
    let mut it = fixture(Some(10), false, &[Data("hello"), Data("world")]);
    it.exchange.keep_upload();
    let frame = poll_fn(|cx| Pin::new(&mut it.body).poll_frame(cx)).await;
    assert!(matches!(frame, Some(Ok(_))));
    let mut again = it.exchange.repeat_upload().expect("all of it is kept");
    assert_eq!(again.size_hint().exact(), Some(10));
    // The attempt before gets nothing more, and no clean end.
    let (content, end) = received(&mut it.body).await;
    assert!(content.is_empty() && end.is_err());
    let (content, end) = received(&mut again).await;
    assert_eq!((&*content, end.ok()), ("helloworld", Some(false)));
    let mut third = it.exchange.repeat_upload().expect("all of it is kept");
    assert!(!it.exchange.upload_is_done());
    assert_eq!(received(&mut third).await.0, "helloworld");
    assert!(it.exchange.upload_is_done());
    assert_eq!(it.exchange.request_bytes.get(), 10);
}

#[tokio::test]
async fn a_copy_ends_as_the_request_does() {
    for (steps, content, trailers) in [
        (&[Data("hello")][..], "hello", Ok(false)),
        (&[Data("hello"), Trailers("x-sum")], "hello", Ok(true)),
        (&[Data("hello"), Error], "", Err(())),
    ] {
        let mut it = fixture(None, false, steps);
        let (mut copy, tap) = it.body.copy();
        let _ = received(&mut it.body).await;
        let (got, end) = received(&mut copy).await;
        assert_eq!((&*got, end.map_err(drop)), (content, trailers));
        assert!(!tap.expect("there is content").lagged());
    }
}

#[tokio::test]
async fn a_copy_that_lags_is_broken_off() {
    static LARGE: [u8; 40 * 1024] = [b'x'; 40 * 1024];
    let large = std::str::from_utf8(&LARGE).expect("text");
    let mut it = fixture(None, false, &[Data(large), Data(large), Data(large)]);
    let (mut copy, tap) = it.body.copy();
    let (content, end) = received(&mut it.body).await;
    assert_eq!((content.len(), end.ok()), (3 * large.len(), Some(false)));
    assert!(tap.expect("there is content").lagged());
    assert!(received(&mut copy).await.1.is_err());
}
