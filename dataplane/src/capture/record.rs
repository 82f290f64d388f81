//! What waits in a capture's buffer: as it came, to be put into words by who reads it.

use qlog::{QlogSeq, events::Event};
use serde::Serialize;

/// One record of a capture.
#[derive(Debug)]
pub enum Record {
    /// What qlog begins with.
    Header(Box<QlogSeq>),
    /// An event of qlog.
    Event(Box<Event>),
    /// A line of a key log.
    Line(String),
}

impl Record {
    /// About how many bytes of memory it takes.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Header(_) | Self::Event(_) => EVENT,
            Self::Line(line) => line.len(),
        }
    }

    /// Adds it to `text`: qlog as a JSON text sequence (RFC 7464), a line as it is.
    pub(super) fn write(&self, text: &mut Vec<u8>) {
        match self {
            Self::Header(header) => sequence(text, header),
            Self::Event(event) => sequence(text, event),
            Self::Line(line) => text.extend_from_slice(line.as_bytes()),
        }
    }
}

fn sequence(text: &mut Vec<u8>, record: &impl Serialize) {
    let begin = text.len();
    text.push(0x1e);
    if serde_json::to_writer(&mut *text, record).is_err() {
        // Half a record would spoil what comes after it.
        text.truncate(begin);
        return;
    }
    text.push(b'\n');
}

/// With its frames.
const EVENT: usize = 1024;
