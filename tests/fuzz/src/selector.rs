//! Texts that name connections and addresses: they mean one thing, on both planes.

use std::net::IpAddr;

use tidegate_controlplane::selector::{Cidr, Selector};
use tidegate_dataplane::snapshot::{Cidr as DataplaneCidr, HostPattern, canonical_host};
use tidegate_proto::{ConnectionId, v1};

pub(super) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    range(text);
    if let Ok(id) = text.parse::<ConnectionId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    let host = canonical_host(text);
    // Whoever calls it has refused empty labels.
    if !host.ends_with('.') {
        assert_eq!(canonical_host(&host), host, "its form is itself");
    }
    if let Ok(pattern) = text.parse::<HostPattern>() {
        assert_eq!(
            pattern.to_string().parse::<HostPattern>().ok(),
            Some(pattern)
        );
    }
}

fn range(text: &str) {
    let read: Option<Cidr> = text.parse().ok();
    if let Ok(dataplane) = text.parse::<DataplaneCidr>() {
        let read = read.expect("what a dataplane reads, the control plane reads");
        assert_eq!(read.to_string(), dataplane.to_string());
    }
    let Some(range) = read else { return };
    assert!(range.contains(range.first()) && range.contains(range.last()));
    let wire = v1::Selector {
        peer: text.to_owned(),
        ..Default::default()
    };
    let sent = Selector::parse(wire).expect("it is a range").to_wire();
    let received: DataplaneCidr = sent
        .peer
        .parse()
        .expect("a dataplane reads what it is sent");
    for address in [range.first(), range.last(), beyond(range.last())] {
        // A mapped address is an IPv4 address to a dataplane.
        if address.to_canonical() == address {
            assert_eq!(
                received.contains(address),
                range.contains(address),
                "{address}"
            );
        }
    }
}

/// The address that follows.
fn beyond(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(v4.to_bits().wrapping_add(1).into()),
        IpAddr::V6(v6) => IpAddr::V6(v6.to_bits().wrapping_add(1).into()),
    }
}
