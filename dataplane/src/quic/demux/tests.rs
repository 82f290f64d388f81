use super::*;
use crate::{
    quic::cid::{CidCodec, Location, server_id},
    snapshot::CidKey,
};

const PLACE: Place = Place {
    server: 0x1234_5678,
    shard: 1,
    shards: 8,
};

fn codec() -> CidCodec {
    CidCodec::new(&[CidKey {
        id: 1,
        aes: [7; 16],
    }])
}

#[test]
fn a_connection_of_a_shard_that_there_is_not_is_gone() {
    let of_shard = |shard| {
        let packet = short(&cid(PLACE.server, shard));
        format!("{:?}", classify(&packet, PLACE, &codec(), &nobody()))
    };
    assert_eq!(of_shard(7), "Sideways(7)");
    assert_eq!(of_shard(8), "Gone");
}

fn nobody() -> Peers {
    Peers::default()
}

fn with_peer(id: &str, complete: bool) -> Peers {
    Peers::default().after(&tidegate_proto::v1::Peers {
        peers: vec![tidegate_proto::v1::Peer {
            dataplane_id: id.into(),
            relay_address: "192.0.2.9:9094".into(),
        }],
        complete,
    })
}

fn cid(server: u32, shard: u8) -> [u8; CID_LEN] {
    let handle = Handle {
        slot: 9,
        generation: 4,
    };
    codec().new_connection_id(
        Location {
            server,
            shard,
            handle,
        },
        1,
    )
}

fn short(cid: &[u8]) -> Vec<u8> {
    [&[0x40], cid, &[0; 40]].concat()
}

fn long(kind: u8, version: u32, dcid: &[u8], token: &[u8], len: usize) -> Vec<u8> {
    let mut packet = vec![0xc0 | kind];
    packet.extend_from_slice(&version.to_be_bytes());
    packet.push(dcid.len() as u8);
    packet.extend_from_slice(dcid);
    packet.extend_from_slice(&[4, 1, 2, 3, 4]);
    packet.push(token.len() as u8);
    packet.extend_from_slice(token);
    packet.resize(len.max(packet.len()), 0);
    packet
}

#[test]
fn a_packet_goes_to_its_connection_wherever_it_lands() {
    let handle = Handle {
        slot: 9,
        generation: 4,
    };
    assert_eq!(
        classify(&short(&cid(PLACE.server, 1)), PLACE, &codec(), &nobody()),
        Verdict::Connection(handle)
    );
    assert_eq!(
        classify(&short(&cid(PLACE.server, 3)), PLACE, &codec(), &nobody()),
        Verdict::Sideways(3)
    );
    let handshake = long(0x20, 1, &cid(PLACE.server, 1), b"", 100);
    assert_eq!(
        classify(&handshake, PLACE, &codec(), &nobody()),
        Verdict::Connection(handle)
    );
}

#[test]
fn another_servers_packet_is_unknown() {
    let packet = short(&cid(server_id("another"), 1));
    assert_eq!(
        classify(&packet, PLACE, &codec(), &nobody()),
        Verdict::Drop(DatagramDrop::UnknownConnection)
    );
}

#[test]
fn an_initial_shows_its_token() {
    let packet = long(0, 1, b"clients-dcid", b"token", 1200);
    let initial = Some(Initial {
        scid: &[1, 2, 3, 4],
        token: b"token",
    });
    assert_eq!(
        classify(&packet, PLACE, &codec(), &nobody()),
        Verdict::Handshake {
            dcid: b"clients-dcid",
            initial
        }
    );
}

#[test]
fn a_handshake_packet_to_a_clients_id_begins_nothing() {
    let packet = long(0x20, 1, b"clients-dcid", b"", 1200);
    assert_eq!(
        classify(&packet, PLACE, &codec(), &nobody()),
        Verdict::Handshake {
            dcid: b"clients-dcid",
            initial: None
        }
    );
}

#[test]
fn small_datagrams_begin_nothing_and_get_no_answer() {
    let initial = long(0, 1, b"clients-dcid", b"", 1199);
    assert_eq!(
        classify(&initial, PLACE, &codec(), &nobody()),
        Verdict::Drop(DatagramDrop::Undersized)
    );
    let unknown = long(0, 0x0a0a_0a0a, b"clients-dcid", b"", 1199);
    assert_eq!(
        classify(&unknown, PLACE, &codec(), &nobody()),
        Verdict::Drop(DatagramDrop::Undersized)
    );
    let known = long(0, 1, &cid(PLACE.server, 1), b"", 1199);
    assert_eq!(
        classify(&known, PLACE, &codec(), &nobody()),
        Verdict::Drop(DatagramDrop::Undersized),
        "nor does one go on"
    );
    let unknown = long(0, 0x0a0a_0a0a, b"clients-dcid", b"", 1200);
    assert!(matches!(
        classify(&unknown, PLACE, &codec(), &nobody()),
        Verdict::UnknownVersion { .. }
    ));
}

#[test]
fn what_only_servers_send_is_unexpected() {
    for packet in [
        long(0x30, 1, b"clients-dcid", b"", 1200),
        long(0, 0, b"clients-dcid", b"", 1200),
    ] {
        assert_eq!(
            classify(&packet, PLACE, &codec(), &nobody()),
            Verdict::Drop(DatagramDrop::Unexpected)
        );
    }
}

#[test]
fn no_truncation_and_no_noise_is_taken_for_a_connection() {
    let packet = long(0, 1, b"clients-dcid", b"token", 1200);
    for len in 0..1200 {
        assert!(
            matches!(
                classify(&packet[..len], PLACE, &codec(), &nobody()),
                Verdict::Drop(_)
            ),
            "{len}"
        );
    }
    let mut state = 1_u64;
    for _ in 0..100_000 {
        let mut noise = [0_u8; 64];
        for byte in &mut noise {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        let verdict = classify(&noise, PLACE, &codec(), &nobody());
        assert!(
            !matches!(verdict, Verdict::Connection(_) | Verdict::Sideways(_)),
            "{verdict:?}"
        );
    }
}

#[test]
fn a_packet_of_another_data_plane_is_relayed_if_that_one_is_there() {
    let other = server_id("other");
    let packet = short(&cid(other, 3));
    let peers = with_peer("other", true);
    assert_eq!(
        classify(&packet, PLACE, &codec(), &peers),
        Verdict::Elsewhere(other)
    );
    // A client that moves early still has long headers to send.
    let handshake = long(0x20, quiche::PROTOCOL_VERSION, &cid(other, 3), b"", 200);
    assert_eq!(
        classify(&handshake, PLACE, &codec(), &peers),
        Verdict::Elsewhere(other)
    );
    assert_eq!(
        classify(&short(&cid(PLACE.server, 3)), PLACE, &codec(), &peers),
        Verdict::Sideways(3),
        "its own come first"
    );
}

#[test]
fn a_packet_of_a_data_plane_that_is_gone_is_told_from_one_that_is_not_known_yet() {
    let packet = short(&cid(server_id("gone"), 3));
    assert_eq!(
        classify(&packet, PLACE, &codec(), &with_peer("other", true)),
        Verdict::Gone
    );
    assert_eq!(
        classify(&packet, PLACE, &codec(), &with_peer("other", false)),
        Verdict::Drop(DatagramDrop::UnknownConnection)
    );
}

#[test]
fn an_id_that_a_client_chose_begins_a_handshake_whatever_it_reads_as() {
    let chosen = cid(server_id("nobody"), 3);
    let initial = long(TYPE_INITIAL, quiche::PROTOCOL_VERSION, &chosen, b"", 1_200);
    assert!(matches!(
        classify(&initial, PLACE, &codec(), &with_peer("other", true)),
        Verdict::Handshake {
            initial: Some(_),
            ..
        }
    ));
}
