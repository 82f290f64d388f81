//! `spec.tls.frontend` of a Gateway: certificates that clients must show.

use bytes::Bytes;
use tidegate_proto::v1;

use super::{Fault, certificate::is_pem_bundle, gateway::GatewayPlan, grant};
use crate::{
    gateway_api::{FrontendTlsValidation, GROUP, ObjectReference},
    resources::{ObjectKey, Resources},
};

/// What clients of HTTPS listeners on `port` must show; nothing, if absent. Without one CA
/// that could tell, the listener is refused: to serve on unchecked would open what was
/// meant to be closed. References that lead nowhere are added to `unresolved`.
pub(super) fn client_validation(
    resources: &Resources,
    gateway: &GatewayPlan<'_>,
    port: i32,
    unresolved: &mut Vec<Fault>,
) -> Result<Option<v1::ClientValidation>, Fault> {
    let Some((field, validation)) = of_port(gateway, port) else {
        return Ok(None);
    };
    let mut ca_pem = Vec::new();
    for (index, reference) in validation.ca_certificate_refs.iter().enumerate() {
        let field = format!("{field}.caCertificateRefs[{index}]");
        match authorities(resources, &gateway.key.namespace, reference, &field) {
            Ok(pem) => {
                ca_pem.extend_from_slice(pem);
                ca_pem.push(b'\n');
            }
            Err(fault) => unresolved.push(fault),
        }
    }
    let mode = mode(validation).map_err(|word| {
        let problem = format!("`{word}` is neither AllowValidOnly nor AllowInsecureFallback");
        Fault::unsupported(format_args!("{field}.mode"), problem)
    })?;
    if ca_pem.is_empty() {
        let message = format!(
            "{field}.caCertificateRefs: none of them has a CA certificate; see ResolvedRefs"
        );
        return Err(Fault::new("NoValidCACertificate", message));
    }
    Ok(Some(v1::ClientValidation {
        ca_pem: Bytes::from(ca_pem),
        mode: mode.into(),
    }))
}

/// The places where a Gateway lets in clients that prove nothing.
pub(super) fn insecure(gateway: &GatewayPlan<'_>) -> Vec<String> {
    let unchecked = v1::client_validation::Mode::AllowInsecureFallback;
    let all = places(gateway).into_iter();
    all.filter(|(.., validation)| mode(validation) == Ok(unchecked))
        .map(|(_, field, _)| format!("{field}.mode"))
        .collect()
}

/// The validation for a port: its own, or else the default.
fn of_port<'a>(
    gateway: &GatewayPlan<'a>,
    port: i32,
) -> Option<(String, &'a FrontendTlsValidation)> {
    let frontend = gateway.spec().tls.as_ref()?.frontend.as_ref()?;
    // One without validation is there to switch the default off.
    let own = frontend.per_port.iter().any(|one| one.port == port);
    let wanted = own.then_some(port);
    let mut all = places(gateway).into_iter();
    all.find(|(place, ..)| *place == wanted)
        .map(|(_, field, validation)| (field, validation))
}

/// Port, field and content of each validation; without a port, the default.
fn places<'a>(gateway: &GatewayPlan<'a>) -> Vec<(Option<i32>, String, &'a FrontendTlsValidation)> {
    let frontend = gateway.spec().tls.as_ref();
    let Some(frontend) = frontend.and_then(|tls| tls.frontend.as_ref()) else {
        return Vec::new();
    };
    let default = (None, "default".to_owned(), &frontend.default);
    let per_port = frontend.per_port.iter().enumerate();
    let per_port =
        per_port.map(|(index, one)| (Some(one.port), format!("perPort[{index}].tls"), &one.tls));
    std::iter::once(default)
        .chain(per_port)
        .filter_map(|(port, field, tls)| {
            let field = format!("spec.tls.frontend.{field}.validation");
            Some((port, field, tls.validation.as_ref()?))
        })
        .collect()
}

fn mode(validation: &FrontendTlsValidation) -> Result<v1::client_validation::Mode, &str> {
    match validation.mode.as_deref().unwrap_or_default() {
        "" | "AllowValidOnly" => Ok(v1::client_validation::Mode::Unspecified),
        "AllowInsecureFallback" => Ok(v1::client_validation::Mode::AllowInsecureFallback),
        other => Err(other),
    }
}

/// The CA certificates, PEM, under `ca.crt` of a ConfigMap or a Secret.
fn authorities<'a>(
    resources: &'a Resources,
    namespace: &str,
    reference: &ObjectReference,
    field: &str,
) -> Result<&'a [u8], Fault> {
    let ObjectReference {
        group, kind, name, ..
    } = reference;
    if !group.is_empty() || !["ConfigMap", "Secret"].contains(&kind.as_str()) {
        let message = format!(
            "{field}: kind {kind} of group `{group}` is not supported; refer to a ConfigMap or a Secret"
        );
        return Err(Fault::new("InvalidCACertificateKind", message));
    }
    let target = reference.namespace.as_deref().unwrap_or(namespace);
    let from = grant::From {
        group: GROUP,
        kind: "Gateway",
        namespace,
    };
    let to = grant::To {
        group,
        kind,
        namespace: target,
        name,
    };
    grant::check(resources, &from, &to, field)?;
    let key = ObjectKey::new(target, name);
    let invalid = |problem: &str| {
        let message = format!("{field}: {kind} {key} {problem}");
        Fault::new("InvalidCACertificateRef", message)
    };
    let pem: Option<&[u8]> = if kind == "ConfigMap" {
        let entry = resources.config_maps.get(&key);
        let entry = entry.ok_or_else(|| invalid("is not there; create it with ca.crt"))?;
        let data = entry.object.data.as_ref();
        data.and_then(|data| data.get("ca.crt"))
            .map(String::as_bytes)
    } else {
        let entry = resources.secrets.get(&key);
        let entry = entry.ok_or_else(|| invalid("is not there; create it with ca.crt"))?;
        let data = entry.object.data.as_ref();
        data.and_then(|data| data.get("ca.crt"))
            .map(|value| value.0.as_slice())
    };
    pem.filter(|pem| is_pem_bundle(pem))
        .ok_or_else(|| invalid("has no PEM certificates under ca.crt; put them there"))
}
