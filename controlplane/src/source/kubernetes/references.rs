//! Which Secrets and ConfigMaps an object refers to.
//!
//! Found by the names that the Gateway API gives such fields, wherever they are in the
//! `spec`, so that a reference is fetched whether or not translation can use it. Whether it
//! is permitted is for translation to say.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::resources::ObjectKey;

/// Kind and key of what is referred to.
pub(super) type Reference = (&'static str, ObjectKey);

/// The references in `spec` of an object in `namespace`.
pub(super) fn of(spec: &Value, namespace: &str) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    walk(spec, namespace, &mut found);
    found
}

fn walk(value: &Value, namespace: &str, found: &mut BTreeSet<Reference>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let (ECH_OPTION, Some(secret)) = (name.as_str(), value.as_str()) {
                    found.insert(("Secret", ObjectKey::new(namespace, secret.trim())));
                } else if FIELDS.contains(&name.as_str()) {
                    let many = value
                        .as_array()
                        .map_or(std::slice::from_ref(value), Vec::as_slice);
                    found.extend(many.iter().filter_map(|one| reference(one, namespace)));
                } else {
                    walk(value, namespace, found);
                }
            }
        }
        Value::Array(values) => values
            .iter()
            .for_each(|value| walk(value, namespace, found)),
        _ => {}
    }
}

fn reference(value: &Value, namespace: &str) -> Option<Reference> {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let kind = match (
        text("group").unwrap_or_default(),
        text("kind").unwrap_or("Secret"),
    ) {
        ("", "Secret") => "Secret",
        ("", "ConfigMap") => "ConfigMap",
        _ => return None,
    };
    let name = text("name").filter(|name| !name.is_empty())?;
    Some((
        kind,
        ObjectKey::new(text("namespace").unwrap_or(namespace), name),
    ))
}

/// `listeners[].tls.certificateRefs`, `tls.backend.clientCertificateRef`, and the CAs of
/// `tls.frontend` and of BackendTLSPolicies.
const FIELDS: [&str; 3] = [
    "certificateRefs",
    "clientCertificateRef",
    "caCertificateRefs",
];

/// In `listeners[].tls.options`.
const ECH_OPTION: &str = "tidegate.dev/ech";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_and_config_maps_are_found_wherever_they_are_referred_to() {
        let spec = json!({
            "listeners": [
                {"tls": {"certificateRefs": [{"name": "site"}, {"name": "other", "namespace": "certs"}]}},
                {"tls": {"certificateRefs": [{"name": "x", "group": "example.com", "kind": "Vault"}]}},
                {"tls": {}},
                {"tls": {"options": {"tidegate.dev/ech": "hello", "tidegate.dev/http3": "on"}}},
            ],
            "tls": {
                "backend": {"clientCertificateRef": {"group": "", "kind": "Secret", "name": "client"}},
                "frontend": {"default": {"validation": {"caCertificateRefs": [
                    {"group": "", "kind": "ConfigMap", "name": "clients", "namespace": "trust"},
                    {"kind": "ConfigMap", "name": ""}, 7, null,
                ]}}},
            },
        });
        let found: Vec<_> = of(&spec, "default")
            .into_iter()
            .map(|(kind, key)| format!("{kind} {key}"))
            .collect();
        assert_eq!(
            found,
            [
                "ConfigMap trust/clients",
                "Secret certs/other",
                "Secret default/client",
                "Secret default/hello",
                "Secret default/site"
            ]
        );
    }
}
