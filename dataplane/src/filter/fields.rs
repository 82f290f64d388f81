//! Setting, adding and removing fields.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Changes fields: first what is set, then what is added, then what is removed. Its names
/// are those that [`field_name`] lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderModifier {
    pub(crate) set: Vec<(HeaderName, HeaderValue)>,
    pub(crate) add: Vec<(HeaderName, HeaderValue)>,
    pub(crate) remove: Vec<HeaderName>,
}

impl HeaderModifier {
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

/// The name of a field that filters may change, or why they may not. Framing and
/// hop-by-hop fields belong to the proxy (RFC 9110 7.6.1); changed, they could smuggle a
/// second request. The host is changed with a rewrite, so that it is one everywhere.
pub fn field_name(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::try_from(text);
    let name = name.map_err(|_| format!("`{text}` is no field name; use letters, digits and -"))?;
    match &name {
        &header::HOST => {
            Err("Host cannot be changed here; use the host name of a URL rewrite".into())
        }
        name if is_the_proxys(name) => Err(format!(
            "{name} belongs to the connection and cannot be changed; remove it here"
        )),
        _ => Ok(name),
    }
}

fn is_the_proxys(name: &HeaderName) -> bool {
    const UNNAMED: [&str; 3] = ["keep-alive", "proxy-connection", "http2-settings"];
    let named = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    named.contains(name) || UNNAMED.contains(&name.as_str())
}
