//! Waiting for something to become true, and the lock of tests that need the machine.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, MutexGuard};

/// Generous, because a loaded two-core machine is the usual place of these tests.
const PATIENCE: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_millis(10);

static HEAVY: Mutex<()> = Mutex::const_new(());

/// Probes until there is a value, and panics with `what` when patience ends.
#[track_caller]
pub fn eventually<T, F, P>(what: &str, probe: P) -> impl Future<Output = T>
where
    P: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    eventually_within(PATIENCE, PROBE_INTERVAL, what, probe)
}

/// Like [`eventually`], with a patience and pauses of the caller's choice.
#[track_caller]
pub fn eventually_within<T, F, P>(
    patience: Duration,
    pause: Duration,
    what: &str,
    mut probe: P,
) -> impl Future<Output = T>
where
    P: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    let caller = std::panic::Location::caller();
    async move {
        let begin = Instant::now();
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            assert!(
                begin.elapsed() < patience,
                "{caller}: never happened: {what}"
            );
            tokio::time::sleep(pause).await;
        }
    }
}

/// The future's output, or a panic with `what` when patience ends.
#[track_caller]
pub fn within<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, future).await {
            Ok(value) => value,
            Err(_) => panic!("{caller}: took too long: {what}"),
        }
    }
}

/// Held by tests that load the machine, so that they do not slow each other.
pub async fn heavy() -> MutexGuard<'static, ()> {
    HEAVY.lock().await
}
