//! A user who goes on asking while operators operate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tidegate_tests::{H3, Target};
use tokio::task::JoinHandle;

/// Requests over HTTP/3, one after the other. A connection that ends well (GOAWAY, then a
/// close without error) is opened again, as browsers do; a request that fails is counted.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) answered: AtomicUsize,
    pub(crate) connections: AtomicUsize,
    failures: std::sync::Mutex<Vec<String>>,
}

impl Load {
    pub(crate) fn start(target: Target, path: &'static str) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
        let task = tokio::spawn(drive(target, path, Arc::clone(&stop), Arc::clone(&seen)));
        Self { stop, seen, task }
    }

    /// Ends it; the answers and connections that there were. Panics if a request failed.
    #[track_caller]
    pub(crate) fn finish(self) -> impl Future<Output = (usize, usize)> {
        let caller = std::panic::Location::caller();
        async move {
            self.stop.store(true, Ordering::Relaxed);
            self.task.await.expect("the load ends by itself");
            let failures = self
                .seen
                .failures
                .lock()
                .expect("nobody panics with it")
                .clone();
            let answered = self.seen.answered.load(Ordering::Relaxed);
            assert!(
                failures.is_empty(),
                "{caller}: {} of {answered} requests failed: {failures:#?}",
                failures.len()
            );
            assert!(answered > 0, "{caller}: nothing was asked");
            (answered, self.seen.connections.load(Ordering::Relaxed))
        }
    }
}

async fn drive(target: Target, path: &'static str, stop: Arc<AtomicBool>, seen: Arc<Seen>) {
    let fail = |what: String| {
        if let Ok(mut failures) = seen.failures.lock()
            && failures.len() < 10
        {
            failures.push(what);
        }
    };
    let mut connection: Option<H3> = None;
    while !stop.load(Ordering::Relaxed) {
        // Between two requests is where a client notices that the server said goodbye.
        if connection
            .as_ref()
            .is_none_or(|open| open.connection.close_reason().is_some())
        {
            match H3::try_connect(&target).await {
                Ok(opened) => {
                    seen.connections.fetch_add(1, Ordering::Relaxed);
                    connection = Some(opened);
                }
                Err(error) => {
                    fail(format!("connect: {error}"));
                    continue;
                }
            }
        }
        let Some(open) = &connection else { continue };
        match open
            .send(open.request("GET", path), bytes::Bytes::new())
            .await
        {
            Ok(answer) if answer.status.is_success() => {
                seen.answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => fail(format!("{} {:?}", answer.status, answer.body)),
            // RFC 9114 5.2: what was not processed may be asked again elsewhere.
            Err(error)
                if error.to_string().contains("H3_REQUEST_REJECTED") || is_goaway(&error) =>
            {
                connection = None;
            }
            Err(error) => {
                fail(format!("request: {error:?}"));
                connection = None;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The client itself refuses to send after a GOAWAY.
fn is_goaway(error: &h3::error::StreamError) -> bool {
    matches!(error, h3::error::StreamError::RemoteClosing { .. }) || error.is_h3_no_error()
}
