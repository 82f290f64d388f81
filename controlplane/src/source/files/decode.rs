//! One YAML value, made into an object of the kind that it names.

use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp,
};
use serde::de::DeserializeOwned;
use serde_norway::{Mapping, Value};

use super::{document::Schema, schema::Violation};
use crate::{
    ech::{self, EchKeys},
    gateway_api::GROUP,
    policy,
    resources::Object,
    translate::check_key_pair,
};

/// What a value turned out to be.
pub(super) enum Outcome {
    Object {
        object: Object,
        /// Paths of fields that no kind of Tidegate's has.
        unknown: Vec<String>,
    },
    /// A kind that is not for Tidegate.
    Foreign { name: String, message: String },
    /// Of its kind's form, with values that the kind's schema excludes.
    Unfit {
        name: String,
        violations: Vec<Violation>,
    },
    Broken {
        name: String,
        field: String,
        message: String,
        remedy: &'static str,
    },
}

/// Decodes a value, as `kubectl apply` and the API server would between them.
pub(super) fn object(value: Value, schema: Schema) -> Outcome {
    let Value::Mapping(mut mapping) = value else {
        return broken(
            "",
            "",
            "is no mapping".to_owned(),
            "write an object with apiVersion, kind and metadata",
        );
    };
    let text = |mapping: &Mapping, field: &str| {
        mapping
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (version, kind) = (text(&mapping, "apiVersion"), text(&mapping, "kind"));
    let name = name(&mapping, &kind);
    for (field, given) in [("apiVersion", &version), ("kind", &kind)] {
        if given.is_empty() {
            return broken(
                &name,
                field,
                "is missing".to_owned(),
                "write it, as in Kubernetes",
            );
        }
    }
    let Some(reader) = READERS.iter().find(|reader| reader.kind == kind) else {
        return foreign(name, &version, &kind);
    };
    if !reader.versions.contains(&version.as_str()) {
        // Another group may have a kind of the same name.
        if !OUR_GROUPS.contains(&group(&version)) {
            return foreign(name, &version, &kind);
        }
        let message = format!("`{version}` has no {kind} that Tidegate reads");
        return broken(&name, "apiVersion", message, reader.remedy);
    }
    // The status is ours to tell, and nobody's input.
    for field in ["apiVersion", "kind", "status"] {
        mapping.remove(field);
    }
    let mut unknown = Vec::new();
    let value = Value::Mapping(mapping);
    // Of the text as it came: types keep only the fields that Tidegate reads.
    let violations = schema(&kind, &value);
    let mut object = match (reader.read)(value, &mut unknown) {
        Ok(object) => object,
        // What a Secret holds must not reach a log in an error's text.
        Err((field, _)) if kind == "Secret" => {
            let message = "is not of the form that a Secret has".to_owned();
            return broken(
                &name,
                &field,
                message,
                "write base64 under data, or plain text under stringData",
            );
        }
        Err((field, message)) => return broken(&name, &field, message, "correct the field"),
    };
    match complete(&mut object) {
        Ok(()) if !violations.is_empty() => Outcome::Unfit { name, violations },
        Ok(()) => Outcome::Object { object, unknown },
        Err(Refusal {
            field,
            message,
            remedy,
        }) => broken(&name, field, message, remedy),
    }
}

/// What the API server would refuse, too.
struct Refusal {
    field: &'static str,
    message: String,
    remedy: &'static str,
}

impl Refusal {
    fn name(field: &'static str, message: String) -> Self {
        Self {
            field,
            message,
            remedy: "write lower-case letters, digits, `-` and `.`",
        }
    }
}

/// Fills in what the API server would.
fn complete(object: &mut Object) -> Result<(), Refusal> {
    let cluster_scoped = object.is_cluster_scoped();
    let metadata = object.metadata_mut();
    let named = metadata.name.as_deref().unwrap_or_default();
    if !is_name(named, 253) {
        return Err(Refusal::name(
            "metadata.name",
            format!("`{named}` is no name"),
        ));
    }
    if cluster_scoped {
        metadata.namespace = None;
    } else {
        let namespace = metadata
            .namespace
            .get_or_insert_with(|| "default".to_owned());
        if !is_name(namespace, 63) || namespace.contains('.') {
            return Err(Refusal::name(
                "metadata.namespace",
                format!("`{namespace}` is no name of a namespace"),
            ));
        }
    }
    // The same at every reading, so that nothing changes but what was edited.
    metadata.generation.get_or_insert(1);
    metadata
        .creation_timestamp
        .get_or_insert(Time(Timestamp::UNIX_EPOCH));
    if let Object::Secret(secret) = object {
        merge_string_data(secret);
        check_tls(secret)?;
        check_ech(secret)?;
    }
    Ok(())
}

fn merge_string_data(secret: &mut Secret) {
    if let Some(texts) = secret.string_data.take() {
        let data = secret.data.get_or_insert_default();
        data.extend(
            texts
                .into_iter()
                .map(|(key, text)| (key, ByteString(text.into_bytes()))),
        );
    }
}

/// A certificate that went wrong must not take a listener down: so the file is refused, and
/// the one before serves on.
fn check_tls(secret: &Secret) -> Result<(), Refusal> {
    if secret.type_.as_deref() != Some("kubernetes.io/tls") {
        return Ok(());
    }
    let data = |name: &str| {
        let value = secret.data.as_ref().and_then(|data| data.get(name));
        value.map(|value| value.0.as_slice()).unwrap_or_default()
    };
    check_key_pair(data("tls.crt"), data("tls.key")).map_err(|message| Refusal {
        field: "data",
        message: message.to_owned(),
        remedy: "correct the two together",
    })
}

/// Likewise keys for encrypted ClientHellos, which are known by their field.
fn check_ech(secret: &Secret) -> Result<(), Refusal> {
    let data = |name: &str| secret.data.as_ref()?.get(name).map(|value| &value.0[..]);
    let Some(current) = data(ech::CURRENT) else {
        return Ok(());
    };
    let keys = EchKeys::read(current, data(ech::PREVIOUS).unwrap_or_default());
    keys.map(|_| ()).map_err(|error| Refusal {
        field: "data",
        message: error.to_string(),
        remedy: "correct it",
    })
}

fn is_name(name: &str, longest: usize) -> bool {
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    (1..=longest).contains(&bytes.len())
        && bytes.iter().all(|b| edge(b) || matches!(b, b'-' | b'.'))
        && bytes.first().is_some_and(edge)
        && bytes.last().is_some_and(edge)
}

/// A kind of another reader. In a group that Tidegate reads, a kind that nobody knows is
/// more likely misspelt, and to drop the object would be worse than to say so.
fn foreign(name: String, version: &str, kind: &str) -> Outcome {
    if OUR_GROUPS.contains(&group(version)) && !KNOWN_KINDS.contains(&kind) {
        let message = format!("`{version}` has no kind `{kind}`");
        return broken(
            &name,
            "kind",
            message,
            "correct the spelling, or remove the document",
        );
    }
    Outcome::Foreign {
        name,
        message: format!("{kind} of {version} is not a kind that Tidegate reads"),
    }
}

/// `Kind namespace/name`, as far as it goes.
fn name(mapping: &Mapping, kind: &str) -> String {
    let metadata = mapping.get("metadata");
    let text = |field: &str| {
        metadata
            .and_then(|metadata| metadata.get(field))
            .and_then(Value::as_str)
    };
    let namespace = if ["GatewayClass", "Namespace"].contains(&kind) {
        None
    } else {
        Some(text("namespace").unwrap_or("default"))
    };
    let path: Vec<_> = namespace.into_iter().chain(text("name")).collect();
    match text("name") {
        Some(_) => format!("{kind} {}", path.join("/")).trim().to_owned(),
        None => kind.to_owned(),
    }
}

fn group(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

fn broken(name: &str, field: &str, message: String, remedy: &'static str) -> Outcome {
    Outcome::Broken {
        name: name.to_owned(),
        field: field.to_owned(),
        message,
        remedy,
    }
}

/// Decodes, with the path of what fails and of what nothing reads.
fn typed<T: DeserializeOwned>(
    value: Value,
    unknown: &mut Vec<String>,
) -> Result<T, (String, String)> {
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(value, &mut track);
    let note = |path: serde_ignored::Path<'_>| unknown.push(spelled(&path.to_string()));
    let decoded = serde_ignored::deserialize(deserializer, note);
    decoded.map_err(|error| {
        let path = track.path().to_string();
        (
            if path == "." { String::new() } else { path },
            error.to_string(),
        )
    })
}

/// `spec.rules.0.?.x` as `spec.rules[0].x`.
fn spelled(path: &str) -> String {
    let mut outcome = String::new();
    for part in path.split('.').filter(|part| *part != "?") {
        if part.parse::<usize>().is_ok() {
            outcome.push_str(&format!("[{part}]"));
        } else {
            if !outcome.is_empty() {
                outcome.push('.');
            }
            outcome.push_str(part);
        }
    }
    outcome
}

type Read = fn(Value, &mut Vec<String>) -> Result<Object, (String, String)>;

struct Reader {
    kind: &'static str,
    versions: &'static [&'static str],
    remedy: &'static str,
    read: Read,
}

macro_rules! readers {
    ($($kind:ident: $first:literal $(, $version:literal)*;)*) => {
        [$(Reader {
            kind: stringify!($kind),
            versions: &[$first $(, $version)*],
            remedy: concat!("write `", $first, "`"),
            read: |value, unknown| Ok(Object::$kind(Box::new(typed(value, unknown)?))),
        }),*]
    };
}

static READERS: &[Reader] = &readers! {
    GatewayClass: "gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1";
    Gateway: "gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1";
    ListenerSet: "gateway.networking.k8s.io/v1";
    HTTPRoute: "gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1";
    GRPCRoute: "gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2";
    ReferenceGrant: "gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1";
    BackendTLSPolicy: "gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha3";
    QUICPolicy: "tidegate.dev/v1alpha1";
    GatewayParameters: "tidegate.dev/v1alpha1";
    Service: "v1";
    EndpointSlice: "discovery.k8s.io/v1";
    Secret: "v1";
    ConfigMap: "v1";
    Namespace: "v1";
};

const OUR_GROUPS: [&str; 4] = ["", GROUP, policy::GROUP, "discovery.k8s.io"];

/// Kinds of those groups that have nothing to say to Tidegate.
const KNOWN_KINDS: [&str; 23] = [
    "Binding",
    "ComponentStatus",
    "Endpoints",
    "Event",
    "LimitRange",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "ServiceAccount",
    "TCPRoute",
    "TLSRoute",
    "UDPRoute",
    "XBackend",
    "XBackendTrafficPolicy",
    "XListenerSet",
    "XMesh",
    "List",
    "SecretList",
    "ServiceList",
];
