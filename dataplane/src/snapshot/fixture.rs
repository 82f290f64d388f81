//! Messages for the tests of this crate: small, whole and without a mistake.

use boring::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{Id, PKey},
    x509::{X509, X509NameBuilder},
};
use tidegate_proto::v1;

/// A certificate for `name` that signs itself, with its key.
pub(crate) fn certificate(id: &str, name: &str) -> v1::Certificate {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(30).unwrap())
        .unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    v1::Certificate {
        id: id.into(),
        chain_pem: builder.build().to_pem().unwrap().into(),
        private_key_pem: key.private_key_to_pem_pkcs8().unwrap().into(),
    }
}

/// A key for ClientHellos that say `public.example` in clear.
pub(crate) fn ech_key(offered: bool) -> v1::EchKey {
    let key = PKey::generate(Id::X25519).unwrap();
    let (mut private_key, mut public_key) = ([0; 32], [0; 32]);
    key.raw_private_key(&mut private_key).unwrap();
    key.raw_public_key(&mut public_key).unwrap();
    // RFC 9849 4: id, X25519, the key, HKDF-SHA256 with AES-128-GCM, the name, no extension.
    let contents = [
        &[7, 0x00, 0x20, 0, 32][..],
        &public_key,
        &[0, 4, 0, 1, 0, 1, 0, 14],
        b"public.example",
        &[0, 0],
    ]
    .concat();
    let config = [&[0xfe, 0x0d, 0, contents.len() as u8][..], &contents].concat();
    v1::EchKey {
        config: config.into(),
        private_key: private_key.to_vec().into(),
        offered,
    }
}

/// One key of each kind.
pub(crate) fn keys() -> v1::Keys {
    let key = |length: usize, byte: u8| {
        vec![v1::Key {
            id: 1,
            material: vec![byte; length].into(),
        }]
    };
    v1::Keys {
        ticket: key(48, 1),
        retry: key(32, 2),
        reset: key(32, 3),
        cid: key(16, 4),
        relay: key(32, 5),
    }
}

/// Cleartext, on every address.
pub(crate) fn http(id: &str, port: u32, hostname: &str) -> v1::Listener {
    v1::Listener {
        id: id.into(),
        port,
        protocol: v1::Protocol::Http.into(),
        hostname: hostname.into(),
        ..Default::default()
    }
}

/// TLS with HTTP/3, on every address.
pub(crate) fn https(id: &str, port: u32, hostname: &str, certificate: &str) -> v1::Listener {
    v1::Listener {
        protocol: v1::Protocol::Https.into(),
        certificate_ids: vec![certificate.into()],
        http3: Some(v1::Http3::default()),
        ..http(id, port, hostname)
    }
}

/// On one listener, for any host name.
pub(crate) fn route(id: &str, listener: &str, rules: Vec<v1::Rule>) -> v1::Route {
    let attachment = v1::Attachment {
        listener_id: listener.into(),
        hostnames: vec!["*".into()],
    };
    v1::Route {
        id: id.into(),
        attachments: vec![attachment],
        rules,
        ..Default::default()
    }
}

/// Everything to one backend.
pub(crate) fn rule(backend: &str) -> v1::Rule {
    let backend = v1::BackendRef {
        backend_id: backend.into(),
        weight: 1,
        ..Default::default()
    };
    v1::Rule {
        backends: vec![backend],
        ..Default::default()
    }
}

/// HTTPS and HTTP/3 on 8443 and HTTP on 8080, one route and one backend.
pub(crate) fn snapshot() -> v1::Snapshot {
    v1::Snapshot {
        version: "1".into(),
        listeners: vec![
            https("default/edge/https", 8443, "", "default/site"),
            http("default/edge/http", 8080, ""),
        ],
        certificates: vec![certificate("default/site", "example.com")],
        routes: vec![route(
            "HTTPRoute/default/shop",
            "default/edge/https",
            vec![rule("default/shop:80")],
        )],
        backends: vec![v1::Backend {
            id: "default/shop:80".into(),
            ..Default::default()
        }],
        keys: Some(keys()),
    }
}
