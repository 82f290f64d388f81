//! One listener of a Gateway: judged, and made into the dataplane's form.

use tidegate_proto::v1;

use super::{
    Fault, Options, allowed, certificate, ech, frontend, gateway::GatewayPlan, grant, hostname,
    listener_options,
};
use crate::{
    gateway_api::{GROUP, Listener, ListenerTlsConfig, RouteGroupKind},
    resources::{ObjectKey, Resources},
    status::Scope,
};

/// What became of a listener.
pub(super) struct ListenerPlan<'a> {
    pub spec: &'a Listener,
    /// The ListenerSet that it is of; absent: it is the Gateway's own.
    pub set: Option<ObjectKey>,
    /// Of the object that it is written in.
    pub namespace: String,
    /// Place in `spec.listeners` of that object.
    pub index: usize,
    /// `namespace/gateway/listener`; of a ListenerSet,
    /// `namespace/gateway/set-namespace:set:listener`. No name can have a colon.
    pub id: String,
    /// Kinds of routes that it serves.
    pub kinds: Vec<RouteGroupKind>,
    /// Why it is not accepted.
    pub refused: Option<Fault>,
    /// The conflict with another listener.
    pub conflict: Option<Fault>,
    /// What it refers to in vain.
    pub unresolved: Vec<Fault>,
    /// In service, unless it is refused or has no certificate left.
    pub config: Option<v1::Listener>,
    /// Those that `config` names.
    pub certificates: Vec<v1::Certificate>,
    /// Keys for encrypted ClientHellos, if it brings any.
    pub ech: Option<ech::EchPlan>,
    /// Accepted routes.
    pub attached: u32,
}

impl ListenerPlan<'_> {
    /// The part of its object's status that is its own.
    pub(super) fn scope(&self) -> Scope {
        Scope::Listener {
            name: self.spec.name.clone(),
            attached_routes: self.attached,
            supported_kinds: self.kinds.clone(),
        }
    }

    /// The host name to match, empty for any.
    pub(super) fn hostname(&self) -> &str {
        self.spec.hostname.as_deref().unwrap_or_default()
    }
}

/// Where a listener is written.
#[derive(Clone, Copy)]
pub(super) struct Place<'s, 'a> {
    /// `spec.listeners` of the object.
    siblings: &'a [Listener],
    index: usize,
    /// The ListenerSet; absent: the Gateway itself.
    set: Option<&'s ObjectKey>,
}

impl<'s, 'a> Place<'s, 'a> {
    /// `siblings[index]` must be there.
    pub(super) fn new(siblings: &'a [Listener], index: usize, set: Option<&'s ObjectKey>) -> Self {
        Self {
            siblings,
            index,
            set,
        }
    }

    fn id(&self, gateway: &ObjectKey, name: &str) -> String {
        match self.set {
            None => format!("{gateway}/{name}"),
            Some(set) => format!("{gateway}/{}:{}:{name}", set.namespace, set.name),
        }
    }
}

/// Judges a listener of a Gateway, or of a ListenerSet that adds to it.
pub(super) fn plan<'a>(
    resources: &Resources,
    options: &Options,
    gateway: &GatewayPlan<'a>,
    place: Place<'_, 'a>,
    conflict: Option<Fault>,
) -> ListenerPlan<'a> {
    let spec = &place.siblings[place.index];
    let field = format!("spec.listeners[{}]", place.index);
    let allowed_field = format!("{field}.allowedRoutes");
    let protocol = match spec.protocol.as_str() {
        "HTTP" => Some(v1::Protocol::Http),
        "HTTPS" => Some(v1::Protocol::Https),
        _ => None,
    };
    let routes = protocol.map_or(&[][..], |_| &allowed::ROUTES);
    let (kinds, kinds_fault) = allowed::kinds(spec.allowed_routes.as_ref(), routes, &allowed_field);
    let mut plan = ListenerPlan {
        spec,
        set: place.set.cloned(),
        namespace: place.set.unwrap_or(&gateway.key).namespace.clone(),
        index: place.index,
        id: place.id(&gateway.key, &spec.name),
        kinds,
        refused: None,
        conflict: conflict.clone(),
        unresolved: kinds_fault.into_iter().collect(),
        config: None,
        certificates: Vec::new(),
        ech: None,
        attached: 0,
    };
    let Some(protocol) = protocol else {
        plan.refused = Some(Fault::new(
            "UnsupportedProtocol",
            format!(
                "{field}.protocol: `{}` is not supported; use HTTP or HTTPS",
                spec.protocol
            ),
        ));
        return plan;
    };
    let mut validation = Ok(None);
    if protocol == v1::Protocol::Https {
        resolve_certificates(resources, &mut plan, &field);
        let unresolved = &mut plan.unresolved;
        validation = frontend::client_validation(resources, gateway, spec.port, unresolved);
    }
    let checked = match conflict {
        Some(conflict) => Err(conflict),
        None => check(gateway, place, protocol, &field),
    };
    match checked.and_then(|settings| Ok((settings, validation?))) {
        Err(fault) => plan.refused = Some(fault),
        Ok((settings, validation)) => {
            let keyed = resolve_ech(resources, &mut plan, settings.ech.as_deref(), &field);
            let served = protocol == v1::Protocol::Http || !plan.certificates.is_empty();
            if served && keyed && gateway.refused.is_none() {
                let mut config = config(options, gateway, &plan, protocol, settings);
                config.client_validation = validation;
                plan.config = Some(config);
            }
        }
    }
    plan
}

/// Everything but references and conflicts.
fn check(
    gateway: &GatewayPlan<'_>,
    place: Place<'_, '_>,
    protocol: v1::Protocol,
    field: &str,
) -> Result<listener_options::ListenerOptions, Fault> {
    let spec = &place.siblings[place.index];
    let mut siblings = place.siblings.iter().enumerate();
    if siblings.any(|(index, other)| index != place.index && other.name == spec.name) {
        return Err(Fault::unsupported(
            format_args!("{field}.name"),
            format_args!(
                "`{}` is used twice here; give each listener its own",
                spec.name
            ),
        ));
    }
    if spec.name.is_empty() || spec.name.contains(['/', ':']) {
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
    if place.set.is_some()
        && let Some(key) = listener_options::overridden(gateway.annotations(), &tls.options)
    {
        // Whoever owns the Gateway has said it.
        return Err(Fault::unsupported(
            format_args!("{field}.tls.options[{key}]"),
            "the Gateway's annotations have decided that; remove it",
        ));
    }
    let settings = listener_options::read(gateway.annotations(), &tls.options, field)?;
    if place.set.is_some()
        && let Some(key) = listener_options::of_port(&tls.options)
    {
        // Who has the keys of a port reads the names that its clients ask for.
        return Err(Fault::unsupported(
            format_args!("{field}.tls.options[{key}]"),
            "is for listeners of the Gateway itself, as it holds for the whole port; set it there",
        ));
    }
    Ok(settings)
}

/// False where there should be keys and are none: what was to be hidden is not served in
/// clear.
fn resolve_ech(
    resources: &Resources,
    plan: &mut ListenerPlan<'_>,
    secret: Option<&str>,
    field: &str,
) -> bool {
    let Some(secret) = secret else {
        return true;
    };
    match ech::resolve(resources, &plan.namespace, secret, field) {
        Ok((ech, warning)) => {
            plan.unresolved.extend(warning);
            plan.ech = Some(ech);
            true
        }
        Err(fault) => {
            plan.unresolved.push(fault);
            false
        }
    }
}

fn resolve_certificates(resources: &Resources, plan: &mut ListenerPlan<'_>, field: &str) {
    let namespace = plan.namespace.clone();
    let from = grant::From {
        group: GROUP,
        kind: if plan.set.is_some() {
            "ListenerSet"
        } else {
            "Gateway"
        },
        namespace: &namespace,
    };
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
        match certificate::resolve(resources, &from, reference, &field) {
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
        limits: settings.limits,
        client_validation: None,
        ech_keys: plan
            .ech
            .as_ref()
            .map(ech::EchPlan::to_wire)
            .unwrap_or_default(),
        backend_certificate_id: gateway
            .backend_certificate
            .as_ref()
            .map(|certificate| certificate.id.clone())
            .unwrap_or_default(),
    }
}
