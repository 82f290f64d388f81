//! What a datagram is for: the same as quiche reads in it, and never another's connection.

use arbitrary::{Result, Unstructured};
use quiche::Type;
use tidegate_dataplane::{
    connections::Handle,
    quic::{
        cid::{CID_LEN, CidCodec, ConnectionIdGenerator as _, Location, server_id},
        demux::{Place, Verdict, classify},
        relay::peers::Peers,
    },
    snapshot::CidKey,
};
use tidegate_proto::v1;

pub(super) fn run(data: &[u8]) {
    let codec = CidCodec::new(&[1, 2].map(|id| CidKey {
        id,
        aes: [id as u8; 16],
    }));
    let peers = Peers::default().after(&v1::Peers {
        peers: vec![v1::Peer {
            dataplane_id: "other".into(),
            relay_address: "127.0.0.1:4444".into(),
        }],
        complete: true,
    });
    let place = Place {
        server: server_id("this"),
        shard: 1,
        shards: 3,
    };
    as_quiche_reads_it(data, classify(data, place, &codec, &peers));
    let _too_short = routed(Unstructured::new(data), place, &codec, &peers);
}

fn as_quiche_reads_it(datagram: &[u8], verdict: Verdict<'_>) {
    let mut copy = datagram.to_vec();
    let read = quiche::Header::from_slice(&mut copy, CID_LEN);
    match verdict {
        Verdict::Handshake { dcid, initial } => {
            let Ok(read) = read else {
                // quiche reads on in an Initial alone.
                assert!(initial.is_none(), "quiche cannot read this Initial");
                return;
            };
            assert_eq!(&*read.dcid, dcid);
            assert_eq!(read.ty == Type::Initial, initial.is_some());
            if let Some(initial) = initial {
                assert!(datagram.len() >= 1200 && dcid.len() >= 8);
                assert_eq!(&*read.scid, initial.scid);
                assert_eq!(read.token.as_deref().unwrap_or_default(), initial.token);
            }
        }
        Verdict::UnknownVersion { dcid, scid } => {
            assert!(datagram.len() >= 1200, "the answer would be larger");
            let version = u32::from_be_bytes(datagram[1..5].try_into().expect("four bytes"));
            assert!(version != 0 && !quiche::version_is_supported(version));
            assert!(dcid.len() <= 255 && scid.len() <= 255);
        }
        Verdict::Connection(_) | Verdict::Sideways(_) | Verdict::Elsewhere(_) | Verdict::Gone => {
            let at = if datagram[0] & 0x80 == 0 { 1 } else { 6 };
            assert!(datagram.len() >= at + CID_LEN);
        }
        Verdict::Drop(_) => {}
    }
}

/// A datagram with a connection ID of ours goes where that says, whatever else is in it.
fn routed(
    mut input: Unstructured<'_>,
    place: Place,
    codec: &CidCodec,
    peers: &Peers,
) -> Result<()> {
    let location = Location {
        server: match input.int_in_range(0..=2)? {
            0 => place.server,
            1 => server_id("other"),
            _ => input.arbitrary()?,
        },
        shard: input.arbitrary()?,
        handle: Handle {
            slot: input.int_in_range(0..=0x00ff_ffff)?,
            generation: input.int_in_range(0..=0x00ff_ffff)?,
        },
    };
    let cid = codec.new_connection_id(location, input.arbitrary()?);
    assert_eq!(codec.locate(&cid), Some(location));
    let mut datagram = vec![input.arbitrary::<u8>()? & 0x7f];
    datagram.extend_from_slice(&cid);
    datagram.extend_from_slice(input.take_rest());
    let expected = match location {
        Location {
            server,
            shard,
            handle,
        } if server == place.server => {
            if shard == place.shard {
                Verdict::Connection(handle)
            } else if shard < place.shards {
                Verdict::Sideways(shard)
            } else {
                Verdict::Gone
            }
        }
        Location { server, .. } if peers.knows(server) => Verdict::Elsewhere(server),
        _ => Verdict::Gone,
    };
    assert_eq!(classify(&datagram, place, codec, peers), expected);
    Ok(())
}
