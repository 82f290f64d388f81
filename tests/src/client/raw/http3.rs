//! Requests of HTTP/3 as bytes, for clients that send only a part of them, and how they are
//! answered.

use octets::Octets;
use quiche::h3::{NameValue, qpack};

use super::{super::Target, Bytes, RawClient};

/// A STREAM frame.
pub fn stream(id: u64, offset: u64, data: &[u8], fin: bool) -> Vec<u8> {
    let kind = 0x0e | u64::from(fin);
    Bytes::new()
        .numbers(&[kind, id, offset, data.len() as u64])
        .bytes(data)
        .done()
}

/// A HEADERS frame with a GET request for a path.
pub fn get(target: &Target, path: &str) -> Vec<u8> {
    head(17, target, path)
}

/// And with a POST request.
pub fn post(target: &Target, path: &str) -> Vec<u8> {
    head(20, target, path)
}

/// The method is an index of the static table; so are the other fields from the static table as far as there are any
/// (RFC 9204 A).
fn head(method: u8, target: &Target, path: &str) -> Vec<u8> {
    let authority = format!("{}:{}", target.server_name, target.address.port());
    let (method, https) = (0xc0 | method, 0xc0 | 23);
    let mut section = vec![0, 0, method, https, 0x50, authority.len() as u8];
    section.extend(authority.bytes());
    section.extend([0x51, path.len() as u8]);
    section.extend(path.bytes());
    Bytes::new()
        .numbers(&[0x01, section.len() as u64])
        .bytes(&section)
        .done()
}

impl RawClient {
    /// The status of what was answered on a stream, if so much of it has come.
    pub fn status(&self, stream: u64) -> Option<u16> {
        let mut bytes = Octets::with_slice(self.answers.get(&stream)?);
        let kind = bytes.get_varint().ok()?;
        assert_eq!(kind, 0x01, "a response begins with HEADERS");
        let section = bytes.get_bytes_with_varint_length().ok()?;
        let fields = qpack::Decoder::new().decode(section.buf(), 1 << 16);
        let fields = fields.expect("the section is sound");
        let status = fields.iter().find(|field| field.name() == b":status")?;
        std::str::from_utf8(status.value()).ok()?.parse().ok()
    }
}
