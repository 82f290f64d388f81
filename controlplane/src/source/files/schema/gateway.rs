//! GatewayClass, Gateway and ListenerSet.

use std::collections::BTreeSet;

use super::{
    at::At,
    form::{ADDRESS, ADDRESS_TYPE, CONTROLLER, DESCRIPTION, HOSTNAME, OBJECT, PROTOCOL, SECTION},
    reference,
};

pub(super) fn class(at: &At<'_>) {
    let Some(spec) = at.field("spec") else { return };
    spec.form("controllerName", &CONTROLLER);
    spec.form("description", &DESCRIPTION);
    if let Some(parameters) = spec.field("parametersRef") {
        reference::object(&parameters);
    }
}

pub(super) fn check(at: &At<'_>) {
    let Some(spec) = at.field("spec") else { return };
    spec.form("gatewayClassName", &OBJECT);
    check_addresses(&spec);
    let infrastructure = spec.field("infrastructure");
    if let Some(parameters) = infrastructure.and_then(|one| one.field("parametersRef")) {
        reference::object(&parameters);
    }
    check_listeners(&spec);
    let allowed = spec.field("allowedListeners");
    if let Some(namespaces) = allowed.and_then(|allowed| allowed.field("namespaces")) {
        namespaces.one_of("from", &["All", "Selector", "Same", "None"]);
    }
    if let Some(tls) = spec.field("tls") {
        check_gateway_tls(&tls);
    }
}

pub(super) fn listener_set(at: &At<'_>) {
    let Some(spec) = at.field("spec") else { return };
    if let Some(parent) = spec.field("parentRef") {
        reference::object(&parent);
    }
    check_listeners(&spec);
}

fn check_listeners(spec: &At<'_>) {
    spec.not_empty("listeners");
    for listener in spec.items("listeners") {
        check_listener(&listener);
    }
    spec.unique("listeners", "name");
    check_places(spec);
}

fn check_gateway_tls(tls: &At<'_>) {
    let backend = tls.field("backend");
    if let Some(certificate) = backend.and_then(|one| one.field("clientCertificateRef")) {
        reference::object(&certificate);
    }
    let Some(frontend) = tls.field("frontend") else {
        return;
    };
    let validation = |at: &At<'_>| {
        let Some(validation) = at.field("validation") else {
            return;
        };
        validation.needs("caCertificateRefs");
        validation.not_empty("caCertificateRefs");
        validation.one_of("mode", &["AllowValidOnly", "AllowInsecureFallback"]);
        for authority in validation.items("caCertificateRefs") {
            reference::object(&authority);
        }
    };
    if let Some(default) = frontend.field("default") {
        validation(&default);
    }
    let mut ports = BTreeSet::new();
    for one in frontend.items("perPort") {
        one.port("port");
        if one.number("port").is_some_and(|port| !ports.insert(port)) {
            one.refuse("port", "is there twice", "keep one of them");
        }
        if let Some(tls) = one.field("tls") {
            validation(&tls);
        }
    }
}

fn check_addresses(spec: &At<'_>) {
    let mut seen = BTreeSet::new();
    for address in spec.items("addresses") {
        address.form("type", &ADDRESS_TYPE);
        let type_ = address.text("type").unwrap_or("IPAddress");
        let value = address.text("value").unwrap_or_default();
        let form = if type_ == "Hostname" && !value.is_empty() {
            &HOSTNAME
        } else {
            &ADDRESS
        };
        address.form("value", form);
        let told_apart = ["IPAddress", "Hostname"].contains(&type_) && address.has("value");
        if told_apart && !seen.insert((type_, value)) {
            address.refuse("value", "is there twice", "keep one of them");
        }
    }
}

fn check_listener(at: &At<'_>) {
    at.form("name", &SECTION);
    at.form("hostname", &HOSTNAME);
    at.port("port");
    at.form("protocol", &PROTOCOL);
    let protocol = at.text("protocol").unwrap_or_default();
    if ["TCP", "UDP"].contains(&protocol) && at.has("hostname") {
        let message = format!("is nothing that {protocol} has");
        at.refuse("hostname", message, "remove it");
    }
    match at.field("tls") {
        Some(_) if ["HTTP", "TCP", "UDP"].contains(&protocol) => {
            let message = format!("is nothing that {protocol} has");
            at.refuse("tls", message, "remove it, or write another protocol");
        }
        Some(tls) => check_tls(&tls, protocol),
        None if protocol == "TLS" => {
            at.refuse("tls", "is missing, and the protocol is TLS", "write it");
        }
        None => {}
    }
    if let Some(allowed) = at.field("allowedRoutes") {
        for kind in allowed.items("kinds") {
            reference::object(&kind);
        }
        if let Some(namespaces) = allowed.field("namespaces") {
            namespaces.one_of("from", &["All", "Selector", "Same"]);
        }
    }
}

fn check_tls(tls: &At<'_>, protocol: &str) {
    tls.one_of("mode", &["Terminate", "Passthrough"]);
    let mode = tls.text("mode").unwrap_or("Terminate");
    if mode == "Passthrough" && protocol == "HTTPS" {
        let remedy = "write Terminate, or the protocol TLS";
        tls.refuse("mode", "HTTPS is never passed through", remedy);
    }
    for certificate in tls.items("certificateRefs") {
        reference::object(&certificate);
    }
    let has_options = tls
        .field("options")
        .is_some_and(|options| options.is_filled());
    if mode == "Terminate" && tls.items("certificateRefs").is_empty() && !has_options {
        tls.refuse(
            "certificateRefs",
            "is missing or empty, and TLS ends here",
            "write the name of a Secret of the type kubernetes.io/tls",
        );
    }
}

/// Two listeners of one port, protocol and host name cannot be told apart.
fn check_places(spec: &At<'_>) {
    let mut seen = BTreeSet::new();
    for listener in spec.items("listeners") {
        let place = (
            listener.number("port"),
            listener.text("protocol"),
            listener.text("hostname"),
        );
        if !seen.insert(place) {
            listener.refuse(
                "",
                "has the port, protocol and host name of another listener",
                "change one of the three",
            );
        }
    }
}
