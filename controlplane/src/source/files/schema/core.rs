//! Service and EndpointSlice, as far as Tidegate reads them.

use std::net::IpAddr;

use super::{
    at::{At, shown},
    form::is_label,
};

pub(super) fn service(at: &At<'_>) {
    let Some(spec) = at.field("spec") else { return };
    let types = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
    spec.one_of("type", &types);
    let ports = spec.items("ports");
    for port in &ports {
        check_port(port);
        port.range("targetPort", 1..=65_535);
        if ports.len() > 1 && !port.has("name") {
            let message = "is missing, and there are several ports";
            port.refuse("name", message, "name each of them");
        }
    }
    spec.unique("ports", "name");
}

pub(super) fn endpoint_slice(at: &At<'_>) {
    at.needs("addressType");
    at.one_of("addressType", &["IPv4", "IPv6", "FQDN"]);
    for port in at.items("ports") {
        check_port(&port);
    }
    at.unique("ports", "name");
    let type_ = at.text("addressType").unwrap_or_default();
    for endpoint in at.items("endpoints") {
        let addresses = endpoint.items("addresses");
        if addresses.is_empty() {
            endpoint.refuse("addresses", "is missing or empty", "write an address");
        }
        for address in addresses {
            let text = address.own_text().unwrap_or_default();
            let fits = match (type_, text.parse::<IpAddr>()) {
                ("IPv4", parsed) => parsed.is_ok_and(|address| address.is_ipv4()),
                ("IPv6", parsed) => parsed.is_ok_and(|address| address.is_ipv6()),
                _ => true,
            };
            if !fits {
                let message = format!("`{}` is no {type_} address", shown(text));
                address.refuse("", message, "correct it, or the addressType");
            }
        }
    }
}

fn check_port(at: &At<'_>) {
    at.port("port");
    at.one_of("protocol", &["TCP", "UDP", "SCTP"]);
    if let Some(name) = at.text("name")
        && !name.is_empty()
        && (name.len() > 63 || !is_label(name))
    {
        let message = format!("`{}` is no name of a port", shown(name));
        at.refuse("name", message, "write lower-case letters, digits and `-`");
    }
}
