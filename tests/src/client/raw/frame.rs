//! Frames: those that a server sends, and how a test writes those that it likes.

use octets::{Octets, OctetsMut};

/// How a server closed the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionClose {
    pub application: bool,
    pub code: u64,
    pub reason: String,
}

/// What of a frame matters here.
#[derive(Debug)]
pub(super) enum Frame {
    Crypto { offset: u64, data: Vec<u8> },
    Stream { id: u64, offset: u64, data: Vec<u8> },
    PathChallenge([u8; 8]),
    PathResponse,
    Close(ConnectionClose),
    HandshakeDone,
    Acknowledgement,
    Other,
}

impl Frame {
    /// Whether it is answered by an ACK (RFC 9000 13.2.1).
    pub(super) fn elicits(&self) -> bool {
        !matches!(self, Self::Acknowledgement | Self::Close(_))
    }
}

/// The frames of a packet; it ends early where a frame is unknown.
pub(super) fn parse(payload: &[u8]) -> Vec<Frame> {
    let mut bytes = Octets::with_slice(payload);
    let mut frames = Vec::new();
    while bytes.cap() > 0 {
        match frame(&mut bytes) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => {}
            Err(error) => panic!("the server's frames cannot be read ({error}): {payload:02x?}"),
        }
    }
    frames
}

fn frame(bytes: &mut Octets) -> octets::Result<Option<Frame>> {
    let kind = bytes.get_varint()?;
    let mut skip = |count: usize| -> octets::Result<()> {
        (0..count).try_for_each(|_| bytes.get_varint().map(drop))
    };
    Ok(Some(match kind {
        0x00 => return Ok(None),
        0x01 => Frame::Other,
        0x02 | 0x03 => {
            skip(2)?;
            let ranges = bytes.get_varint()? as usize;
            let counts = if kind == 0x03 { 3 } else { 0 };
            (0..1 + 2 * ranges + counts).try_for_each(|_| bytes.get_varint().map(drop))?;
            Frame::Acknowledgement
        }
        0x06 => Frame::Crypto {
            offset: bytes.get_varint()?,
            data: bytes.get_bytes_with_varint_length()?.to_vec(),
        },
        0x07 => {
            bytes.get_bytes_with_varint_length()?;
            Frame::Other
        }
        0x08..=0x0f => {
            let id = bytes.get_varint()?;
            let offset = match kind & 0x04 {
                0 => 0,
                _ => bytes.get_varint()?,
            };
            let data = match kind & 0x02 {
                0 => bytes.get_bytes(bytes.cap())?,
                _ => bytes.get_bytes_with_varint_length()?,
            };
            let data = data.to_vec();
            Frame::Stream { id, offset, data }
        }
        0x04 => skip(3).map(|()| Frame::Other)?,
        0x05 | 0x11 | 0x15 => skip(2).map(|()| Frame::Other)?,
        0x10 | 0x12..=0x14 | 0x16 | 0x17 | 0x19 => skip(1).map(|()| Frame::Other)?,
        0x18 => {
            skip(2)?;
            bytes.get_bytes_with_u8_length()?;
            bytes.get_bytes(16)?;
            Frame::Other
        }
        0x1a => {
            let data = bytes.get_bytes(8)?.to_vec();
            Frame::PathChallenge(data.try_into().map_err(|_| octets::BufferTooShortError)?)
        }
        0x1b => {
            bytes.get_bytes(8)?;
            Frame::PathResponse
        }
        0x1c | 0x1d => {
            let code = bytes.get_varint()?;
            if kind == 0x1c {
                bytes.get_varint()?;
            }
            let reason = bytes.get_bytes_with_varint_length()?.to_vec();
            Frame::Close(ConnectionClose {
                application: kind == 0x1d,
                code,
                reason: String::from_utf8_lossy(&reason).into_owned(),
            })
        }
        0x1e => Frame::HandshakeDone,
        _ => return Err(octets::BufferTooShortError),
    }))
}

/// Writes frames and transport parameters.
#[derive(Clone, Debug, Default)]
pub struct Bytes(Vec<u8>);

impl Bytes {
    pub fn new() -> Self {
        Self::default()
    }

    /// Numbers as variable-length integers (RFC 9000 16).
    pub fn numbers(mut self, numbers: &[u64]) -> Self {
        for &number in numbers {
            let mut field = [0; 8];
            let mut writer = OctetsMut::with_slice(&mut field);
            writer.put_varint(number).expect("it is below 2^62");
            let size = writer.off();
            self.0.extend(&field[..size]);
        }
        self
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn done(self) -> Vec<u8> {
        self.0
    }
}
