//! What of an object's status is to be another. Pure.
//!
//! Conditions keep the time of their last change where they say the same. What is not
//! Tidegate's stays: conditions of other types, entries of other controllers. Entries of
//! Tidegate's for parents that are gone leave.

use k8s_openapi::jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};

use crate::{
    gateway_api::{GROUP, GatewayAddress, ParentReference, RouteGroupKind},
    status::{Condition, ObjectStatus, Observed, Scope, programmed::AWAITED, supported_features},
};

/// The fields of `status` to write, or none where all is as it should be. `desired` has
/// every part of the object's status.
pub(super) fn patch(
    kind: &str,
    observed: &Observed,
    desired: &[&ObjectStatus],
    controller: &str,
    now: Timestamp,
) -> Option<Value> {
    let judged = desired.iter().flat_map(|status| &status.conditions);
    // What was judged is not what is there any more: a newer judgement is on its way.
    if judged
        .clone()
        .any(|condition| condition.observed_generation < observed.generation)
    {
        return None;
    }
    let merge = Merge {
        now: now
            .to_zoned(TimeZone::UTC)
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
        status: &observed.status,
        controller,
    };
    let wanted = match ENTRIES.iter().find(|(of, ..)| *of == kind) {
        Some((_, list, reference, most)) => Map::from_iter([(
            (*list).to_owned(),
            merge.entries(list, reference, *most, desired),
        )]),
        None if desired.is_empty() => return None,
        None => merge.object(kind, desired),
    };
    let mut different = wanted;
    different.retain(|field, value| *value != merge.has(field));
    (!different.is_empty()).then_some(Value::Object(different))
}

/// Whether the API server took all of a patch.
pub(super) fn took(status: &Value, asked: &Value) -> bool {
    let mut fields = asked.as_object().into_iter().flatten();
    fields.all(|(field, value)| same_or_empty(status.get(field), value))
}

/// Whether two patches ask for the same, whenever they were made.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let keys = |fields: &Map<String, Value>| {
                let keys = fields.keys().filter(|key| *key != TIME);
                keys.cloned().collect::<std::collections::BTreeSet<_>>()
            };
            keys(one) == keys(other) && keys(one).iter().all(|key| same(&one[key], &other[key]))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (one, other) => one == other,
    }
}

fn same_or_empty(has: Option<&Value>, wanted: &Value) -> bool {
    match has {
        Some(has) => has == wanted,
        None => is_empty(wanted),
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// Kinds whose status is a list with an entry for each parent: the list, the entry's
/// reference, and how many the API server takes.
const ENTRIES: [(&str, &str, &str, usize); 5] = [
    ("HTTPRoute", "parents", "parentRef", 32),
    ("GRPCRoute", "parents", "parentRef", 32),
    ("BackendTLSPolicy", "ancestors", "ancestorRef", 16),
    ("QUICPolicy", "ancestors", "ancestorRef", 16),
    ("TLSRoute", "parents", "parentRef", 32),
];

/// Types of conditions of whole objects that are Tidegate's to say, or to take back.
const OURS: [&str; 7] = [
    "Accepted",
    "Programmed",
    "ResolvedRefs",
    "Conflicted",
    "InsecureFrontendValidationMode",
    "OverlappingTLSConfig",
    "PartiallyInvalid",
];

const TIME: &str = "lastTransitionTime";
/// The longest message that the API server takes.
const LONGEST_MESSAGE: usize = 32_768;

struct Merge<'a> {
    now: String,
    status: &'a Value,
    controller: &'a str,
}

impl Merge<'_> {
    /// The field as it is; a list that is not there is as good as an empty one.
    fn has(&self, field: &str) -> Value {
        self.status
            .get(field)
            .cloned()
            .unwrap_or_else(|| match field {
                "attachedListenerSets" => Value::Null,
                _ => json!([]),
            })
    }

    fn list(&self, field: &str) -> &[Value] {
        self.status
            .get(field)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// Of GatewayClasses, Gateways and ListenerSets.
    fn object(&self, kind: &str, desired: &[&ObjectStatus]) -> Map<String, Value> {
        let mut wanted = Map::new();
        let mut listeners = Vec::new();
        for status in desired {
            match &status.scope {
                Scope::Object => {}
                Scope::Gateway {
                    addresses,
                    attached_listener_sets,
                } => {
                    let addresses = addresses.iter().map(address).collect();
                    wanted.insert("addresses".to_owned(), Value::Array(addresses));
                    let attached = attached_listener_sets.map_or(Value::Null, Value::from);
                    wanted.insert("attachedListenerSets".to_owned(), attached);
                }
                Scope::Listener {
                    name,
                    attached_routes,
                    supported_kinds,
                } => {
                    let before = self.list("listeners").iter();
                    let before = before.clone().find(|listener| listener["name"] == **name);
                    let before = before.map(|listener| &listener["conditions"]);
                    listeners.push(json!({
                        "name": name,
                        "attachedRoutes": attached_routes,
                        "supportedKinds": supported_kinds.iter().map(route_kind).collect::<Vec<_>>(),
                        "conditions": self.conditions(before, &status.conditions),
                    }));
                    continue;
                }
                Scope::Parent(_) => continue,
            }
            let ours = |condition: &&Value| {
                condition["type"]
                    .as_str()
                    .is_some_and(|type_| OURS.contains(&type_))
            };
            let mut conditions = self.conditions(self.status.get("conditions"), &status.conditions);
            let others = self
                .list("conditions")
                .iter()
                .filter(|condition| !ours(condition));
            conditions.extend(others.cloned());
            wanted.insert("conditions".to_owned(), Value::Array(conditions));
        }
        match kind {
            "Gateway" | "ListenerSet" => {
                wanted.insert("listeners".to_owned(), Value::Array(listeners));
            }
            "GatewayClass" => {
                let features = supported_features();
                let features = features
                    .iter()
                    .map(|feature| json!({ "name": feature.name }));
                wanted.insert("supportedFeatures".to_owned(), features.collect());
            }
            _ => {}
        }
        wanted
    }

    /// Of routes and policies: the entries of others, then ours.
    fn entries(
        &self,
        list: &str,
        reference: &str,
        most: usize,
        desired: &[&ObjectStatus],
    ) -> Value {
        let is_ours = |entry: &&Value| entry["controllerName"] == *self.controller;
        let mut entries: Vec<_> = self
            .list(list)
            .iter()
            .filter(|entry| !is_ours(entry))
            .cloned()
            .collect();
        for status in desired {
            let Scope::Parent(parent) = &status.scope else {
                continue;
            };
            let parent = parent_reference(parent);
            let before = self.list(list).iter().filter(is_ours);
            let before = before.clone().find(|entry| entry[reference] == parent);
            let conditions =
                self.conditions(before.map(|entry| &entry["conditions"]), &status.conditions);
            let mut entry = json!({"controllerName": self.controller, "conditions": conditions});
            entry[reference] = parent;
            entries.push(entry);
        }
        entries.truncate(most);
        Value::Array(entries)
    }

    fn conditions(&self, before: Option<&Value>, conditions: &[Condition]) -> Vec<Value> {
        let before = before
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let written = conditions.iter().map(|condition| {
            if condition.message == AWAITED
                && let Some(programmed) = before.iter().find(|before| settled(before, condition))
            {
                return programmed.clone();
            }
            let status = condition.status.as_str();
            let unchanged = before
                .iter()
                .find(|before| before["type"] == condition.type_ && before["status"] == status);
            let since = unchanged.and_then(|before| before[TIME].as_str());
            json!({
                "type": condition.type_,
                "status": status,
                "reason": condition.reason,
                "message": cut(&condition.message),
                "observedGeneration": condition.observed_generation,
                TIME: since.unwrap_or(&self.now),
            })
        });
        written.collect()
    }
}

/// What was programmed stays so while dataplanes take what came after, unless its own spec
/// is another: each change of a route would flap it otherwise. A refusal is told at once.
fn settled(before: &Value, now: &Condition) -> bool {
    now.type_ == "Programmed"
        && before["type"] == "Programmed"
        && before["status"] == "True"
        && before["observedGeneration"] == now.observed_generation
}

fn cut(message: &str) -> &str {
    let mut end = message.len().min(LONGEST_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

/// With what the API server would fill in, so that it comes back as it was sent.
fn parent_reference(parent: &ParentReference) -> Value {
    let mut filled = parent.clone();
    filled.group.get_or_insert_with(|| GROUP.to_owned());
    filled.kind.get_or_insert_with(|| "Gateway".to_owned());
    serde_json::to_value(filled).unwrap_or_default()
}

fn route_kind(kind: &RouteGroupKind) -> Value {
    json!({"group": kind.group.as_deref().unwrap_or(GROUP), "kind": kind.kind})
}

fn address(address: &GatewayAddress) -> Value {
    json!({"type": address.type_.as_deref().unwrap_or("IPAddress"), "value": address.value})
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
