//! One listener of a Gateway: judged, and made into the dataplane's form.

use tidegate_proto::v1;

use super::{
    Fault, Options, allowed, certificate, gateway::GatewayPlan, hostname, listener_options,
};
use crate::{
    gateway_api::{Listener, ListenerTlsConfig, RouteGroupKind},
    resources::{ObjectKey, Resources},
};

/// What became of a listener.
pub(super) struct ListenerPlan<'a> {
    pub spec: &'a Listener,
    /// The ListenerSet that it is of; absent: it is the Gateway's own.
    pub set: Option<ObjectKey>,
    /// Of the object that it is written in.
    pub namespace: String,
    /// `namespace/gateway/listener`.
    pub id: String,
    /// Kinds of routes that it serves.
    pub kinds: Vec<RouteGroupKind>,
    /// Why it is not accepted.
    pub refused: Option<Fault>,
    /// `refused` is a conflict with another listener.
    pub conflicted: bool,
    /// What it refers to in vain.
    pub unresolved: Vec<Fault>,
    /// In service, unless it is refused or has no certificate left.
    pub config: Option<v1::Listener>,
    /// Those that `config` names.
    pub certificates: Vec<v1::Certificate>,
    /// Accepted routes.
    pub attached: u32,
}

impl ListenerPlan<'_> {
    /// The host name to match, empty for any.
    pub(super) fn hostname(&self) -> &str {
        self.spec.hostname.as_deref().unwrap_or_default()
    }
}

/// Judges `spec.listeners[index]` of a Gateway.
pub(super) fn plan<'a>(
    resources: &Resources,
    options: &Options,
    gateway: &GatewayPlan<'a>,
    index: usize,
    conflict: Option<Fault>,
) -> ListenerPlan<'a> {
    let spec = &gateway.spec().listeners[index];
    let field = format!("spec.listeners[{index}]");
    let allowed_field = format!("{field}.allowedRoutes");
    let (kinds, kinds_fault) = allowed::kinds(spec.allowed_routes.as_ref(), &allowed_field);
    let mut plan = ListenerPlan {
        spec,
        set: None,
        namespace: gateway.key.namespace.clone(),
        id: format!("{}/{}", gateway.key, spec.name),
        kinds,
        refused: None,
        conflicted: conflict.is_some(),
        unresolved: kinds_fault.into_iter().collect(),
        config: None,
        certificates: Vec::new(),
        attached: 0,
    };
    let protocol = match spec.protocol.as_str() {
        "HTTP" => v1::Protocol::Http,
        "HTTPS" => v1::Protocol::Https,
        other => {
            plan.kinds.clear();
            plan.unresolved.clear();
            plan.refused = Some(Fault::new(
                "UnsupportedProtocol",
                format!("{field}.protocol: `{other}` is not supported; use HTTP or HTTPS"),
            ));
            return plan;
        }
    };
    let settings = match conflict.map_or_else(|| check(gateway, spec, protocol, &field), Err) {
        Ok(settings) => Some(settings),
        Err(fault) => {
            plan.refused = Some(fault);
            None
        }
    };
    if protocol == v1::Protocol::Https {
        resolve_certificates(resources, gateway, &mut plan, &field);
    }
    let served = protocol == v1::Protocol::Http || !plan.certificates.is_empty();
    if let Some(settings) = settings.filter(|_| served && gateway.refused.is_none()) {
        plan.config = Some(config(options, gateway, &plan, protocol, settings));
    }
    plan
}

/// Everything but references and conflicts.
fn check(
    gateway: &GatewayPlan<'_>,
    spec: &Listener,
    protocol: v1::Protocol,
    field: &str,
) -> Result<listener_options::ListenerOptions, Fault> {
    if gateway
        .spec()
        .listeners
        .iter()
        .filter(|other| other.name == spec.name)
        .count()
        > 1
    {
        return Err(Fault::unsupported(
            format_args!("{field}.name"),
            format_args!(
                "`{}` is used twice in this Gateway; give each listener its own",
                spec.name
            ),
        ));
    }
    if spec.name.is_empty() || spec.name.contains('/') {
        return Err(Fault::unsupported(
            format_args!("{field}.name"),
            "is no name; write letters, digits and `-`",
        ));
    }
    if !(1..=65_535).contains(&spec.port) {
        return Err(Fault::new(
            "PortUnavailable",
            format!(
                "{field}.port: {} is no port; write a number from 1 to 65535",
                spec.port
            ),
        ));
    }
    if let Some(name) = spec.hostname.as_deref().filter(|name| !name.is_empty()) {
        hostname::check(name)
            .map_err(|problem| Fault::unsupported(format_args!("{field}.hostname"), problem))?;
    }
    allowed::check_namespaces(
        spec.allowed_routes.as_ref(),
        &format!("{field}.allowedRoutes"),
    )?;
    if protocol == v1::Protocol::Http && spec.tls.is_some() {
        return Err(Fault::unsupported(
            format_args!("{field}.tls"),
            "is for HTTPS; remove it, or set the protocol to HTTPS",
        ));
    }
    let no_tls = ListenerTlsConfig::default();
    let tls = spec.tls.as_ref().unwrap_or(&no_tls);
    if let Some(mode) = tls.mode.as_deref().filter(|mode| *mode != "Terminate") {
        return Err(Fault::unsupported(
            format_args!("{field}.tls.mode"),
            format_args!("`{mode}` is not supported with HTTPS; use Terminate"),
        ));
    }
    if protocol == v1::Protocol::Https && gateway.validates_clients(spec.port) {
        // Serving on without the check would open what was meant to be closed.
        return Err(Fault::unsupported(
            "spec.tls.frontend",
            "validation of client certificates is not supported by this version; remove it",
        ));
    }
    listener_options::read(gateway.annotations(), &tls.options, field)
}

fn resolve_certificates(
    resources: &Resources,
    gateway: &GatewayPlan<'_>,
    plan: &mut ListenerPlan<'_>,
    field: &str,
) {
    let references = plan
        .spec
        .tls
        .as_ref()
        .map(|tls| tls.certificate_refs.as_slice())
        .unwrap_or_default();
    if references.is_empty() {
        plan.unresolved.push(Fault::new(
            "InvalidCertificateRef",
            format!(
                "{field}.tls.certificateRefs: is empty; name a Secret with tls.crt and tls.key"
            ),
        ));
    }
    for (index, reference) in references.iter().enumerate() {
        let field = format!("{field}.tls.certificateRefs[{index}]");
        match certificate::resolve(resources, &gateway.key.namespace, reference, &field) {
            Ok((certificate, warning)) => {
                plan.unresolved.extend(warning);
                if !plan
                    .certificates
                    .iter()
                    .any(|known| known.id == certificate.id)
                {
                    plan.certificates.push(certificate);
                }
            }
            Err(fault) => plan.unresolved.push(fault),
        }
    }
}

fn config(
    options: &Options,
    gateway: &GatewayPlan<'_>,
    plan: &ListenerPlan<'_>,
    protocol: v1::Protocol,
    settings: listener_options::ListenerOptions,
) -> v1::Listener {
    let https = protocol == v1::Protocol::Https;
    let http3 = https && settings.http3.unwrap_or(options.http3);
    v1::Listener {
        id: plan.id.clone(),
        addresses: gateway.addresses.clone(),
        // `check` has seen that it is one.
        port: plan.spec.port.unsigned_abs(),
        protocol: protocol.into(),
        hostname: plan.hostname().to_owned(),
        certificate_ids: plan
            .certificates
            .iter()
            .map(|certificate| certificate.id.clone())
            .collect(),
        http3: http3.then_some(v1::Http3 {
            advertised_port: settings.advertised_port,
            alt_svc_max_age_seconds: 0,
        }),
        quic: settings.quic.filter(|_| http3),
        admission: settings.admission,
        limits: None,
        client_validation: None,
        backend_certificate_id: String::new(),
    }
}
