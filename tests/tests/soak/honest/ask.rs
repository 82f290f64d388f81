//! A request whose answer is known.

use bytes::{Buf, Bytes};
use rand::{RngExt, rngs::StdRng};

use crate::world::{LONGEST, World};

/// What a slow reader reads at once, and sleeps after.
pub(super) const SLOW_PIECE: usize = 32 * 1024;
/// What it has the patience for.
const SLOW_LONGEST: usize = 256 * 1024;
/// Of an upload.
const PIECE: usize = 16 * 1024;

/// A request.
pub(super) struct Ask {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: Bytes,
    pub(super) answer: Bytes,
}

impl Ask {
    pub(super) fn new(world: &World, slow: bool, random: &mut StdRng) -> Self {
        let (kind, longest) = match random.random_range(0..100) {
            0..40 => ("GET", 2_000),
            40..65 => ("GET", 300_000),
            65..92 => ("POST", 200_000),
            92..96 => ("GET", LONGEST),
            _ => ("POST", LONGEST / 2),
        };
        let longest = if slow {
            longest.min(SLOW_LONGEST)
        } else {
            longest
        };
        let length = random.random_range(1..=longest);
        if kind == "GET" {
            return Self {
                method: kind,
                path: format!("/bytes/{length}"),
                body: Bytes::new(),
                answer: world.content.slice(..length),
            };
        }
        let begin = random.random_range(0..=LONGEST - length);
        let body = world.content.slice(begin..begin + length);
        Self {
            method: kind,
            path: "/mirror".to_owned(),
            answer: body.clone(),
            body,
        }
    }

    /// A few that are sent at the same time.
    pub(super) fn group(world: &World, slow: bool, random: &mut StdRng) -> Vec<Self> {
        let count = random.random_range(1..=4);
        (0..count).map(|_| Self::new(world, slow, random)).collect()
    }

    /// The body as it is sent.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Bytes> + Send + use<> {
        let mut left = self.body.clone();
        std::iter::from_fn(move || {
            let size = left.len().min(PIECE);
            (size > 0).then(|| left.split_to(size))
        })
    }

    pub(super) fn name(&self) -> String {
        let (up, down) = (self.body.len(), self.answer.len());
        format!("{} {} ({up} bytes up, {down} down)", self.method, self.path)
    }
}

/// Compares an answer, piece by piece.
pub(super) struct Check {
    whole: usize,
    left: Bytes,
}

impl Check {
    pub(super) fn new(ask: &Ask) -> Self {
        Self {
            whole: ask.answer.len(),
            left: ask.answer.clone(),
        }
    }

    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(), String> {
        if !self.left.starts_with(piece) {
            let at = self.whole - self.left.len();
            return Err(format!("other bytes in the {} after {at}", piece.len()));
        }
        self.left.advance(piece.len());
        Ok(())
    }

    pub(super) fn end(&self) -> Result<(), String> {
        match self.left.len() {
            0 => Ok(()),
            left => Err(format!("it ended {left} bytes early")),
        }
    }
}
