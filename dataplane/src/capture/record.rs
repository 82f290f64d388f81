//! What waits in a capture's buffer: as it came, to be put into words by who reads it.

use qlog::{
    QlogSeq,
    events::{
        Event, EventData,
        http3::{Http3Frame, HttpHeader},
        quic::QuicFrame,
    },
};
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
    /// An event, without what passes between people: of fields, the values are left out that say
    /// more than what kind of message it is. Cookies and credentials are among the others.
    pub(super) fn event(mut event: Event) -> Self {
        for field in fields_of(&mut event.data) {
            let harmless = (field.name.as_deref()).is_some_and(|name| HARMLESS.contains(&name));
            if !harmless {
                field.value = None;
            }
        }
        Self::Event(Box::new(event))
    }

    /// About how many bytes of memory it takes.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Header(_) => EVENT,
            Self::Event(event) => EVENT + weight(&event.data),
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

fn fields_of(data: &mut EventData) -> &mut [HttpHeader] {
    let frame = match data {
        EventData::Http3FrameCreated(created) => &mut created.frame,
        EventData::Http3FrameParsed(parsed) => &mut parsed.frame,
        _ => return &mut [],
    };
    match frame {
        Http3Frame::Headers { headers, .. } | Http3Frame::PushPromise { headers, .. } => headers,
        _ => &mut [],
    }
}

/// What the peer can make long: lists of frames, of ranges, of fields.
fn weight(data: &EventData) -> usize {
    let frames = match data {
        EventData::QuicPacketSent(packet) => packet.frames.as_deref(),
        EventData::QuicPacketReceived(packet) => packet.frames.as_deref(),
        EventData::Http3FrameCreated(created) => return fields_weight(&created.frame),
        EventData::Http3FrameParsed(parsed) => return fields_weight(&parsed.frame),
        _ => None,
    };
    let weight = |frame: &QuicFrame| match frame {
        QuicFrame::Ack {
            acked_ranges: Some(ranges),
            ..
        } => FRAME + size_of_val(ranges.as_slice()),
        _ => FRAME,
    };
    frames.unwrap_or_default().iter().map(weight).sum()
}

fn fields_weight(frame: &Http3Frame) -> usize {
    let Http3Frame::Headers { headers, .. } = frame else {
        return 0;
    };
    let texts = headers.iter().flat_map(|field| [&field.name, &field.value]);
    let lengths = texts.flatten().map(String::len);
    size_of_val(headers.as_slice()) + lengths.sum::<usize>()
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

/// Fields whose values are shown.
const HARMLESS: [&str; 4] = [":method", ":scheme", ":status", ":protocol"];
/// Without its lists.
const EVENT: usize = 768;
/// With what it has on the heap.
const FRAME: usize = size_of::<QuicFrame>() + 64;
