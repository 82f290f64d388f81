//! One object of the API server's, read.

use std::collections::BTreeSet;

use kube::core::DynamicObject;
use serde_json::{Map, Value};

use super::{
    kind::{Kind, Undecodable},
    prune,
    references::{self, Reference},
};
use crate::{
    resources::{Object, ObjectKey},
    source::{Effect, Problem},
    status::Observed,
};

/// What is kept of an object.
pub(crate) struct Read {
    pub key: ObjectKey,
    pub object: Result<Object, Problem>,
    /// Where the status is ours to write.
    pub observed: Option<Observed>,
    pub references: BTreeSet<Reference>,
}

/// Decodes leniently, and drops what is not needed.
pub(crate) fn read(kind: &'static Kind, object: DynamicObject) -> Read {
    let DynamicObject { metadata, data, .. } = object;
    let key = ObjectKey::new(
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    );
    let mut fields = match data {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let mut observed = None;
    if kind.has_status {
        observed = Some(Observed {
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            status: fields.remove("status").unwrap_or_default(),
        });
    }
    let references = match fields.get("spec") {
        Some(spec) if kind.has_status => references::of(spec, &key.namespace),
        _ => BTreeSet::new(),
    };
    // The metadata is decoded already, and comes in below.
    fields.insert("metadata".to_owned(), Value::Object(Map::new()));
    let object = (kind.decode)(Value::Object(fields))
        .map(|mut object| {
            *object.metadata_mut() = prune::metadata(metadata);
            prune::object(&mut object);
            object
        })
        .map_err(|undecodable| problem(kind, &key, undecodable));
    Read {
        key,
        object,
        observed,
        references,
    }
}

fn problem(kind: &Kind, key: &ObjectKey, undecodable: Undecodable) -> Problem {
    let Undecodable { field, message } = undecodable;
    // What a Secret holds must not reach a log in an error's text.
    let message = match kind.name {
        "Secret" => "is not of the form that a Secret has".to_owned(),
        _ => message,
    };
    Problem {
        file: String::new(),
        document: 0,
        object: format!("{} {key}", kind.name),
        field,
        message,
        remedy: "correct the field".to_owned(),
        effect: Effect::ObjectIgnored,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_as(kind: &str, object: Value) -> Read {
        read(
            Kind::named(kind).unwrap(),
            serde_json::from_value(object).unwrap(),
        )
    }

    #[test]
    fn an_object_that_does_not_decode_is_a_problem_with_the_path_of_the_field() {
        let read = read_as(
            "HTTPRoute",
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"name": "odd", "namespace": "web"},
                "spec": {"rules": [{"backendRefs": [{"name": "a", "port": "eighty"}]}]},
            }),
        );
        let problem = read.object.err().unwrap();
        assert_eq!(problem.object, "HTTPRoute web/odd");
        assert_eq!(problem.field, "spec.rules[0].backendRefs[0].port");
    }

    #[test]
    fn an_error_does_not_quote_a_secret() {
        let read = read_as(
            "Secret",
            json!({"metadata": {"name": "s", "namespace": "web"}, "data": {"tls.key": "TOP SECRET!"}}),
        );
        let text = read.object.err().unwrap().to_string();
        assert!(
            text.contains("Secret web/s") && !text.contains("TOP"),
            "{text}"
        );
    }

    #[test]
    fn the_status_is_kept_apart_and_as_it_came() {
        let status = json!({"parents": [{"controllerName": "example.com/other", "new": 1}]});
        let read = read_as(
            "HTTPRoute",
            json!({
                "metadata": {"name": "r", "namespace": "web", "generation": 4, "resourceVersion": "9", "uid": "u"},
                "spec": {"hostnames": ["a.example"]}, "status": status,
            }),
        );
        let observed = read.observed.unwrap();
        assert_eq!((observed.status, observed.generation), (status, 4));
        assert_eq!(observed.resource_version, "9");
        let Ok(Object::HTTPRoute(route)) = read.object else {
            panic!()
        };
        assert!(route.status.is_none());
        assert_eq!(route.spec.hostnames, ["a.example"]);
        assert_eq!(route.metadata.generation, Some(4));
    }
}
