//! Snapshots and addresses: refused with a reason, or served.

use http::{HeaderMap, Method};
use prost::Message as _;
use tidegate_dataplane::snapshot::{Endpoints, Snapshot};
use tidegate_proto::v1;

use crate::planes;

pub(super) fn run(data: &[u8]) {
    if let Ok(endpoints) = v1::Endpoints::decode(data) {
        let (id, count) = (endpoints.backend_id.clone(), endpoints.endpoints.len());
        let refused = Endpoints::check(&endpoints).len();
        assert!(refused <= count);
        let kept = Endpoints::default().with(endpoints).of(&id).len();
        assert!(kept <= count - refused, "equal ones are one");
    }
    let Ok(mut wire) = v1::Snapshot::decode(data) else {
        return;
    };
    // Keys of the right length are hard to guess, and would keep the rest out.
    if wire.keys.is_none() {
        wire.keys = Some(planes::keys());
    }
    match Snapshot::try_from(wire.clone()) {
        Ok(snapshot) => look_around(&snapshot, &wire),
        Err(rejections) => {
            assert!(!rejections.is_empty());
            for rejection in rejections {
                assert!(!rejection.message.is_empty(), "{rejection:?}");
            }
        }
    }
}

fn look_around(snapshot: &Snapshot, wire: &v1::Snapshot) {
    assert_eq!(snapshot.listeners().count(), wire.listeners.len());
    let headers = HeaderMap::new();
    for binding in &snapshot.bindings {
        assert!(!binding.listeners.is_empty());
        let found = snapshot.binding(&binding.key).expect("it is there");
        assert_eq!(found.key, binding.key);
    }
    for listener in snapshot.listeners() {
        for host in ["a.example", "", "*"] {
            for path in ["/", "/a", "/a/b"] {
                if let Some(found) = listener
                    .routes
                    .find(host, &Method::GET, path, None, &headers)
                {
                    assert!(wire.routes.iter().any(|route| *route.id == *found.route.id));
                    let prefix = found.matched_prefix.unwrap_or("/");
                    assert!(prefix == "/" || path.starts_with(prefix));
                }
            }
        }
    }
}
