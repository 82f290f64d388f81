//! Keys of one Gateway, from those of all. Pure.

use hkdf::Hkdf;
use sha2::Sha256;
use tidegate_proto::v1;

/// The keys of `gateway`, `namespace/name`: as many, as long and with the same ids, yet
/// telling nothing of the ring or of other Gateways (RFC 5869). So a dataplane that is
/// broken into cannot read the tickets or forge the connection IDs of others.
pub fn of_gateway(ring: &v1::Keys, gateway: &str) -> v1::Keys {
    let derive = |kind: &str, keys: &[v1::Key]| {
        keys.iter()
            .map(|key| v1::Key {
                id: key.id,
                material: material(&key.material, kind, gateway).into(),
            })
            .collect()
    };
    v1::Keys {
        ticket: derive("ticket", &ring.ticket),
        retry: derive("retry", &ring.retry),
        reset: derive("reset", &ring.reset),
        cid: derive("cid", &ring.cid),
        relay: derive("relay", &ring.relay),
    }
}

/// The keys of relays among dataplanes of all Gateways, from those of reset tokens: so a
/// ring is as large as ever, and both change together.
pub(super) fn relay(reset: &[v1::Key]) -> Vec<v1::Key> {
    let derive = |key: &v1::Key| v1::Key {
        id: key.id,
        material: material(&key.material, "relay", "").into(),
    };
    reset.iter().map(derive).collect()
}

fn material(key: &[u8], kind: &str, gateway: &str) -> Vec<u8> {
    let mut derived = vec![0; key.len()];
    let info: [&[u8]; 4] = [b"tidegate v1 ", kind.as_bytes(), b" ", gateway.as_bytes()];
    // It fails only beyond 255 hashes of 32 bytes; no key is nearly so long.
    match Hkdf::<Sha256>::new(None, key).expand_multi_info(&info, &mut derived) {
        Ok(()) => derived,
        Err(_) => vec![],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::SysRng;

    use super::*;
    use crate::keys::KeyRing;

    #[test]
    fn keys_of_a_gateway_are_stable_and_tell_nothing_of_others() {
        let ring = KeyRing::generate(&mut SysRng, 1).unwrap();
        let ring = ring.rotated(&mut SysRng, 2).unwrap().to_wire();
        let (one, other) = (of_gateway(&ring, "a/one"), of_gateway(&ring, "a/other"));
        assert_eq!(one, of_gateway(&ring, "a/one"));

        let all = |keys: &v1::Keys| {
            let kinds = [
                &keys.ticket,
                &keys.retry,
                &keys.reset,
                &keys.cid,
                &keys.relay,
            ];
            kinds.into_iter().flatten().cloned().collect::<Vec<_>>()
        };
        let materials: BTreeSet<_> = [&ring, &one, &other]
            .into_iter()
            .flat_map(all)
            .map(|key| key.material)
            .collect();
        assert_eq!(materials.len(), 3 * all(&ring).len(), "no two are the same");
        for (master, derived) in all(&ring).iter().zip(all(&one)) {
            assert_eq!(master.id, derived.id);
            assert_eq!(master.material.len(), derived.material.len());
        }
    }

    #[test]
    fn a_rotation_moves_the_derived_keys_as_it_moves_the_ring() {
        let before = KeyRing::generate(&mut SysRng, 1).unwrap();
        let after = before.rotated(&mut SysRng, 2).unwrap();
        let before = of_gateway(&before.to_wire(), "a/one");
        let after = of_gateway(&after.to_wire(), "a/one");
        assert_eq!(after.ticket[0], before.ticket[1]);
        assert_eq!(after.ticket[2], before.ticket[0]);
    }
}
