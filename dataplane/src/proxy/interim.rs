//! 1xx heads on their way from an upstream to the client.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use futures_util::task::AtomicWaker;
use http::{Request, Response, StatusCode};

use super::{Interim, fields};
use crate::metrics::ShardMetrics;

/// Takes the heads where hyper reads them, and gives them out where the request is served.
/// Both are on one thread, but hyper's callback has to be `Send` and `Sync`.
pub(crate) struct Interims(Arc<Queue>);

struct Queue {
    metrics: Arc<ShardMetrics>,
    heads: Mutex<Vec<Response<()>>>,
    waker: AtomicWaker,
}

impl Interims {
    /// None yet.
    pub(crate) fn new(metrics: Arc<ShardMetrics>) -> Self {
        Self(Arc::new(Queue {
            metrics,
            heads: Mutex::default(),
            waker: AtomicWaker::new(),
        }))
    }

    /// Has hyper give what precedes this request's response.
    pub(crate) fn ask_for<B>(&self, request: &mut Request<B>) {
        let queue = self.0.clone();
        hyper::ext::on_informational(request, move |head| {
            // 100 (Continue) was for this gateway, which has sent its own.
            if head.status() == StatusCode::CONTINUE {
                return;
            }
            let mut heads = queue.heads.lock().unwrap_or_else(PoisonError::into_inner);
            if heads.len() >= MOST_WAITING {
                queue.metrics.http.upstream_error("interim_overflow");
                return;
            }
            let mut copy = Response::new(());
            *copy.status_mut() = head.status();
            *copy.headers_mut() = head.headers().clone();
            fields::clean_response(copy.headers_mut());
            heads.push(copy);
            queue.waker.wake();
        });
    }

    /// Waits for the response, and meanwhile passes on what precedes it.
    pub(crate) async fn relay<T>(
        &self,
        to: Interim<'_>,
        mut response: Pin<&mut impl Future<Output = T>>,
    ) -> T {
        std::future::poll_fn(|cx| {
            self.0.waker.register(cx.waker());
            let response = response.as_mut().poll(cx);
            self.take().into_iter().for_each(to);
            match response {
                Poll::Ready(response) => Poll::Ready(response),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    fn take(&self) -> Vec<Response<()>> {
        std::mem::take(&mut *self.0.heads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An upstream that sends more at once is not listened to.
const MOST_WAITING: usize = 8;
