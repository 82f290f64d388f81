//! Runs hyper's tasks on the shard that they belong to.

use std::future::Future;

/// Spawns on the current thread: nothing of a request is `Send`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future + 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}
