//! Retry tokens: nobody makes one but who has the key, and each is good for one use.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use arbitrary::{Result, Unstructured};
use tidegate_dataplane::{
    quic::token::{RETRY_LIFETIME, open_retry, reset_token, seal_retry, stateless_reset},
    snapshot::SecretKey,
};

const KEYS: [SecretKey; 2] = [
    SecretKey {
        id: 1,
        secret: [1; 32],
    },
    SecretKey {
        id: 2,
        secret: [2; 32],
    },
];

pub(super) fn run(data: &[u8]) {
    let _too_short = check(Unstructured::new(data));
}

fn check(mut input: Unstructured<'_>) -> Result<()> {
    let ip: IpAddr = match input.arbitrary()? {
        true => input.arbitrary::<[u8; 4]>()?.into(),
        false => input.arbitrary::<[u8; 16]>()?.into(),
    };
    let peer = SocketAddr::new(ip, input.arbitrary()?);
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(input.arbitrary::<u32>()?.into());
    let later = now + Duration::from_millis(input.arbitrary::<u16>()?.into());
    let scid = bytes(&mut input, 20)?;
    let dcid = bytes(&mut input, 20)?;
    let sealed = seal_retry(&KEYS[0], peer, dcid, scid, now);
    let good = later <= now + RETRY_LIFETIME;
    let opened = open_retry(&KEYS, &sealed, peer, scid, later);
    assert_eq!(opened.is_ok(), good, "{opened:?}");
    if let Ok(opened) = opened {
        assert_eq!(opened.original_dcid, dcid);
    }
    if let Some(reset) = stateless_reset(
        reset_token(&KEYS[0], scid),
        input.arbitrary::<u16>()?.into(),
    ) {
        assert!((21..=42).contains(&reset.len()));
    }

    let other = bytes(&mut input, 20)?;
    if other != scid {
        assert!(open_retry(&KEYS, &sealed, peer, other, later).is_err());
    }
    let mut forged = sealed.clone();
    let at = input.choose_index(forged.len())?;
    forged[at] ^= input.int_in_range(1..=255_u8)?;
    assert!(open_retry(&KEYS, &forged, peer, scid, later).is_err());
    // A fuzzer sees what is compared, tokens too, and finds one of before again.
    let rest = input.take_rest();
    if let Ok(opened) = open_retry(&KEYS, rest, peer, scid, later) {
        let seal = |key| seal_retry(key, peer, &opened.original_dcid, scid, opened.made);
        assert!(KEYS.iter().any(|key| seal(key) == rest), "nobody sealed it");
    }
    Ok(())
}

fn bytes<'a>(input: &mut Unstructured<'a>, most: usize) -> Result<&'a [u8]> {
    let len = input.int_in_range(0..=most)?;
    input.bytes(len)
}
