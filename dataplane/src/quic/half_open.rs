//! Handshakes under way, and whether another one may begin: decided before there is any TLS
//! object, with the time as an argument.
//!
//! Each shard has its share of what the data plane can hold, so that what lands on one leaves
//! room on the others. Addresses that nobody proved are cheap to invent: they have a smaller
//! share, for each prefix and in all, and are asked to prove themselves beyond it. The table
//! is no larger than the handshakes that it counts.

mod pressure;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::SystemTime,
};

use self::pressure::Pressure;
use super::metrics::DatagramDrop;
use crate::{connections::Handle, snapshot::RetryMode};

/// The half-open handshakes of a shard.
#[derive(Default)]
pub(crate) struct HalfOpen {
    by_initial: HashMap<Box<[u8]>, Entry>,
    prefixes: HashMap<IpAddr, Counts>,
    all: Counts,
    pressure: Pressure,
}

struct Entry {
    handle: Handle,
    prefix: IpAddr,
    validated: bool,
}

/// How many there are, by whether a Retry proved the client's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The address may be anybody's.
    pub unvalidated: usize,
    /// The address is the client's.
    pub validated: usize,
}

/// What becomes of a client's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// The handshake begins.
    Begin,
    /// First the client has to prove its address.
    Validate,
    /// There is no room.
    Refuse(DatagramDrop),
}

impl HalfOpen {
    /// Decides about a first packet from `peer`. `token`: when the Retry token that came with
    /// it was made.
    pub(crate) fn admit(
        &mut self,
        peer: IpAddr,
        token: Option<SystemTime>,
        mode: RetryMode,
        now: SystemTime,
    ) -> Entrance {
        if let Some(made) = token {
            self.pressure.answered(made, now);
        }
        let adaptive = self.pressure.wants_retry(self.all.sum(), now);
        let of_prefix = self.prefixes.get(&prefix(peer)).copied();
        let of_prefix = of_prefix.unwrap_or_default();
        if self.all.sum() >= MOST {
            return Entrance::Refuse(DatagramDrop::HandshakeLimit);
        }
        if token.is_some() {
            return match of_prefix.validated < MOST_VALIDATED_OF_PREFIX {
                true => Entrance::Begin,
                false => Entrance::Refuse(DatagramDrop::PrefixLimit),
            };
        }
        let crowded = of_prefix.unvalidated >= MOST_UNVALIDATED_OF_PREFIX;
        match mode {
            RetryMode::Always => Entrance::Validate,
            RetryMode::Never if crowded => Entrance::Refuse(DatagramDrop::PrefixLimit),
            RetryMode::Never => Entrance::Begin,
            RetryMode::Adaptive if adaptive => {
                self.pressure.asked(now);
                Entrance::Validate
            }
            RetryMode::Adaptive if crowded => Entrance::Validate,
            RetryMode::Adaptive => Entrance::Begin,
        }
    }

    /// Remembers a handshake by the connection ID that its client chose.
    pub(crate) fn begin(
        &mut self,
        initial: &[u8],
        handle: Handle,
        peer: IpAddr,
        validated: bool,
    ) -> Counts {
        // Two at once of the same ID are one handshake: the listener looks first.
        self.end(initial);
        let entry = Entry {
            handle,
            prefix: prefix(peer),
            validated,
        };
        self.all.change(validated, |count| *count += 1);
        let of_prefix = self.prefixes.entry(entry.prefix).or_default();
        of_prefix.change(validated, |count| *count += 1);
        self.by_initial.insert(initial.into(), entry);
        self.all
    }

    /// Forgets it: it is complete, or nobody can answer for it any more.
    pub(crate) fn end(&mut self, initial: &[u8]) -> Counts {
        if let Some(entry) = self.by_initial.remove(initial) {
            self.all.change(entry.validated, |count| *count -= 1);
            if let Some(of_prefix) = self.prefixes.get_mut(&entry.prefix) {
                of_prefix.change(entry.validated, |count| *count -= 1);
                if of_prefix.sum() == 0 {
                    self.prefixes.remove(&entry.prefix);
                }
            }
        }
        self.all
    }

    /// The connection whose handshake began with this client-chosen ID.
    pub(crate) fn of_initial(&self, initial: &[u8]) -> Option<Handle> {
        self.by_initial.get(initial).map(|entry| entry.handle)
    }

    /// How many are remembered, and of how many prefixes.
    #[cfg(debug_assertions)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.by_initial.len(), self.prefixes.len())
    }

    /// Whether all clients have to prove their addresses now, unless a listener says
    /// otherwise.
    pub(crate) fn retrying(&mut self, now: SystemTime) -> bool {
        self.pressure.wants_retry(self.all.sum(), now)
    }
}

impl Counts {
    fn sum(self) -> usize {
        self.unvalidated + self.validated
    }

    fn change(&mut self, validated: bool, change: impl FnOnce(&mut usize)) {
        change(match validated {
            true => &mut self.validated,
            false => &mut self.unvalidated,
        });
    }
}

/// What one subscriber or one small network has.
pub(crate) fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !0xff).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !0 << 72).into(),
    }
}

/// Half-open handshakes of a shard that are possible at all: about 60 MiB.
const MOST: usize = 2_048;
/// Of a prefix (an IPv4 /24, an IPv6 /56), with proven addresses: a quarter, which is more
/// than a shard completes in the second that a distant client takes.
const MOST_VALIDATED_OF_PREFIX: usize = 512;
/// And without. Half of what asks everybody for a Retry: one prefix alone cannot.
const MOST_UNVALIDATED_OF_PREFIX: usize = pressure::RETRY_FROM / 2;

#[cfg(test)]
mod tests;
