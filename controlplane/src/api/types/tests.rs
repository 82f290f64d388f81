use serde_json::{Value, json};
use tidegate_proto::v1;

use super::*;

fn json_of<W, T: FromWire<W> + serde::Serialize>(wire: W) -> Value {
    serde_json::to_value(T::from_wire(wire)).expect("these types serialize")
}

#[test]
fn an_ended_connection_keeps_the_words_of_the_protocol() {
    let shown = json_of::<_, Connection>(v1::Connection {
        id: "edge.0.17.3".into(),
        started_at_ms: 1_700_000_000_000,
        tls: Some(v1::TlsInfo {
            alpn: "h3".into(),
            ..Default::default()
        }),
        audit: Some(v1::AuditStats {
            closed_by: v1::ClosedBy::IdleTimeout.into(),
            sent_conn_close_application_error_code: Some(256),
            ..Default::default()
        }),
        ..Default::default()
    });
    assert_eq!(shown["started_at_ms"], json!(1_700_000_000_000_i64));
    assert_eq!(shown["tls"]["alpn"], "h3");
    assert_eq!(shown["audit"]["closed_by"], "idle_timeout");
    assert_eq!(
        shown["audit"]["sent_conn_close_application_error_code"],
        256
    );
    assert_eq!(
        shown["audit"]["recvd_conn_close_transport_error_code"],
        Value::Null
    );
    assert_eq!(shown["handshake"], Value::Null);
}

#[test]
fn an_enum_value_of_a_newer_peer_is_shown_as_unspecified() {
    let shown = json_of::<_, AuditStats>(v1::AuditStats {
        closed_by: 4711,
        ..Default::default()
    });
    assert_eq!(shown["closed_by"], "unspecified");
}

#[test]
fn the_configuration_shows_no_secret() {
    let shown = json_of::<_, Configuration>(v1::GetConfigResponse {
        snapshot: Some(v1::Snapshot {
            certificates: vec![v1::Certificate {
                id: "default/site".into(),
                chain_pem: "CHAIN".into(),
                private_key_pem: "SECRET".into(),
            }],
            keys: Some(v1::Keys {
                cid: vec![v1::Key {
                    id: 5,
                    material: "SECRET".into(),
                }],
                ..Default::default()
            }),
            ..Default::default()
        }),
        endpoints: vec![],
    });
    assert_eq!(shown["snapshot"]["certificates"][0]["chain_pem"], "CHAIN");
    assert_eq!(shown["snapshot"]["keys"]["cid"], json!([{ "id": 5 }]));
    assert!(!shown.to_string().contains("SECRET"));
}

#[test]
fn alternatives_are_objects_with_one_field() {
    let shown = json_of::<_, Rule>(v1::Rule {
        matches: vec![v1::Match {
            path: Some(v1::PathMatch {
                kind: Some(v1::path_match::Kind::Exact("/a".into())),
            }),
            ..Default::default()
        }],
        filters: vec![v1::Filter {
            kind: Some(v1::filter::Kind::Rewrite(v1::UrlRewrite {
                hostname: String::new(),
                path: Some(v1::PathModifier {
                    kind: Some(v1::path_modifier::Kind::ReplacePrefix("/b".into())),
                }),
            })),
        }],
        ..Default::default()
    });
    assert_eq!(shown["matches"][0]["path"], json!({ "exact": "/a" }));
    assert_eq!(
        shown["filters"][0],
        json!({ "rewrite": { "hostname": "", "path": { "replace_prefix": "/b" } } })
    );
}

#[test]
fn what_is_written_can_be_read_back() {
    let written = Dataplane::from_wire(v1::Dataplane {
        hello: Some(v1::Hello {
            dataplane_id: "edge".into(),
            shards: 2,
            ..Default::default()
        }),
        nack: Some(v1::Nack {
            version: "abc".into(),
            rejections: vec![v1::Rejection {
                field: "port".into(),
                ..Default::default()
            }],
        }),
        ..Default::default()
    });
    let text = serde_json::to_string(&written).unwrap();
    assert_eq!(serde_json::from_str::<Dataplane>(&text).unwrap(), written);
}

#[test]
fn a_close_without_a_body_is_an_application_close() {
    let behaviour: CloseBehaviour = serde_json::from_str("{}").unwrap();
    assert!(behaviour.send_application_close);
    assert_eq!(behaviour.error_code, None);
    assert!(
        serde_json::from_str::<CloseBehaviour>(r#"{"code":1}"#).is_err(),
        "unknown field"
    );
}
