//! A task of this thread that ends with whoever holds it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::task::{JoinError, JoinHandle, spawn_local};

/// A local task. Dropping this ends it; awaiting it gives its value.
pub(crate) struct Task<T>(JoinHandle<T>);

impl<T: 'static> Task<T> {
    pub(crate) fn spawn(future: impl Future<Output = T> + 'static) -> Self {
        Self(spawn_local(future))
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
