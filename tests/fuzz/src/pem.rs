//! Certificates of Secrets: what the control plane lets pass, a data plane serves.

use tidegate_controlplane::fuzzing;
use tidegate_dataplane::snapshot::Snapshot;
use tidegate_proto::v1;

use crate::planes;

pub(super) fn run(data: &[u8]) {
    let at = data.windows(4).position(|bytes| bytes == b"\n\n\n\n");
    let (chain, key) = match at {
        Some(at) => (&data[..at], &data[at + 4..]),
        None => (data, data),
    };
    let passed = fuzzing::is_key_pair(chain, key);
    let snapshot = v1::Snapshot {
        version: "1".into(),
        certificates: vec![v1::Certificate {
            id: "default/site".into(),
            chain_pem: chain.to_vec().into(),
            private_key_pem: key.to_vec().into(),
        }],
        keys: Some(planes::keys()),
        ..Default::default()
    };
    let served = Snapshot::try_from(snapshot);
    assert_eq!(served.is_ok(), passed, "{:?}", served.err());
}
