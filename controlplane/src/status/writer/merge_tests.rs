use super::*;
use crate::{resources::ObjectKey, status::ConditionStatus};

const US: &str = "tidegate.dev/gateway-controller";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn observed(generation: i64, status: Value) -> Observed {
    Observed {
        uid: "u".into(),
        resource_version: "1".into(),
        generation,
        status,
    }
}

fn status(kind: &'static str, scope: Scope, holds: bool, generation: i64) -> ObjectStatus {
    let condition = Condition::new(
        "Accepted",
        ConditionStatus::from(holds),
        "Accepted",
        "",
        generation,
    );
    ObjectStatus {
        kind,
        key: ObjectKey::new("web", "it"),
        source: String::new(),
        scope,
        conditions: vec![condition],
    }
}

fn parent(name: &str) -> Scope {
    Scope::Parent(ParentReference {
        name: name.into(),
        ..ParentReference::default()
    })
}

fn accepted(status: &str, generation: i64, second: &str) -> Value {
    json!({
        "type": "Accepted", "status": status, "reason": "Accepted", "message": "",
        "observedGeneration": generation, "lastTransitionTime": second,
    })
}

const BEGIN: &str = "1970-01-01T00:00:01Z";
const LATER: &str = "1970-01-01T00:01:00Z";

/// What the object has after the patch.
fn patched(observed: &Observed, patch: &Value) -> Value {
    let mut status = observed.status.clone();
    if status.is_null() {
        status = json!({});
    }
    for (field, value) in patch.as_object().unwrap() {
        match value {
            Value::Null => drop(status.as_object_mut().unwrap().remove(field)),
            value => status[field] = value.clone(),
        }
    }
    status
}

#[test]
fn a_status_is_written_once() {
    let route = status("HTTPRoute", parent("gate"), true, 2);
    let before = observed(2, Value::Null);
    let first = patch("HTTPRoute", &before, &[&route], US, at(1)).unwrap();
    assert_eq!(
        first,
        json!({"parents": [{
            "controllerName": US,
            "parentRef": {"group": GROUP, "kind": "Gateway", "name": "gate"},
            "conditions": [accepted("True", 2, BEGIN)],
        }]})
    );
    let after = observed(2, patched(&before, &first));
    assert_eq!(patch("HTTPRoute", &after, &[&route], US, at(60)), None);
    assert!(took(&after.status, &first));
}

#[test]
fn the_time_of_the_last_change_is_kept_while_the_status_is_the_same() {
    let has = |text, generation| json!({"conditions": [accepted(text, generation, BEGIN)]});
    let class = |holds, generation| status("GatewayClass", Scope::Object, holds, generation);
    let conditions = |has: Value, class: ObjectStatus| {
        patch("GatewayClass", &observed(1, has), &[&class], US, at(60)).unwrap()["conditions"]
            .clone()
    };
    assert_eq!(
        conditions(has("True", 1), class(true, 2)),
        json!([accepted("True", 2, BEGIN)])
    );
    assert_eq!(
        conditions(has("True", 1), class(false, 2)),
        json!([accepted("False", 2, LATER)])
    );
    // As the API server fills it in.
    assert_eq!(
        conditions(has("Unknown", 0), class(true, 1)),
        json!([accepted("True", 1, LATER)])
    );
}

#[test]
fn entries_and_conditions_of_others_stay() {
    let other = json!({
        "controllerName": "example.com/other", "parentRef": {"name": "theirs"}, "conditions": [], "news": 7,
    });
    let ours_gone = json!({"controllerName": US, "parentRef": {"name": "gone"}, "conditions": []});
    let before = observed(1, json!({"parents": [ours_gone, other]}));
    let route = status("HTTPRoute", parent("gate"), true, 1);
    let parents = patch("HTTPRoute", &before, &[&route], US, at(1)).unwrap()["parents"].clone();
    assert_eq!(parents[0], other);
    assert_eq!(parents[1]["parentRef"]["name"], "gate");
    assert_eq!(parents.as_array().unwrap().len(), 2);

    // None of ours is left: theirs alone remain, once.
    let none = patch("HTTPRoute", &before, &[], US, at(1)).unwrap();
    assert_eq!(none, json!({"parents": [other]}));
    let after = observed(1, patched(&before, &none));
    assert_eq!(patch("HTTPRoute", &after, &[], US, at(1)), None);

    let foreign = json!({"type": "example.com/Checked", "status": "True"});
    let before = observed(
        1,
        json!({"conditions": [{"type": "Programmed", "status": "Unknown"}, foreign]}),
    );
    let scope = Scope::Gateway {
        addresses: vec![],
        attached_listener_sets: None,
    };
    let gateway = status("Gateway", scope, true, 1);
    let written = patch("Gateway", &before, &[&gateway], US, at(1)).unwrap();
    assert_eq!(
        written["conditions"],
        json!([accepted("True", 1, BEGIN), foreign]),
        "what is ours and not said any more leaves"
    );
}

#[test]
fn objects_of_other_controllers_are_left_alone() {
    let theirs = observed(1, json!({"conditions": [accepted("True", 1, BEGIN)]}));
    for kind in [
        "GatewayClass",
        "Gateway",
        "ListenerSet",
        "HTTPRoute",
        "BackendTLSPolicy",
    ] {
        assert_eq!(patch(kind, &theirs, &[], US, at(1)), None, "{kind}");
    }
}

#[test]
fn a_judgement_of_an_older_generation_is_not_written() {
    let class = status("GatewayClass", Scope::Object, true, 1);
    assert_eq!(
        patch(
            "GatewayClass",
            &observed(2, Value::Null),
            &[&class],
            US,
            at(1)
        ),
        None
    );
}

#[test]
fn a_gateway_has_addresses_and_its_listeners_in_order() {
    let listener = |name: &str, attached_routes| {
        let scope = Scope::Listener {
            name: name.into(),
            attached_routes,
            supported_kinds: vec![RouteGroupKind {
                group: None,
                kind: "HTTPRoute".into(),
            }],
        };
        status("Gateway", scope, true, 1)
    };
    let scope = Scope::Gateway {
        addresses: vec![GatewayAddress {
            type_: None,
            value: "192.0.2.1".into(),
        }],
        attached_listener_sets: Some(2),
    };
    let parts = [
        status("Gateway", scope, true, 1),
        listener("web", 3),
        listener("api", 0),
    ];
    let parts: Vec<_> = parts.iter().collect();
    let before = observed(
        1,
        json!({"listeners": [
            {"name": "api", "attachedRoutes": 9, "supportedKinds": [], "conditions": [accepted("True", 0, BEGIN)]},
            {"name": "old", "attachedRoutes": 0, "supportedKinds": [], "conditions": []},
        ]}),
    );
    let written = patch("Gateway", &before, &parts, US, at(60)).unwrap();
    assert_eq!(
        written["addresses"],
        json!([{"type": "IPAddress", "value": "192.0.2.1"}])
    );
    assert_eq!(written["attachedListenerSets"], 2);
    assert_eq!(
        written["listeners"],
        json!([
            {"name": "web", "attachedRoutes": 3, "supportedKinds": [{"group": GROUP, "kind": "HTTPRoute"}],
                "conditions": [accepted("True", 1, LATER)]},
            {"name": "api", "attachedRoutes": 0, "supportedKinds": [{"group": GROUP, "kind": "HTTPRoute"}],
                "conditions": [accepted("True", 1, BEGIN)]},
        ])
    );
    let after = observed(1, patched(&before, &written));
    assert_eq!(patch("Gateway", &after, &parts, US, at(90)), None);
}

#[test]
fn what_the_api_server_does_not_take_is_noticed_whatever_the_time() {
    let asked = json!({"conditions": [accepted("True", 1, BEGIN)], "news": 1});
    assert!(!took(
        &json!({"conditions": [accepted("True", 1, BEGIN)]}),
        &asked
    ));
    let again = json!({"conditions": [accepted("True", 1, LATER)], "news": 1});
    assert!(same(&asked, &again));
    assert!(!same(
        &asked,
        &json!({"conditions": [accepted("False", 1, LATER)], "news": 1})
    ));
}

#[test]
fn a_message_is_cut_between_characters_to_what_the_api_server_takes() {
    let long = "é".repeat(LONGEST_MESSAGE);
    assert_eq!(cut(&long).len(), LONGEST_MESSAGE);
    let odd = format!("x{long}");
    assert_eq!(cut(&odd).len(), LONGEST_MESSAGE - 1);
}

#[test]
fn what_was_programmed_stays_so_until_its_spec_is_another_or_a_dataplane_refuses() {
    let programmed = |holds: bool, message: &str, generation| {
        let reason = if holds { "Programmed" } else { "Pending" };
        let condition = Condition::new("Programmed", holds.into(), reason, message, generation);
        ObjectStatus {
            conditions: vec![condition],
            ..status("ListenerSet", Scope::Object, holds, generation)
        }
    };
    let none = observed(1, Value::Null);
    let good = programmed(true, "", 1);
    let written = patch("ListenerSet", &none, &[&good], US, at(1)).unwrap();
    let before = observed(1, patched(&none, &written));
    let awaited = programmed(false, AWAITED, 1);
    assert_eq!(patch("ListenerSet", &before, &[&awaited], US, at(60)), None);
    for other in [
        programmed(false, AWAITED, 2),
        programmed(false, "refused", 1),
    ] {
        let written = patch("ListenerSet", &before, &[&other], US, at(60)).unwrap();
        assert_eq!(written["conditions"][0]["status"], "False");
    }
}
