//! Frames between data planes: only what was sealed opens, and as it was.

use std::net::{IpAddr, SocketAddr};

use arbitrary::{Result, Unstructured};
use tidegate_dataplane::{
    quic::relay::frame::{OVERHEAD, Sealer, Way},
    snapshot::SecretKey,
};

pub(super) fn run(data: &[u8]) {
    let mut sealer = Sealer::new(7);
    sealer.set_keys(&[1, 2].map(|id| SecretKey {
        id,
        secret: [id as u8; 32],
    }));
    let mut raw = data.to_vec();
    assert!(sealer.open(&mut raw).is_none(), "nobody sealed it");
    let _too_short = check(&mut sealer, Unstructured::new(data));
}

fn check(sealer: &mut Sealer, mut input: Unstructured<'_>) -> Result<()> {
    let way = match input.arbitrary()? {
        true => Way::ToOwner,
        false => Way::ToClient,
    };
    let (client, local) = (address(&mut input)?, address(&mut input)?);
    let cut: u8 = input.arbitrary()?;
    let (at, flip) = (input.arbitrary::<u16>()?, input.int_in_range(1..=255_u8)?);
    let datagram = input.take_rest();

    let mut room = vec![0; datagram.len() + OVERHEAD];
    let short = room.len() - 1;
    assert_eq!(
        sealer.seal(way, client, local, datagram, &mut room[..short]),
        None
    );
    let len = sealer.seal(way, client, local, datagram, &mut room);
    assert_eq!(len, Some(room.len()));

    let mut frame = room.clone();
    frame[usize::from(at) % room.len()] ^= flip;
    assert!(sealer.open(&mut frame).is_none(), "it was changed");
    let shorter = room.len().saturating_sub(1 + usize::from(cut));
    assert!(
        sealer.open(&mut room.clone()[..shorter]).is_none(),
        "it was cut"
    );

    let opened = sealer.open(&mut room).expect("it is as it was sealed");
    assert_eq!(
        (opened.way, opened.client, opened.local),
        (way, client, local)
    );
    assert_eq!(opened.datagram, datagram);
    Ok(())
}

fn address(input: &mut Unstructured<'_>) -> Result<SocketAddr> {
    let ip: IpAddr = match input.arbitrary()? {
        true => input.arbitrary::<[u8; 4]>()?.into(),
        false => input.arbitrary::<[u8; 16]>()?.into(),
    };
    // A mapped address is the IPv4 address.
    Ok(SocketAddr::new(ip.to_canonical(), input.arbitrary()?))
}

/// Inputs to begin with, and their names.
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    const V4: &[u8] = &[1, 192, 0, 2, 1, 0x50, 0xc3];
    const V6: &[u8] = &[
        0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xbb, 1,
    ];
    const MAPPED: &[u8] = &[
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1, 0xbb, 1,
    ];
    // What is cut, and which byte is changed, and how.
    const FIRST: &[u8] = &[0, 0, 0, 0];
    const LAST: &[u8] = &[200, 0xff, 0xff, 0x7f];
    let frame =
        |way: u8, parts: [&[u8]; 3], len| [&[way], &parts.concat()[..], &vec![7; len]].concat();
    vec![
        ("to-owner", frame(1, [V4, V4, FIRST], 1200)),
        ("to-owner-v6", frame(1, [V6, V6, LAST], 1452)),
        ("to-client", frame(0, [V4, V4, LAST], 60)),
        ("to-client-v6", frame(0, [V6, V6, FIRST], 21)),
        ("mapped", frame(1, [MAPPED, V4, FIRST], 1)),
        ("mixed", frame(0, [V4, V6, LAST], 300)),
        ("nothing", frame(1, [V6, V4, FIRST], 0)),
    ]
}
