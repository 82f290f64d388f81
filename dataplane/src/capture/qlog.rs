//! qlog of one connection.

use std::{sync::Arc, time::Instant};

use qlog::events::{Event, EventType};
use tidegate_proto::v1::QlogLevel;

use super::{Buffer, End, Record};
use crate::quic::QuicheConnection;

/// How much is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Packets, parameters and recovery.
    Core,
    /// And streams and HTTP/3.
    #[default]
    Base,
    /// Everything.
    Extra,
}

/// An order to write qlog of a connection.
#[derive(Clone, Debug)]
pub struct Qlog {
    /// Where to.
    pub buffer: Arc<Buffer>,
    /// How much.
    pub level: Level,
}

impl Qlog {
    /// Begins to write; ends with the connection.
    pub(crate) fn attach(self, qconn: &mut QuicheConnection, title: String) {
        self.buffer.begin(Instant::now());
        let level = self.level;
        let importance = match level {
            Level::Core => quiche::QlogLevel::Core,
            Level::Base => quiche::QlogLevel::Base,
            Level::Extra => quiche::QlogLevel::Extra,
        };
        let description = format!("tidegate {}", env!("CARGO_PKG_VERSION"));
        let source = Source(self.buffer);
        let begin = |header| -> quiche::QlogSink {
            source.0.push(Record::Header(Box::new(header)));
            Box::new(move |event| {
                if level.shows(&event) {
                    source.0.push(Record::event(event));
                }
            })
        };
        qconn.set_qlog_sink(begin, title, description, importance);
    }
}

impl Level {
    /// Frames of HTTP/3 are of qlog's core.
    fn shows(self, event: &Event) -> bool {
        self != Self::Core || !matches!(EventType::from(&event.data), EventType::Http3EventType(_))
    }
}

/// What quiche holds, for as long as there is a connection.
struct Source(Arc<Buffer>);

impl Drop for Source {
    fn drop(&mut self) {
        self.0.end(End::Connection);
    }
}

impl TryFrom<i32> for Level {
    type Error = String;

    fn try_from(wire: i32) -> Result<Self, String> {
        match QlogLevel::try_from(wire) {
            Ok(QlogLevel::Unspecified) => Ok(Self::default()),
            Ok(QlogLevel::Core) => Ok(Self::Core),
            Ok(QlogLevel::Base) => Ok(Self::Base),
            Ok(QlogLevel::Extra) => Ok(Self::Extra),
            Err(_) => Err(format!("level {wire}: give core, base or extra")),
        }
    }
}
