//! Golden pairs: `testdata/*.in.yaml` are resources as a user writes them, and the
//! `*.out.yaml` beside them the snapshot of all Gateways, the endpoints and the statuses.
//! `UPDATE_GOLDEN=1` writes the latter anew; read the difference before committing it.

use std::{collections::BTreeMap, env, fs, path::Path};

use serde_json::{Map, Value, json};
use tidegate_proto::v1;

use super::{Infrastructure, Options, Translation, translate};
use crate::{
    api::types::{Endpoints, FromWire, Snapshot},
    resources::ObjectKey,
    source::files,
    status::{Condition, ObjectStatus, Scope},
};

#[test]
fn translations_are_as_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/translate/testdata");
    let update = env::var_os("UPDATE_GOLDEN").is_some();
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("the folder is part of the crate")
        .filter_map(|entry| {
            entry
                .ok()?
                .file_name()
                .to_str()?
                .strip_suffix(".in.yaml")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    assert!(
        names.len() >= 15,
        "only {} pairs in {}",
        names.len(),
        folder.display()
    );
    let mut wrong = Vec::new();
    for name in &names {
        let text = fs::read_to_string(folder.join(format!("{name}.in.yaml"))).expect("readable");
        let outcome = shown(&text);
        let path = folder.join(format!("{name}.out.yaml"));
        if update {
            fs::write(&path, &outcome).expect("writable");
        } else if fs::read_to_string(&path).ok().as_deref() != Some(&outcome) {
            wrong.push(format!("--- {name} gives ---\n{outcome}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "UPDATE_GOLDEN=1 accepts this:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn replicas_agree_whatever_the_order_of_objects() {
    let text = include_str!("testdata/precedence.in.yaml");
    let mut documents: Vec<_> = text.split("\n---\n").collect();
    let options = Options::default();
    let forward = translate(
        &files::parse("a", &documents.join("\n---\n")).expect("valid"),
        &options,
    );
    documents.reverse();
    let backward = translate(
        &files::parse("a", &documents.join("\n---\n")).expect("valid"),
        &options,
    );
    assert_eq!(forward, backward);
}

#[test]
fn each_gateway_has_a_snapshot_of_its_own() {
    let text = include_str!("testdata/two_gateways.in.yaml");
    let translation = translate(
        &files::parse("a", text).expect("valid"),
        &Options::default(),
    );
    let listeners = |name: &str| {
        let ids = translation.snapshots[name]
            .listeners
            .iter()
            .map(|listener| listener.id.clone());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(listeners("default/older"), ["default/older/web"]);
    assert_eq!(
        listeners("default/younger"),
        ["default/younger/other", "default/younger/web"]
    );
    assert_eq!(
        listeners(""),
        ["default/older/web", "default/younger/other"]
    );
    assert_eq!(
        translation.shadowed.keys().collect::<Vec<_>>(),
        ["default/younger/web"]
    );
}

#[test]
fn the_version_follows_the_content_and_nothing_else() {
    let text = include_str!("testdata/precedence.in.yaml");
    let version = |text: &str, options: &Options| {
        let translation = translate(&files::parse("a", text).expect("valid"), options);
        translation.snapshots[""].version.clone()
    };
    let options = Options::default();
    let before = version(text, &options);
    assert_eq!(before.len(), 64);
    assert_eq!(before, version(text, &options));
    // Endpoints are told apart from the snapshot.
    assert_eq!(
        before,
        version(&text.replace("192.0.2.1", "192.0.2.9"), &options)
    );
    assert_ne!(before, version(&text.replace("/exact", "/other"), &options));
    let key = v1::Key {
        id: 1,
        material: "secret".into(),
    };
    let rotated = Options {
        keys: v1::Keys {
            cid: vec![key],
            ..Default::default()
        },
        ..options
    };
    assert_ne!(before, version(text, &rotated));
}

#[test]
fn a_listener_tells_that_newer_content_of_its_certificate_is_refused() {
    let text = include_str!("testdata/simple.in.yaml");
    let mut resources = files::parse("a", text).expect("valid");
    let before = translate(&resources, &Options::default());
    resources.hold_back(
        "Secret",
        &ObjectKey::new("default", "site"),
        "its key is another".to_owned(),
    );
    let after = translate(&resources, &Options::default());
    assert_eq!(after.snapshots, before.snapshots);
    let told = after
        .statuses
        .iter()
        .filter_map(|status| status.condition("ResolvedRefs"))
        .any(|condition| {
            condition.status.as_str() == "False"
                && condition.reason == "InvalidCertificateRef"
                && condition
                    .message
                    .contains("default/site is refused: its key is another")
        });
    assert!(told, "{:?}", after.statuses);
}

fn shown(text: &str) -> String {
    let resources = match files::parse("in.yaml", text) {
        Ok(resources) => resources,
        Err(problems) => panic!("the input is refused: {problems:?}"),
    };
    let Translation {
        mut snapshots,
        endpoints,
        statuses,
        shadowed,
        infrastructures,
        ..
    } = translate(&resources, &Options::default());
    let snapshot = Snapshot::from_wire(snapshots.remove("").expect("always there"));
    let mut snapshot = serde_json::to_value(snapshot).expect("plain data");
    // The content is right here; its hash would only hide what changed.
    for hidden in ["version", "keys"] {
        snapshot.as_object_mut().expect("a struct").remove(hidden);
    }
    for certificate in snapshot["certificates"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        certificate["chain_pem"] = json!("(PEM)");
    }
    for (list, field) in [("backends", "tls"), ("listeners", "client_validation")] {
        for one in snapshot[list].as_array_mut().into_iter().flatten() {
            let pem = one[field]["ca_pem"].as_str();
            if pem.is_some_and(|pem| !pem.is_empty()) {
                one[field]["ca_pem"] = json!("(PEM)");
            }
        }
    }
    let endpoints: Vec<_> = endpoints.into_values().map(Endpoints::from_wire).collect();
    let statuses: Vec<_> = statuses.iter().map(status).collect();
    let mut whole = json!({
        "snapshot": snapshot,
        "endpoints": endpoints,
        "statuses": statuses,
        "shadowed": shadowed,
        "infrastructures": infrastructures.values().filter_map(infrastructure).collect::<Vec<_>>(),
    });
    prune(&mut whole);
    let whole = sorted(whole);
    serde_norway::to_string(&whole).expect("plain data")
}

/// Of a Gateway whose parameters, labels or addresses say something.
fn infrastructure(one: &Infrastructure) -> Option<Value> {
    let parameters = serde_json::to_value(&one.parameters).expect("plain data");
    let plain = is_empty(&parameters)
        && one.labels.is_empty()
        && one.annotations.is_empty()
        && one.addresses.is_empty();
    let ports: Vec<_> = one
        .ports
        .iter()
        .map(|port| format!("{} {:?}", port.number, port.transport))
        .collect();
    (!plain).then(|| {
        json!({
            "gateway": one.gateway.to_string(),
            "class": one.class,
            "ports": ports,
            "labels": one.labels,
            "annotations": one.annotations,
            "addresses": one.addresses,
            "parameters": parameters,
        })
    })
}

/// One line for each condition.
fn status(status: &ObjectStatus) -> Value {
    let conditions: Map<_, _> = status
        .conditions
        .iter()
        .map(|condition| {
            let Condition {
                status,
                reason,
                message,
                observed_generation,
                ..
            } = condition;
            let mut line = format!("{} {reason}", status.as_str());
            if *observed_generation != 1 {
                line.push_str(&format!(" of generation {observed_generation}"));
            }
            if !message.is_empty() {
                line.push_str(&format!("; {message}"));
            }
            (condition.type_.to_owned(), line.into())
        })
        .collect();
    let mut shown = json!({
        "object": format!("{} {}", status.kind, status.key),
        "scope": status.scope.to_string(),
        "conditions": conditions,
    });
    if let Scope::Gateway {
        attached_listener_sets: Some(sets),
        ..
    } = &status.scope
    {
        shown["attached_listener_sets"] = json!(sets);
    }
    if let Scope::Listener {
        attached_routes,
        supported_kinds,
        ..
    } = &status.scope
    {
        shown["attached_routes"] = json!(attached_routes);
        shown["supported_kinds"] = supported_kinds
            .iter()
            .map(|kind| json!(kind.kind))
            .collect();
    }
    shown
}

/// Whether maps keep the order of insertion depends on who else uses the JSON library.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> = fields.into_iter().collect();
            fields
                .into_iter()
                .map(|(name, value)| (name, sorted(value)))
                .collect()
        }
        plain => plain,
    }
}

/// Leaves out what is empty or the default, so that what is said stands out.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for field in fields.values_mut() {
                prune(field);
            }
            fields.retain(|name, field| {
                let telling = TELLING.contains(&name.as_str()) && !field.is_null();
                telling || !is_empty(field)
            });
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// Fields of which a zero, or an empty object, is not the default.
const TELLING: [&str; 5] = [
    "weight",
    "http3",
    "request_timeout_ms",
    "backend_request_timeout_ms",
    "attached_routes",
];

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty() || text == "unspecified",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}
