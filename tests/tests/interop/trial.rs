//! Runs tests that are made of tables, several at once, and says of each how it went.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    process::ExitCode,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use futures_util::future::LocalBoxFuture;
use tokio::{runtime::Handle, time::timeout};

/// Most of them wait for a slow link, so that more than two cores' worth can run.
const AT_ONCE: usize = 8;
/// Three times what fifty handshakes under loss take.
const PATIENCE: Duration = Duration::from_secs(900);

pub(crate) struct Trial {
    pub(crate) name: String,
    pub(crate) run: Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>,
}

thread_local! {
    static NAME: RefCell<String> = RefCell::default();
}

/// Runs what the command line selects, as libtest does: parts of names, `--skip`, `--list`.
pub(crate) fn conduct(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut wanted, mut skipped, mut list) = (Vec::new(), Vec::new(), false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => list = true,
            "--skip" => skipped.extend(arguments.next()),
            option if option.starts_with('-') => {}
            _ => wanted.push(argument),
        }
    }
    let chosen = |trial: &Trial| {
        let any = |parts: &[String]| parts.iter().any(|part| trial.name.contains(part));
        (wanted.is_empty() || any(&wanted)) && !any(&skipped)
    };
    let chosen: Vec<Trial> = trials.into_iter().filter(chosen).collect();
    if list {
        for trial in &chosen {
            println!("{}: test", trial.name);
        }
        return ExitCode::SUCCESS;
    }
    std::panic::set_hook(Box::new(say));
    let (passed, failed) = run(chosen);
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {passed} passed; {failed} failed; 0 ignored");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run(trials: Vec<Trial>) -> (usize, usize) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let waiting = Mutex::new(trials.into_iter());
    let next = || waiting.lock().expect("no panic holds it").next();
    let work = || {
        let (mut passed, mut failed) = (0, 0);
        while let Some(trial) = next() {
            match hold(trial, runtime.handle()) {
                true => passed += 1,
                false => failed += 1,
            }
        }
        (passed, failed)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let counts = workers
            .into_iter()
            .map(|worker| worker.join().expect("trials are caught"));
        counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    })
}

/// Whether it passed.
fn hold(trial: Trial, runtime: &Handle) -> bool {
    let Trial { name, run } = trial;
    NAME.set(name.clone());
    let began = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let ended = runtime.block_on(async { timeout(PATIENCE, run()).await });
        assert!(ended.is_ok(), "it took longer than {PATIENCE:?}");
    }));
    let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
    println!(
        "test {name} ... {verdict} ({:.1} s)",
        began.elapsed().as_secs_f32()
    );
    outcome.is_ok()
}

/// Says which test it was that panicked.
fn say(panic: &PanicHookInfo<'_>) {
    NAME.with_borrow(|name| eprintln!("{name}: {panic}"));
}
