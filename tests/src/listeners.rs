//! Listeners of a Gateway, as its specification has them.

use serde_json::{Value, json};

/// An HTTP listener named `http`.
pub fn http(port: u16) -> Value {
    json!({"name": "http", "port": port, "protocol": "HTTP"})
}

/// An HTTPS listener with the certificate of the Secret `site`, for one host name or for all.
pub fn https(name: &str, port: u16, hostname: Option<&str>) -> Value {
    let mut listener = json!({
        "name": name,
        "port": port,
        "protocol": "HTTPS",
        "tls": {"mode": "Terminate", "certificateRefs": [{"name": "site"}]},
    });
    if let Some(hostname) = hostname {
        listener["hostname"] = hostname.into();
    }
    listener
}
