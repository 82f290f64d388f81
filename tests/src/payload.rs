//! Bodies of any size whose every byte is known, without holding them.

use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::{Stream, stream};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};

/// A prime, so that a body whose pieces were swapped or repeated has another hash.
const BLOCK: usize = 1_048_573;
const PIECE: usize = 64 * 1024;

static DATA: LazyLock<Bytes> = LazyLock::new(|| {
    let mut data = vec![0; BLOCK];
    StdRng::seed_from_u64(0x7469_6465).fill(&mut data[..]);
    data.into()
});

/// The first `length` bytes of one fixed sequence.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    pub length: u64,
}

impl Payload {
    pub fn of(length: u64) -> Self {
        Self { length }
    }

    /// The payload in pieces of at most 64 KiB.
    pub fn pieces(self) -> impl Iterator<Item = Bytes> + Send + Sync {
        let mut at = 0;
        std::iter::from_fn(move || {
            let left = self.length - at;
            if left == 0 {
                return None;
            }
            let begin = (at % BLOCK as u64) as usize;
            let size = PIECE
                .min(BLOCK - begin)
                .min(usize::try_from(left).unwrap_or(PIECE));
            at += size as u64;
            Some(DATA.slice(begin..begin + size))
        })
    }

    pub fn stream(self) -> impl Stream<Item = Bytes> + Send + Sync {
        stream::iter(self.pieces())
    }

    /// Lower-case hex.
    pub fn sha256(self) -> String {
        let mut hash = Sha256::new();
        self.pieces().for_each(|piece| hash.update(piece));
        hex(&hash.finalize())
    }
}

/// Lower-case hex SHA-256.
pub fn sha256_hex(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
