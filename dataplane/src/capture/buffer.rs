//! Between the shard that writes and the control thread that reads.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::Record;
use crate::metrics::ControlMetrics;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// qlog as JSON text sequences (RFC 7464).
    Qlog,
    /// Lines of an NSS key log.
    KeyLog,
}

/// Why a capture is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection has ended.
    Connection,
    /// Its time is over.
    Duration,
    /// It has as many bytes as it may have.
    Bytes,
    /// Nobody reads it any more.
    Stopped,
}

/// A capture's records, until they are read.
#[derive(Debug)]
pub struct Buffer {
    form: Form,
    max_bytes: u64,
    state: Mutex<State>,
    news: Notify,
    metrics: Arc<ControlMetrics>,
}

#[derive(Debug)]
struct State {
    records: Vec<Record>,
    /// Of all of them together.
    weight: usize,
    /// Records that came when there was no room.
    lost: u64,
    /// Bytes that were ever read.
    total: u64,
    /// When writing began.
    began: Instant,
    ended: Option<End>,
    /// The reader knows of the end.
    told: bool,
}

impl Buffer {
    /// An empty one, that takes in `max_bytes` at the most.
    pub fn new(form: Form, max_bytes: u64, metrics: Arc<ControlMetrics>) -> Self {
        Self {
            form,
            max_bytes,
            state: Mutex::new(State {
                records: Vec::new(),
                weight: 0,
                lost: 0,
                total: 0,
                began: Instant::now(),
                ended: None,
                told: false,
            }),
            news: Notify::new(),
            metrics,
        }
    }

    /// The times of what is written count from now.
    pub(super) fn begin(&self, now: Instant) {
        self.locked().began = now;
    }

    /// Takes in a record, or counts it as lost. Never waits for the reader, to whom it is left
    /// to put the record into words.
    pub fn push(&self, record: Record) {
        let weight = record.weight();
        let mut state = self.locked();
        if state.ended.is_some() {
            return;
        }
        // Once one is left out, those after it are too: what is missing is in one place.
        if state.lost > 0 || state.weight + weight > ROOM {
            state.lost += 1;
            drop(state);
            self.metrics.capture_lost();
            return;
        }
        let first = state.records.is_empty();
        state.weight += weight;
        state.records.push(record);
        drop(state);
        if first {
            self.news.notify_one();
        }
    }

    /// Ends it, for the first reason that is given. What was taken in can still be read.
    pub fn end(&self, reason: End) {
        self.locked().ended.get_or_insert(reason);
        self.news.notify_one();
    }

    /// Whether nothing more is taken in.
    pub fn is_ended(&self) -> bool {
        self.locked().ended.is_some()
    }

    /// What has come since the last call, and whether that is all there will ever be.
    /// Waits for news, at the longest for `patience`.
    pub async fn read(&self, patience: Duration) -> (Vec<u8>, bool) {
        let deadline = tokio::time::Instant::now() + patience;
        let mut gathered = false;
        loop {
            let news = self.news.notified();
            {
                let state = self.locked();
                if state.ended.is_some() || state.weight >= PIECE || gathered {
                    break;
                }
                gathered = !state.records.is_empty();
            }
            // A few records at a time rather than one by one.
            let wait = match gathered {
                true => deadline.min(tokio::time::Instant::now() + GATHERING),
                false => deadline,
            };
            if tokio::time::timeout_at(wait, news).await.is_err() && !gathered {
                break;
            }
        }
        self.take()
    }

    fn take(&self) -> (Vec<u8>, bool) {
        let (records, lost, at, total) = {
            let mut state = self.locked();
            state.weight = 0;
            let records = std::mem::take(&mut state.records);
            let lost = std::mem::take(&mut state.lost);
            (records, lost, state.began.elapsed(), state.total)
        };
        let left = usize::try_from(self.max_bytes - total).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        let mut full = false;
        for record in records {
            let before = bytes.len();
            record.write(&mut bytes);
            if bytes.len() > left {
                bytes.truncate(before);
                full = true;
                break;
            }
        }
        let mut state = self.locked();
        state.total += bytes.len() as u64;
        if full {
            state.ended.get_or_insert(End::Bytes);
        } else if lost > 0 {
            bytes.extend(self.form.lost(at, lost).into_bytes());
        }
        let Some(end) = state.ended.filter(|_| full || state.records.is_empty()) else {
            return (bytes, false);
        };
        if !std::mem::replace(&mut state.told, true) {
            bytes.extend(self.form.ended(at, end).into_bytes());
        }
        (bytes, true)
    }

    /// Nothing that holds the lock can panic half way through a change.
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Form {
    fn lost(self, at: Duration, count: u64) -> String {
        match self {
            Self::Qlog => record(at, "records_lost", format_args!("\"count\":{count}")),
            Self::KeyLog => format!("# {count} lines are missing here\n"),
        }
    }

    fn ended(self, at: Duration, end: End) -> String {
        let reason = match end {
            End::Connection => "connection ended",
            End::Duration => "duration",
            End::Bytes => "max_bytes",
            End::Stopped => "stopped",
        };
        match self {
            Self::Qlog => record(at, "capture_ended", format_args!("\"reason\":\"{reason}\"")),
            Self::KeyLog => format!("# ended: {reason}\n"),
        }
    }
}

/// A qlog event of Tidegate's own.
fn record(at: Duration, name: &str, data: std::fmt::Arguments<'_>) -> String {
    let millis = at.as_secs_f64() * 1_000.0;
    format!("\u{1e}{{\"time\":{millis:.3},\"name\":\"tidegate:{name}\",\"data\":{{{data}}}}}\n")
}

/// Bytes that wait for the reader at the most.
const ROOM: usize = 2 << 20;
/// Bytes that are not waited over.
const PIECE: usize = 64 << 10;
/// How long the first record waits for others.
const GATHERING: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(form: Form, max_bytes: u64) -> Buffer {
        Buffer::new(form, max_bytes, Arc::default())
    }

    fn line(text: &str) -> Record {
        Record::Line(text.into())
    }

    async fn read(buffer: &Buffer) -> (String, bool) {
        let (bytes, end) = buffer.read(Duration::ZERO).await;
        (String::from_utf8(bytes).unwrap(), end)
    }

    #[tokio::test]
    async fn what_was_written_is_read_once_and_in_order() {
        let buffer = buffer(Form::KeyLog, 100);
        buffer.push(line("a\n"));
        buffer.push(line("b\n"));
        assert_eq!(read(&buffer).await, ("a\nb\n".into(), false));
        assert_eq!(read(&buffer).await, (String::new(), false));
        buffer.push(line("c\n"));
        buffer.end(End::Connection);
        buffer.push(line("d\n"));
        assert_eq!(
            read(&buffer).await,
            ("c\n# ended: connection ended\n".into(), true)
        );
        assert_eq!(read(&buffer).await, (String::new(), true));
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_where_and_how_much_is_missing() {
        let buffer = buffer(Form::Qlog, u64::MAX);
        for _ in 0..7 {
            buffer.push(line(&"x".repeat(ROOM / 4)));
        }
        // It would fit, but not in its place.
        buffer.push(line("small"));
        let (bytes, _) = buffer.read(Duration::ZERO).await;
        let text = String::from_utf8(bytes).unwrap();
        let (kept, notice) = text.split_at(ROOM);
        assert!(kept.bytes().all(|byte| byte == b'x'));
        assert!(
            notice.contains("\"name\":\"tidegate:records_lost\",\"data\":{\"count\":4}"),
            "{notice}"
        );
        assert_eq!(buffer.metrics.captures_lost(), 4);
        buffer.push(line("after"));
        assert_eq!(read(&buffer).await, ("after".into(), false));
    }

    #[tokio::test]
    async fn it_ends_before_it_has_more_bytes_than_it_may() {
        let buffer = buffer(Form::KeyLog, 5);
        buffer.push(line("1234\n"));
        buffer.push(line("5"));
        assert_eq!(
            read(&buffer).await,
            ("1234\n# ended: max_bytes\n".into(), true)
        );
        assert!(buffer.is_ended());
    }

    #[tokio::test]
    async fn a_reader_waits_for_news() {
        let buffer = Arc::new(buffer(Form::KeyLog, 100));
        let writer = buffer.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            writer.push(line("late\n"));
        });
        let (bytes, end) = buffer.read(Duration::from_secs(30)).await;
        assert_eq!((&bytes[..], end), (&b"late\n"[..], false));
    }
}
