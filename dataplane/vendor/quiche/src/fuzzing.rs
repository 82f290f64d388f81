// Copyright (C) 2026, Cloudflare, Inc.
// All rights reserved.
//
// Redistribution and use in source and binary forms, with or without
// modification, are permitted provided that the following conditions are
// met:
//
//     * Redistributions of source code must retain the above copyright notice,
//       this list of conditions and the following disclaimer.
//
//     * Redistributions in binary form must reproduce the above copyright
//       notice, this list of conditions and the following disclaimer in the
//       documentation and/or other materials provided with the distribution.
//
// THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS
// IS" AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO,
// THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR
// PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR
// CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL,
// EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO,
// PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR
// PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF
// LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING
// NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS
// SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.


//! Doors for fuzz targets to what is private. Only in builds with debug
//! assertions, so in no library that is shipped.

use super::*;

/// Reads transport parameters, as the server does or the client.
///
/// `unknown_size` is the room for those that are not known.
pub fn decode_transport_params(
    buf: &[u8], is_server: bool, unknown_size: Option<usize>,
) -> Result<TransportParams> {
    TransportParams::decode(buf, is_server, unknown_size)
}

/// Writes transport parameters, as the server does or the client. Returns
/// their length.
pub fn encode_transport_params(
    params: &TransportParams, is_server: bool, out: &mut [u8],
) -> Result<usize> {
    TransportParams::encode(params, is_server, out).map(|out| out.len())
}

/// Has a connection that has not sent anything send these transport parameters.
pub fn set_transport_params<F: BufFactory>(
    conn: &mut Connection<F>, raw: &[u8],
) -> Result<()> {
    conn.handshake.set_raw_quic_transport_params(raw)
}

/// Seals `frames`, whatever they are, into a 1-RTT packet with the keys of the
/// connection, which is not changed but for those. Returns the packet's length.
pub fn seal<F: BufFactory>(
    conn: &mut Connection<F>, dcid: &ConnectionId, pkt_num: u64, frames: &[u8],
    out: &mut [u8],
) -> Result<usize> {
    let mut b = octets::OctetsMut::with_slice(out);

    let hdr = Header {
        ty: Type::Short,
        version: conn.version,
        dcid: ConnectionId::from_ref(dcid),
        scid: ConnectionId::default(),
        pkt_num,
        // As long as it can be, so that there may be no frames at all.
        pkt_num_len: packet::MAX_PKT_NUM_LEN,
        token: None,
        versions: None,
        key_phase: conn.key_phase,
    };

    hdr.to_bytes(&mut b)?;
    packet::encode_pkt_num(pkt_num, packet::MAX_PKT_NUM_LEN, &mut b)?;

    let payload_offset = b.off();

    b.put_bytes(frames)?;

    let aead = conn.crypto_ctx[packet::Epoch::Application]
        .crypto_seal
        .as_mut()
        .ok_or(Error::InvalidState)?;

    packet::encrypt_pkt(
        &mut b,
        pkt_num,
        packet::MAX_PKT_NUM_LEN,
        frames.len(),
        payload_offset,
        None,
        aead,
    )
}

/// What a 1-RTT packet has for the one that sent [`seal`]ed frames.
#[derive(Default)]
pub struct Opened {
    /// Its packet number.
    pub pkt_num: u64,

    /// Data of PATH_CHALLENGE frames.
    pub challenges: Vec<[u8; 8]>,

    /// Streams, their data, and whether it is the last.
    pub streams: Vec<(u64, Vec<u8>, bool)>,
}

/// Opens a 1-RTT packet that was sent to the connection, which is not changed.
/// `largest` is the largest number of those before, `dcid_len` the length of
/// its connection ID.
pub fn open<F: BufFactory>(
    conn: &Connection<F>, largest: u64, dcid_len: usize, buf: &mut [u8],
) -> Result<Opened> {
    let mut b = octets::OctetsMut::with_slice(buf);
    let mut hdr = Header::from_bytes(&mut b, dcid_len)?;

    let aead = conn.crypto_ctx[packet::Epoch::Application]
        .crypto_open
        .as_deref()
        .ok_or(Error::InvalidState)?;

    let payload_len = b.cap();
    packet::decrypt_hdr(&mut b, &mut hdr, aead)?;

    let pn = packet::decode_pkt_num(largest, hdr.pkt_num, hdr.pkt_num_len);
    let mut payload =
        packet::decrypt_pkt(&mut b, pn, hdr.pkt_num_len, payload_len, aead)?;

    let mut opened = Opened {
        pkt_num: pn,
        ..Default::default()
    };

    while payload.cap() > 0 {
        match frame::Frame::from_bytes(&mut payload, hdr.ty)? {
            frame::Frame::PathChallenge { data } => opened.challenges.push(data),

            frame::Frame::Stream { stream_id, data } => {
                let bytes = data.to_vec();
                opened.streams.push((stream_id, bytes, data.fin()));
            },

            _ => (),
        }
    }

    Ok(opened)
}

/// What a peer makes a connection keep, in numbers.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Streams that are open.
    pub streams: usize,

    /// Paths.
    pub paths: usize,

    /// Ranges of packet numbers that are to be acknowledged.
    pub ack_ranges: usize,

    /// Connection IDs of the peer, those to be retired included.
    pub dcids: usize,
}

/// What the connection keeps.
pub fn kept<F: BufFactory>(conn: &Connection<F>) -> Kept {
    let space = &conn.pkt_num_spaces[packet::Epoch::Application];

    Kept {
        streams: conn.streams.len(),
        paths: conn.paths.len(),
        ack_ranges: space.recv_pkt_need_ack.len(),
        dcids: conn.ids.available_dcids() + conn.ids.retire_dcid_seqs().len(),
    }
}

/// A stream of the peer that it may open and has not opened.
pub fn unopened_stream<F: BufFactory>(conn: &Connection<F>) -> Option<u64> {
    let first = u64::from(!conn.is_server);
    let allowed = conn.streams.max_streams_bidi();

    (0..allowed).rev().map(|n| first + 4 * n).find(|&id| {
        conn.streams.get(id).is_none() && !conn.streams.is_collected(id)
    })
}
