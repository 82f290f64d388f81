//! qlog of one connection, as quiche writes it.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Instant,
};

use tidegate_proto::v1::QlogLevel;

use super::{Buffer, End};
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
        let writer = Writer {
            buffer: self.buffer,
            record: Vec::new(),
        };
        let level = match self.level {
            Level::Core => quiche::QlogLevel::Core,
            Level::Base => quiche::QlogLevel::Base,
            Level::Extra => quiche::QlogLevel::Extra,
        };
        let description = format!("tidegate {}", env!("CARGO_PKG_VERSION"));
        qconn.set_qlog_with_level(Box::new(writer), title, description, level);
    }
}

/// Gathers what quiche writes bit by bit into whole records.
struct Writer {
    buffer: Arc<Buffer>,
    record: Vec<u8>,
}

impl Write for Writer {
    /// An error makes quiche leave out the rest of the event; it costs next to nothing
    /// when the capture is over.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.record.is_empty() && self.buffer.is_ended() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.record.extend_from_slice(bytes);
        // JSON has no line feed but at the end of a record.
        if bytes.last() == Some(&b'\n') {
            self.buffer.push(&self.record);
            self.record.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.buffer.end(End::Connection);
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
