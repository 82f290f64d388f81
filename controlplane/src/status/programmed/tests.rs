use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::*;
use crate::{
    gateway_api::GatewayAddress,
    provision,
    resources::Object,
    source::files,
    translate::{Options, translate},
};

/// Two Gateways; the listener `web` of the younger is shadowed where one dataplane has all.
fn translation() -> Translation {
    let text = include_str!("../../translate/testdata/two_gateways.in.yaml");
    translate(
        &files::parse("a.yaml", text).expect("valid"),
        &Options::default(),
    )
}

fn acked(by: &str) -> Acknowledgement {
    Acknowledgement {
        acked: BTreeSet::from([by.to_owned()]),
        ..Default::default()
    }
}

fn nacked(by: &str, object: &str) -> Acknowledgement {
    let rejection = v1::Rejection {
        object: object.to_owned(),
        field: "port".to_owned(),
        message: "is in use; free it".to_owned(),
    };
    Acknowledgement {
        nacked: BTreeMap::from([(by.to_owned(), vec![rejection])]),
        ..Default::default()
    }
}

/// `status reason` of `Programmed` by object and scope, for the answers to the snapshots
/// of these Gateways.
fn told(answers: &[(&str, Acknowledgement)]) -> BTreeMap<String, String> {
    let translation = translation();
    let by_version = answers.iter().map(|(gateway, answer)| {
        (
            translation.snapshots[*gateway].version.clone(),
            answer.clone(),
        )
    });
    programmed(&translation, &by_version.collect())
        .iter()
        .filter_map(|status| {
            let condition = status.condition("Programmed")?;
            let name = format!("{} {}", status.key, status.scope);
            let verdict = format!("{} {}", condition.status.as_str(), condition.reason);
            Some((name.trim().to_owned(), verdict))
        })
        .collect()
}

fn expect(told: &BTreeMap<String, String>, expected: [(&str, &str); 5]) {
    let expected = expected.map(|(name, verdict)| (name.to_owned(), verdict.to_owned()));
    assert_eq!(*told, BTreeMap::from(expected));
}

#[test]
fn nothing_is_programmed_before_a_dataplane_says_so() {
    let told = told(&[]);
    expect(
        &told,
        [
            ("default/older", "False Pending"),
            ("default/older web", "False Pending"),
            ("default/younger", "False Pending"),
            ("default/younger other", "False Pending"),
            ("default/younger web", "False Pending"),
        ],
    );
}

#[test]
fn a_dataplane_of_all_gateways_programs_what_its_snapshot_has() {
    let told = told(&[("", acked("edge"))]);
    expect(
        &told,
        [
            ("default/older", "True Programmed"),
            ("default/older web", "True Programmed"),
            ("default/younger", "True Programmed"),
            ("default/younger other", "True Programmed"),
            ("default/younger web", "False Invalid"),
        ],
    );
}

#[test]
fn a_dataplane_of_its_own_programs_a_gateway_whole() {
    let told = told(&[("default/younger", acked("edge"))]);
    expect(
        &told,
        [
            ("default/older", "False Pending"),
            ("default/older web", "False Pending"),
            ("default/younger", "True Programmed"),
            ("default/younger other", "True Programmed"),
            ("default/younger web", "True Programmed"),
        ],
    );
}

#[test]
fn a_refusal_is_told_where_it_belongs() {
    let told = told(&[("", nacked("edge", "default/older/web"))]);
    expect(
        &told,
        [
            ("default/older", "False Invalid"),
            ("default/older web", "False Invalid"),
            ("default/younger", "False Pending"),
            ("default/younger other", "False Pending"),
            ("default/younger web", "False Invalid"),
        ],
    );
}

#[test]
fn one_refusal_outweighs_another_dataplanes_yes() {
    let mixed = Acknowledgement {
        acked: acked("one").acked,
        ..nacked("two", "default/older/web")
    };
    let told = told(&[("default/older", mixed)]);
    assert_eq!(told["default/older web"], "False Invalid");
}

#[test]
fn the_message_names_dataplane_object_field_and_remedy() {
    let translation = translation();
    let version = translation.snapshots[""].version.clone();
    let answers = BTreeMap::from([(version, nacked("edge-1", "default/older/web"))]);
    let statuses = programmed(&translation, &answers);
    let of_listener = |status: &&ObjectStatus| {
        status.key.name == "older" && matches!(status.scope, Scope::Listener { .. })
    };
    let listener = statuses.iter().find(of_listener).expect("there is one");
    let message = &listener.condition("Programmed").expect("told").message;
    for part in ["edge-1", "default/older/web", "port", "is in use; free it"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn an_answer_to_an_older_version_says_nothing() {
    let answers = BTreeMap::from([("0".repeat(64), acked("edge"))]);
    let statuses = programmed(&translation(), &answers);
    let all_pending = statuses
        .iter()
        .filter_map(|status| status.condition("Programmed"))
        .all(|condition| condition.status == ConditionStatus::False);
    assert!(all_pending);
}

/// `Programmed` of a Gateway that asks for these addresses, and the addresses that it is
/// told to have; its Service has this type and status, and a dataplane serves it.
fn reached(asked: &str, type_: &str, status: &Value) -> (String, Vec<String>) {
    let text = include_str!("../../translate/testdata/two_gateways.in.yaml");
    let text = text.replacen(
        "  listeners:",
        &format!("  addresses: {asked}\n  listeners:"),
        2,
    );
    let mut resources = files::parse("a.yaml", &text).expect("valid");
    let service: Service = serde_json::from_value(json!({
        "metadata": {
            "namespace": "default",
            "name": provision::name("older", "tidegate"),
            "labels": {
                provision::GATEWAY_NAME: "older",
                provision::MANAGED_BY: provision::MANAGER,
            },
        },
        "spec": {"type": type_, "clusterIP": "10.0.0.7"},
        "status": status,
    }))
    .expect("a Service");
    resources.insert(Object::Service(Box::new(service)), "");
    let options = Options {
        provisioned: true,
        ..Options::default()
    };
    let translation = translate(&resources, &options);
    let version = translation.snapshots["default/older"].version.clone();
    let statuses = programmed(&translation, &BTreeMap::from([(version, acked("pod"))]));
    let of_older = statuses.iter().find_map(|status| match &status.scope {
        Scope::Gateway { addresses, .. } if status.key.name == "older" => Some((status, addresses)),
        _ => None,
    });
    let (status, addresses) = of_older.expect("it is Tidegate's");
    let listener = statuses
        .iter()
        .find(|listener| listener.key == status.key && listener.scope.to_string() == "web");
    let of_listener = listener.and_then(|listener| listener.condition("Programmed"));
    assert_eq!(
        of_listener.map(|one| one.reason),
        Some("Programmed"),
        "whatever the address"
    );
    let condition = status.condition("Programmed").expect("always there");
    let value = |address: &GatewayAddress| address.value.clone();
    (
        format!("{} {}", condition.status.as_str(), condition.reason),
        addresses.iter().map(value).collect(),
    )
}

#[test]
fn a_gateway_is_programmed_once_it_has_the_address_that_it_asks_for() {
    let none = json!({});
    let balanced = |ip: &str| json!({"loadBalancer": {"ingress": [{"ip": ip}]}});
    let host = json!({"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}});
    let one = "[{value: 192.0.2.1}]";
    let two = "[{value: 192.0.2.1}, {value: 192.0.2.2}]";
    for (asked, type_, status, verdict, addresses) in [
        (
            "[]",
            "LoadBalancer",
            &none,
            "False AddressNotAssigned",
            &[][..],
        ),
        (
            "[]",
            "LoadBalancer",
            &balanced("192.0.2.9"),
            "True Programmed",
            &["192.0.2.9"],
        ),
        (
            "[]",
            "LoadBalancer",
            &host,
            "True Programmed",
            &["lb.example.com"],
        ),
        (
            "[{type: IPAddress}]",
            "LoadBalancer",
            &balanced("192.0.2.9"),
            "True Programmed",
            &["192.0.2.9"],
        ),
        ("[]", "ClusterIP", &none, "True Programmed", &["10.0.0.7"]),
        (one, "LoadBalancer", &none, "False AddressNotAssigned", &[]),
        (
            one,
            "LoadBalancer",
            &balanced("192.0.2.1"),
            "True Programmed",
            &["192.0.2.1"],
        ),
        (
            one,
            "LoadBalancer",
            &balanced("192.0.2.9"),
            "False AddressNotUsable",
            &[],
        ),
        (one, "NodePort", &none, "True Programmed", &["192.0.2.1"]),
        (two, "LoadBalancer", &none, "False AddressNotUsable", &[]),
        (
            two,
            "LoadBalancer",
            &balanced("192.0.2.2"),
            "False AddressNotUsable",
            &["192.0.2.2"],
        ),
    ] {
        let (told, has) = reached(asked, type_, status);
        assert_eq!(
            (told.as_str(), has),
            (verdict, addresses.iter().map(ToString::to_string).collect()),
            "{asked} {type_} {status}"
        );
    }
}
