//! Where the corpora begin: real bytes, and the cases that unit tests name.
//!
//! `cargo run -p tidegate-fuzz --example seeds` writes them.

use std::{fs, net::SocketAddr, path::Path};

use boring::{
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::PKey,
    x509::X509ReqBuilder,
};
use prost::Message as _;
use quiche::{ConnectionId, h3};
use serde_json::Value;
use tidegate_controlplane::{
    fuzzing,
    translate::{Options, translate},
};
use tidegate_proto::v1::{self, session_down};

use crate::{ech, frames, listener, parameters, quic, relay, response};

/// An input: its target, a name for it, and the bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// Every seed, made anew.
pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    of_resources(&mut seeds);
    of_certificates(&mut seeds);
    of_clients(&mut seeds);
    of_texts(&mut seeds);
    seeds
}

/// The golden pairs of `translate`, as files, as an API server's objects, and as snapshots.
fn of_resources(seeds: &mut Vec<Seed>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = root.join("controlplane/src/translate/testdata");
    for entry in fs::read_dir(folder).expect("the golden pairs").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".in.yaml") else {
            continue;
        };
        let text = fs::read_to_string(entry.path()).expect("a golden file");
        let how = u8::from(fuzzing::file(&text, true).is_err());
        seeds.push((
            "documents",
            name.to_owned(),
            [&[how], text.as_bytes()].concat(),
        ));
        let documents = serde_norway::Deserializer::from_str(&text);
        let objects: Vec<Value> = documents
            .filter_map(|document| serde::Deserialize::deserialize(document).ok())
            .collect();
        let objects = serde_json::to_vec(&objects).expect("plain data");
        seeds.push(("objects", name.to_owned(), objects));
        let Ok(resources) = fuzzing::file(&text, false) else {
            continue;
        };
        let snapshots = translate(&resources, &Options::default()).snapshots;
        let Some(mut snapshot) = snapshots.get("").cloned() else {
            continue;
        };
        snapshot.keys = None;
        for (index, rule) in snapshot
            .routes
            .iter()
            .flat_map(|route| &route.rules)
            .enumerate()
        {
            if !rule.filters.is_empty() {
                let mut input = pascal(&[b"/a/b?c=d", b"https://a.example", b"/a"]);
                input.push(0);
                input.extend(rule.encode_to_vec());
                seeds.push(("filters", format!("{name}-{index}"), input));
            }
        }
        seeds.push(("snapshot", name.to_owned(), snapshot.encode_to_vec()));
        if name == "simple" {
            let down = v1::SessionDown {
                message: Some(session_down::Message::Snapshot(snapshot)),
                as_of_ms: 7,
            };
            seeds.push(("messages", "down".into(), down.encode_to_vec()));
        }
    }
    let connection = v1::Connection {
        id: "edge.0.1.2".into(),
        peer_address: "192.0.2.7:50000".into(),
        tls: Some(v1::TlsInfo::default()),
        stats: Some(v1::SocketStats::default()),
        audit: Some(v1::AuditStats::default()),
        handshake: Some(v1::HandshakeInfo::default()),
        ..Default::default()
    };
    let report = v1::ReportBatch {
        dataplane_id: "edge".into(),
        records: vec![v1::Record {
            sequence: 1,
            kind: Some(v1::record::Kind::Closed(connection)),
        }],
        ..Default::default()
    };
    seeds.push(("messages", "report".into(), report.encode_to_vec()));
    let hello = v1::SessionUp {
        message: Some(v1::session_up::Message::Hello(v1::Hello {
            dataplane_id: "edge".into(),
            ..Default::default()
        })),
    };
    seeds.push(("messages", "hello".into(), hello.encode_to_vec()));
}

fn of_certificates(seeds: &mut Vec<Seed>) {
    let (chain, key) = quic::identity();
    let chain = chain.to_pem().expect("PEM");
    let pem = key.private_key_to_pem_pkcs8().expect("PEM");
    seeds.push((
        "pem",
        "pair".into(),
        [&chain[..], b"\n\n\n\n", &pem].concat(),
    ));
    seeds.push(("pem", "chain".into(), [&chain[..], &chain].concat()));
    seeds.push(("pem", "key".into(), pem));
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("P-256");
    let key = EcKey::generate(&group)
        .and_then(PKey::from_ec_key)
        .expect("a key");
    let mut request = X509ReqBuilder::new().expect("a request");
    request.set_pubkey(&key).expect("a key");
    request
        .sign(&key, MessageDigest::sha256())
        .expect("a signature");
    let request = request.build().to_der().expect("DER");
    for gateway in [2, 5] {
        let input = [&[gateway, 0][..], &request[..]].concat();
        seeds.push(("enroll", format!("request-{gateway}"), input));
    }
    seeds.push(("enroll", "garbage".into(), vec![0, 1, 0x30, 0x82]));
}

/// What a client of quiche sends.
fn of_clients(seeds: &mut Vec<Seed>) {
    let mut config = quic::client_config(b"fuzz");
    config.set_max_send_udp_payload_size(1200);
    let mut room = [0; 1500];
    let (len, _) = connect(&mut config)
        .send(&mut room)
        .expect("a client begins");
    seeds.push(("demux", "initial".into(), room[..len].to_vec()));
    let mut unknown = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 1, 1, 1, 1, 1, 1, 1, 0];
    unknown.resize(1200, 0);
    seeds.push(("demux", "version".into(), unknown));
    seeds.push((
        "demux",
        "short".into(),
        [&[0x40, 0x30][..], &[7; 60][..]].concat(),
    ));
    seeds.push((
        "relay",
        "frame".into(),
        [&[1, 0, 0, 0, 1][..], &[7; 100][..]].concat(),
    ));
    seeds.push(("relay", "long".into(), vec![1; 1300]));
    seeds.push(("relay", "short".into(), vec![1; 54]));
    for (name, frame) in relay::seeds() {
        seeds.push(("relay", name.into(), frame));
    }
    for (name, keys) in ech::seeds() {
        seeds.push(("ech", name.into(), keys));
    }
    for (name, scene) in listener::seeds::all() {
        seeds.push(("listener", name.into(), scene));
    }
    for (name, play) in frames::seeds::all() {
        seeds.push(("frames", name.into(), play));
    }
    for (name, response) in response::seeds() {
        seeds.push(("response", name.into(), response));
    }
    for (name, parameters) in parameters::seeds() {
        seeds.push(("parameters", name, parameters));
    }
    for (name, streams) in [("get", false), ("post", true)] {
        seeds.push(("http3", name.into(), http3_client(streams)));
    }
    seeds.push((
        "http3",
        "reset".into(),
        vec![0x20, 3, 1, 4, 0, 0x18, 0x00, 0x18, 0x18],
    ));
}

fn connect(config: &mut quiche::Config) -> quiche::Connection {
    let (at, from): (SocketAddr, SocketAddr) = (
        ([127, 0, 0, 1], 443).into(),
        ([127, 0, 0, 1], 50_000).into(),
    );
    let scid = ConnectionId::from_ref(&[0; 8]);
    quiche::connect(Some("a.example"), &scid, from, at, config).expect("a client")
}

/// The streams that quiche's HTTP/3 writes for a request.
fn http3_client(content: bool) -> Vec<u8> {
    let mut pair = crate::http3::Pair::established();
    let settings = h3::Config::new().expect("plain settings");
    let mut client = h3::Connection::with_transport(&mut pair.client, &settings).expect("HTTP/3");
    let head = |method: &[u8]| {
        [
            h3::Header::new(b":method", method),
            h3::Header::new(b":scheme", b"https"),
            h3::Header::new(b":authority", b"a.example"),
            h3::Header::new(b":path", b"/a/b?c=d"),
            h3::Header::new(b"user-agent", b"fuzz"),
            h3::Header::new(b"content-length", b"5"),
        ]
    };
    let list = if content {
        &head(b"POST")[..]
    } else {
        &head(b"GET")[..5]
    };
    let id = client
        .send_request(&mut pair.client, list, !content)
        .expect("a stream");
    if content {
        client
            .send_body(&mut pair.client, id, b"12345", true)
            .expect("there is room");
    }
    pair.exchange();
    let mut acts = Vec::new();
    let mut ids: Vec<u64> = pair.server.readable().collect();
    ids.sort_by_key(|id| (id % 4 != 2, *id));
    for id in ids {
        let mut room = [0; 4096];
        while let Ok((len, fin)) = pair.server.stream_recv(id, &mut room) {
            let Some(index) = crate::http3::STREAMS.iter().position(|known| *known == id) else {
                continue;
            };
            for piece in room[..len].chunks(255) {
                acts.extend([0x20 | index as u8 | u8::from(fin) << 7, piece.len() as u8]);
                acts.extend_from_slice(piece);
            }
        }
    }
    acts.push(0x18);
    acts
}

fn of_texts(seeds: &mut Vec<Seed>) {
    let paths = [
        "/",
        "/a/b",
        "/%61//b/../c",
        "/a/%2e%2e/b",
        "/caf%c3%a9",
        "/a;b/..;c",
        "/a%2Fb",
        "/\u{e9}",
        "*",
        "/.%2e/",
        "/a/./",
        "/%",
        "/%25%32%46",
    ];
    texts(seeds, "path", &paths);
    let names = [
        "192.0.2.0/24",
        "10.1.2.3",
        "2001:db8::1/127",
        "::ffff:192.0.2.7/120",
        "0.0.0.0/0",
        "::/0",
        "edge.eu-1.3.70000.9",
        "*.example.com",
        "A.Example.",
        "[2001:DB8::1]",
        "10.0.0.0/+8",
    ];
    texts(seeds, "selector", &names);
    let queries = [
        "server_name=a.example&peer=192.0.2.0/24&min_age_ms=5&limit=10&after=edge.0.1.2",
        "connection_id=edge.0.1.2&before=7&alpn=h3",
        r#"{"selector":{"server_name":"A.example","peer":"192.0.2.9/24","max_age_ms":7},"behaviour":{"code":256}}"#,
    ];
    texts(seeds, "admin", &queries);
    for (index, fields) in REQUESTS.iter().enumerate() {
        let mut input = Vec::new();
        for (name, value) in *fields {
            match crate::request::NAMES
                .iter()
                .position(|known| *known == name.as_bytes())
            {
                Some(known) => input.push(known as u8),
                None => {
                    input.push(255);
                    input.extend(pascal(&[name.as_bytes()]));
                }
            }
            input.extend(pascal(&[value.as_bytes()]));
        }
        for mode in 0..crate::request::VERSIONS.len() {
            let input = [&[mode as u8][..], &input].concat();
            seeds.push(("request", format!("{index}-{mode}"), input));
        }
    }
    for (name, step) in [("low", 3), ("middle", 37), ("high", 101)] {
        let bytes: Vec<u8> = (0..512_u32).map(|at| (at * step) as u8).collect();
        seeds.push(("routes", name.into(), bytes.clone()));
        seeds.push(("token", name.into(), bytes[..200].to_vec()));
    }
}

const REQUESTS: [&[(&str, &str)]; 7] = [
    &[
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a.example"),
        (":path", "/x?y=1"),
        ("accept", "*/*"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
    ],
    &[
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/%61//b/../c"),
        ("host", "a.example:443"),
        ("content-length", "5"),
        ("te", "trailers"),
        ("x-forwarded-for", "1.2.3.4"),
    ],
    &[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "[::1]:443"),
        (":path", "/ws"),
    ],
    &[
        (":method", "OPTIONS"),
        (":scheme", "https"),
        (":authority", "a.example"),
        (":path", "*"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a.example"),
        (":path", "/"),
        ("x-odd", "a\r\nb: c"),
        ("transfer-encoding", "chunked"),
        ("connection", "x-odd"),
        ("expect", "100-continue"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/ws"),
        ("host", "a.example"),
        ("connection", "upgrade, x-odd"),
        ("upgrade", "websocket"),
        ("x-odd", "1"),
    ],
    &[
        (":method", "PUT"),
        (":scheme", "https"),
        (":path", "/"),
        ("host", "a.example"),
        ("transfer-encoding", "Chunked"),
        ("trailer", "x-odd"),
    ],
];

fn texts(seeds: &mut Vec<Seed>, target: &'static str, texts: &[&str]) {
    for (index, text) in texts.iter().enumerate() {
        seeds.push((target, format!("{index}"), text.as_bytes().to_vec()));
    }
}

/// Each with its length before it.
fn pascal(parts: &[&[u8]]) -> Vec<u8> {
    let with_length = |part: &&[u8]| [&[part.len() as u8][..], *part].concat();
    parts.iter().flat_map(with_length).collect()
}
