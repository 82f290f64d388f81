//! Key pairs as text (RFC 9934): a PRIVATE KEY, then the ECHCONFIG that is for it.

use base64::{Engine, prelude::BASE64_STANDARD};
use boring::pkey::{Id, PKey};

use super::{EchPair, KEY_LENGTH, config};

/// Reads any number of pairs, one after the other.
pub(super) fn read(text: &[u8]) -> Result<Vec<EchPair>, &'static str> {
    let text = str::from_utf8(text).map_err(|_| "is no text")?;
    let mut pairs = Vec::new();
    let mut key = None;
    for block in blocks(text)? {
        match block.label {
            "PRIVATE KEY" => {
                if key.replace(private_key(block.whole)?).is_some() {
                    return Err("has a PRIVATE KEY without an ECHCONFIG behind it");
                }
            }
            "ECHCONFIG" => {
                let key = key
                    .take()
                    .ok_or("has an ECHCONFIG without a PRIVATE KEY before it")?;
                for config in config::read_list(&bytes(block.body)?)? {
                    pairs.push(EchPair::new(config, key)?);
                }
            }
            _ => return Err("has something else than PRIVATE KEY and ECHCONFIG"),
        }
    }
    match key {
        Some(_) => Err("has a PRIVATE KEY without an ECHCONFIG behind it"),
        None => Ok(pairs),
    }
}

/// The text of pairs, each with a list of its own.
pub(super) fn write(pairs: &[EchPair]) -> String {
    let blocks = pairs.iter().flat_map(|pair| {
        let key = [&PKCS8_X25519[..], &pair.private_key].concat();
        let config = config::list([&pair.config].into_iter());
        [block("PRIVATE KEY", &key), block("ECHCONFIG", &config)]
    });
    blocks.collect()
}

struct Block<'a> {
    label: &'a str,
    body: &'a str,
    /// With its first and last line.
    whole: &'a str,
}

fn blocks(text: &str) -> Result<Vec<Block<'_>>, &'static str> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let begin = &rest[at..];
        let (label, _) = begin[BEGIN.len()..]
            .split_once("-----")
            .ok_or("breaks off")?;
        let last = format!("-----END {label}-----");
        let head = BEGIN.len() + label.len() + "-----".len();
        let length = begin.find(&last).ok_or("breaks off")?;
        let end = length + last.len();
        blocks.push(Block {
            label,
            body: begin.get(head..length).ok_or("breaks off")?,
            whole: &begin[..end],
        });
        rest = &begin[end..];
    }
    Ok(blocks)
}

fn private_key(pem: &str) -> Result<[u8; KEY_LENGTH], &'static str> {
    const PROBLEM: &str = "has a PRIVATE KEY that is none of X25519";
    // With a callback, an encrypted key fails at once.
    let key =
        PKey::private_key_from_pem_callback(pem.as_bytes(), |_| Ok(0)).map_err(|_| PROBLEM)?;
    let mut raw = [0; KEY_LENGTH];
    if key.id() != Id::X25519 || key.raw_private_key(&mut raw).is_err() {
        return Err(PROBLEM);
    }
    Ok(raw)
}

fn bytes(body: &str) -> Result<Vec<u8>, &'static str> {
    let text: String = body.split_whitespace().collect();
    BASE64_STANDARD
        .decode(text)
        .map_err(|_| "has an ECHCONFIG that is no base64")
}

fn block(label: &str, bytes: &[u8]) -> String {
    let mut block = format!("{BEGIN}{label}-----\n");
    let text = BASE64_STANDARD.encode(bytes);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        block.push_str(line);
        block.push('\n');
        rest = after;
    }
    block + &format!("-----END {label}-----\n")
}

const BEGIN: &str = "-----BEGIN ";
/// What a private key of X25519 begins with (RFC 8410 7).
const PKCS8_X25519: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20,
];
