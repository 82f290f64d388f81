//! From one plane to the other: whatever resources say, what is made of them can be served.

use std::sync::LazyLock;

use tidegate_controlplane::{
    resources::Resources,
    translate::{Options, translate},
};
use tidegate_dataplane::snapshot::{Endpoints, Snapshot};
use tidegate_proto::v1;

/// One key of each kind.
pub(super) fn keys() -> v1::Keys {
    let key = |length: usize, byte: u8| {
        vec![v1::Key {
            id: 1,
            material: vec![byte; length].into(),
        }]
    };
    v1::Keys {
        ticket: key(48, 1),
        retry: key(32, 2),
        reset: key(32, 3),
        cid: key(16, 4),
        relay: key(32, 5),
    }
}

/// Translates, and has a data plane parse every snapshot that comes of it.
pub(super) fn serve(resources: &Resources) {
    static OPTIONS: LazyLock<Options> = LazyLock::new(|| Options {
        keys: keys(),
        ..Options::default()
    });
    let translation = translate(resources, &OPTIONS);
    for (gateway, snapshot) in translation.snapshots {
        if let Err(rejections) = Snapshot::try_from(snapshot.clone()) {
            panic!("{gateway}: a dataplane refuses {rejections:?} of {snapshot:?}");
        }
    }
    for endpoints in translation.endpoints.values() {
        let refused = Endpoints::check(endpoints);
        assert!(refused.is_empty(), "{refused:?} of {endpoints:?}");
    }
    for status in &translation.statuses {
        for condition in &status.conditions {
            // What the API server asks of a condition.
            assert!(!condition.reason.is_empty() && condition.message.len() <= 32_768);
        }
    }
}
