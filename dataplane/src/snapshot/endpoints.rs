//! The addresses of the backends: they change often, so apart from the snapshot.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use tidegate_proto::v1;

use super::{Snapshot, problems::Problems};

/// What is known of every backend's addresses. Cheap to copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    addresses: FxHashMap<Arc<str>, Arc<[SocketAddr]>>,
}

impl Endpoints {
    /// Empty if nothing is known of the backend, or it has none.
    pub fn of(&self, backend: &str) -> &[SocketAddr] {
        self.addresses
            .get(backend)
            .map_or(&[], |addresses| addresses)
    }

    /// A copy with one backend's addresses replaced. What is no address is left out;
    /// [`Endpoints::check`] names it.
    #[must_use]
    pub fn with(&self, wire: v1::Endpoints) -> Self {
        let mut addresses: Vec<SocketAddr> = wire
            .endpoints
            .iter()
            .filter_map(|endpoint| parse(endpoint).ok())
            .collect();
        // The same order everywhere, and no endpoint with a double share.
        addresses.sort_unstable();
        addresses.dedup();
        let mut copy = self.clone();
        copy.addresses
            .insert(wire.backend_id.into(), addresses.into());
        copy
    }

    /// What [`Endpoints::with`] would leave out.
    pub fn check(wire: &v1::Endpoints) -> Vec<v1::Rejection> {
        let mut problems = Problems::default();
        let mut object = problems.of(&wire.backend_id);
        for (index, endpoint) in wire.endpoints.iter().enumerate() {
            object.accept(format!("endpoints[{index}]"), parse(endpoint));
        }
        problems.into_rejections()
    }

    /// A copy without backends that the snapshot does not have.
    #[must_use]
    pub fn retained(&self, snapshot: &Snapshot) -> Self {
        let mut copy = self.clone();
        copy.addresses
            .retain(|id, _| snapshot.backend(id).is_some());
        copy
    }
}

fn parse(wire: &v1::Endpoint) -> Result<SocketAddr, String> {
    let v1::Endpoint { address, port } = wire;
    let ip = address.parse::<IpAddr>();
    let ip = ip.map_err(|_| format!("`{address}` is no IP address; give one, not a name"))?;
    match u16::try_from(*port) {
        Ok(port) if port != 0 => Ok(SocketAddr::new(ip, port)),
        _ => Err(format!("{port} is no port; use 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(backend: &str, endpoints: &[(&str, u32)]) -> v1::Endpoints {
        let endpoints = endpoints.iter();
        let endpoints = endpoints.map(|(address, port)| v1::Endpoint {
            address: (*address).into(),
            port: *port,
        });
        v1::Endpoints {
            backend_id: backend.into(),
            endpoints: endpoints.collect(),
        }
    }

    #[test]
    fn a_message_replaces_one_backend_and_leaves_the_others_and_the_original() {
        let one = Endpoints::default().with(wire("a", &[("10.0.0.2", 80), ("10.0.0.1", 80)]));
        let two = one.with(wire("b", &[("::1", 443)]));
        let three = two.with(wire("a", &[]));
        assert_eq!(
            one.of("a"),
            [
                "10.0.0.1:80".parse().unwrap(),
                "10.0.0.2:80".parse().unwrap()
            ]
        );
        assert!(one.of("b").is_empty());
        assert_eq!(two.of("a").len(), 2);
        assert!(three.of("a").is_empty());
        assert_eq!(three.of("b"), ["[::1]:443".parse().unwrap()]);
    }

    #[test]
    fn an_endpoint_that_is_there_twice_has_one_share() {
        let some = Endpoints::default().with(wire("a", &[("10.0.0.1", 80), ("10.0.0.1", 80)]));
        assert_eq!(some.of("a").len(), 1);
    }

    #[test]
    fn what_is_no_address_is_left_out_and_named() {
        let message = wire(
            "a",
            &[
                ("10.0.0.1", 80),
                ("web", 80),
                ("10.0.0.1", 0),
                ("::1", 65_536),
            ],
        );
        let found = Endpoints::check(&message);
        let named: Vec<_> = found
            .iter()
            .map(|found| (&*found.object, &*found.field))
            .collect();
        assert_eq!(
            named,
            [
                ("a", "endpoints[1]"),
                ("a", "endpoints[2]"),
                ("a", "endpoints[3]")
            ]
        );
        assert!(found[0].message.contains("`web`"), "{found:?}");
        assert_eq!(
            Endpoints::default().with(message).of("a"),
            ["10.0.0.1:80".parse().unwrap()]
        );
    }
}
