//! Keys for encrypted ClientHellos, as operators keep them: what the control plane lets pass, a
//! data plane serves.

use boring::pkey::{PKey, Private};
use bytes::Bytes;
use tidegate_controlplane::ech::{EchKeys, EchPair};
use tidegate_dataplane::snapshot::Snapshot;
use tidegate_proto::v1;

pub(super) fn run(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else {
        return;
    };
    let read = match how & 1 {
        0 => EchKeys::read(rest, &[]),
        _ => EchKeys::read(&pem(rest), &pem(rest)),
    };
    let Ok(keys) = read else { return };
    let wire = |offered| {
        move |pair: &EchPair| v1::EchKey {
            config: Bytes::copy_from_slice(pair.config()),
            private_key: Bytes::copy_from_slice(pair.private_key()),
            offered,
        }
    };
    let current = keys.current().iter().map(wire(true));
    let previous = keys.previous().iter().map(wire(false));
    let snapshot = v1::Snapshot {
        listeners: vec![v1::Listener {
            ech_keys: current.chain(previous).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    // The rest of the listener is not there.
    let refused = format!("{:?}", Snapshot::try_from(snapshot).err());
    assert!(!refused.contains("ech_keys"), "{refused}");
}

/// A list of configs, behind the key that seeds are made with.
fn pem(list: &[u8]) -> Vec<u8> {
    let key = key().private_key_to_pem_pkcs8().expect("PEM");
    let list = boring::base64::encode_block(list);
    let list = format!("-----BEGIN ECHCONFIG-----\n{list}\n-----END ECHCONFIG-----\n");
    [&key[..], list.as_bytes()].concat()
}

/// Inputs to begin with, and their names.
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut public = [0; 32];
    key().raw_public_key(&mut public).expect("its other half");
    let vector = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let contents = [
        &[7, 0, 0x20][..],
        &vector(&public),
        &vector(&[0, 1, 0, 1]),
        &[64, 11],
        b"a.example.x",
        &[0, 0],
    ];
    let config = |version: u16| [&version.to_be_bytes()[..], &vector(&contents.concat())].concat();
    let one = vector(&config(0xfe0d));
    let two = vector(&[config(0xfe0a), config(0xfe0d)].concat());
    vec![
        ("text", [&[0][..], &pem(&one)].concat()),
        ("one", [&[1][..], &one].concat()),
        ("another-version", [&[1][..], &two].concat()),
    ]
}

fn key() -> PKey<Private> {
    // What one of X25519 begins with (RFC 8410 7).
    let mut pkcs8 = [9; 48];
    pkcs8[..16].copy_from_slice(b"\x30\x2e\x02\x01\0\x30\x05\x06\x03\x2b\x65\x6e\x04\x22\x04\x20");
    PKey::private_key_from_pkcs8(&pkcs8).expect("a key")
}
