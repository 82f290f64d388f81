//! The captures of a data plane, by number. On the control thread.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Buffer, End, Form};
use crate::metrics::ControlMetrics;

/// How long a capture may be, in both senses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From its beginning.
    pub duration: Duration,
    /// Of records.
    pub max_bytes: u64,
}

/// Every capture that is under way or not read to its end.
#[derive(Debug)]
pub struct Captures {
    register: Arc<Mutex<Register>>,
    /// How long nobody need ask for one.
    patience: Duration,
    metrics: Arc<ControlMetrics>,
}

#[derive(Debug, Default)]
struct Register {
    last: u64,
    entries: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    buffer: Arc<Buffer>,
    asked: Instant,
}

impl Limits {
    /// From what a command says; zero is the default.
    ///
    /// # Errors
    /// Names the field and what it may be.
    pub fn new(duration_ms: u64, max_bytes: u64) -> Result<Self, String> {
        let duration = match duration_ms {
            0 => DURATION,
            millis => Duration::from_millis(millis),
        };
        if duration > LONGEST {
            return Err(format!(
                "duration_ms {duration_ms}: give at most {}",
                LONGEST.as_millis()
            ));
        }
        match max_bytes {
            0 => Ok(Self {
                duration,
                max_bytes: BYTES,
            }),
            1..=MOST_BYTES => Ok(Self {
                duration,
                max_bytes,
            }),
            _ => Err(format!("max_bytes {max_bytes}: give at most {MOST_BYTES}")),
        }
    }
}

impl Captures {
    pub(crate) fn new(metrics: Arc<ControlMetrics>) -> Self {
        Self {
            register: Arc::default(),
            patience: ABANDONED,
            metrics,
        }
    }

    /// Opens a capture, unless there are enough.
    pub(crate) fn open(&self, form: Form, limits: Limits) -> Option<(u64, Arc<Buffer>)> {
        let mut register = locked(&self.register);
        if register.entries.len() >= AT_ONCE {
            return None;
        }
        register.last += 1;
        let id = register.last;
        let buffer = Arc::new(Buffer::new(form, limits.max_bytes, self.metrics.clone()));
        let entry = Entry {
            buffer: buffer.clone(),
            asked: Instant::now(),
        };
        register.entries.insert(id, entry);
        drop(register);
        self.metrics.capture_begun();
        let register = self.register.clone();
        tokio::spawn(keep(register, id, limits.duration, self.patience));
        Some((id, buffer))
    }

    /// What has come, and whether that was all; `None`: there is no such capture.
    pub(crate) async fn read(&self, id: u64, patience: Duration) -> Option<(Vec<u8>, bool)> {
        let buffer = self.find(id)?;
        let (bytes, end) = buffer.read(patience.min(LONGEST_READ)).await;
        if end {
            locked(&self.register).entries.remove(&id);
        } else {
            self.find(id);
        }
        Some((bytes, end))
    }

    /// Ends a capture that nobody wants any more. Says whether there was one.
    pub(crate) fn stop(&self, id: u64) -> bool {
        let entry = locked(&self.register).entries.remove(&id);
        if let Some(entry) = &entry {
            entry.buffer.end(End::Stopped);
        }
        entry.is_some()
    }

    fn find(&self, id: u64) -> Option<Arc<Buffer>> {
        let mut register = locked(&self.register);
        let entry = register.entries.get_mut(&id)?;
        entry.asked = Instant::now();
        Some(entry.buffer.clone())
    }
}

/// Ends a capture when its time is over, and forgets one that nobody asks for.
async fn keep(register: Arc<Mutex<Register>>, id: u64, duration: Duration, patience: Duration) {
    let deadline = Instant::now() + duration;
    loop {
        let now = Instant::now();
        {
            let mut register = locked(&register);
            let Some(entry) = register.entries.get(&id) else {
                return;
            };
            if now >= deadline {
                entry.buffer.end(End::Duration);
            }
            if now >= entry.asked + patience {
                entry.buffer.end(End::Stopped);
                register.entries.remove(&id);
                return;
            }
        }
        let left = deadline.saturating_duration_since(now);
        let pause = if left.is_zero() { PACE } else { left.min(PACE) };
        sleep(pause.min(patience)).await;
    }
}

/// Nothing that holds the lock can panic half way through a change.
fn locked(register: &Mutex<Register>) -> MutexGuard<'_, Register> {
    register.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Each may have two mebibytes in memory, and one command waits for it.
const AT_ONCE: usize = 16;
/// A reader asks again at once; one that has not for so long is gone.
const ABANDONED: Duration = Duration::from_secs(15);
const PACE: Duration = Duration::from_secs(1);
/// Less than what the control plane waits for a reply.
const LONGEST_READ: Duration = Duration::from_secs(2);
const DURATION: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);
const BYTES: u64 = 16 << 20;
const MOST_BYTES: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Record;

    fn captures(patience: Duration) -> Captures {
        Captures {
            patience,
            ..Captures::new(Arc::default())
        }
    }

    fn limits(duration_ms: u64) -> Limits {
        Limits::new(duration_ms, 0).unwrap()
    }

    #[tokio::test]
    async fn a_capture_ends_when_its_time_is_over() {
        let captures = captures(ABANDONED);
        let (id, buffer) = captures.open(Form::KeyLog, limits(300)).unwrap();
        buffer.push(Record::Line("a\n".into()));
        assert_eq!(
            captures.read(id, Duration::ZERO).await,
            Some((b"a\n".to_vec(), false))
        );
        let mut turns = 0;
        while !buffer.is_ended() {
            turns += 1;
            assert!(turns < 3_000, "it never ends");
            sleep(Duration::from_millis(10)).await;
        }
        let last = captures.read(id, Duration::ZERO).await;
        assert_eq!(last, Some((b"# ended: duration\n".to_vec(), true)));
        assert_eq!(captures.read(id, Duration::ZERO).await, None);
    }

    #[tokio::test]
    async fn one_that_nobody_reads_is_given_up() {
        let patience = Duration::from_millis(300);
        let captures = captures(patience);
        let (id, buffer) = captures.open(Form::KeyLog, limits(600_000)).unwrap();
        for _ in 0..10 {
            let read = captures.read(id, patience / 6).await;
            assert_eq!(read, Some((Vec::new(), false)), "it is asked for");
        }
        let mut turns = 0;
        while !buffer.is_ended() {
            turns += 1;
            assert!(turns < 3_000, "it is never given up");
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(captures.read(id, Duration::ZERO).await, None);
    }

    #[tokio::test]
    async fn there_are_so_many_at_once_and_no_more() {
        let captures = captures(ABANDONED);
        let ids: Vec<u64> = (0..AT_ONCE)
            .map(|_| captures.open(Form::Qlog, limits(0)).unwrap().0)
            .collect();
        assert!(captures.open(Form::Qlog, limits(0)).is_none());
        assert!(captures.stop(ids[3]) && !captures.stop(ids[3]));
        assert!(captures.open(Form::Qlog, limits(0)).is_some());
    }

    #[test]
    fn limits_have_limits() {
        let default = Limits::new(0, 0).unwrap();
        assert_eq!((default.duration, default.max_bytes), (DURATION, BYTES));
        for (duration, bytes, field) in [
            (3_600_001, 0, "duration_ms"),
            (0, (1 << 30) + 1, "max_bytes"),
        ] {
            let refusal = Limits::new(duration, bytes).unwrap_err();
            assert!(refusal.starts_with(field), "{refusal}");
        }
    }
}
