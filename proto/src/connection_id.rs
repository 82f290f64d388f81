//! The name by which operators and planes speak of a connection.

use std::{fmt, str::FromStr};

/// `dataplane.shard.slot.generation`: routes itself to the dataplane and the shard
/// that own the connection, and never means another one, because a slot's generation
/// changes when it is used again. It is not a QUIC connection ID: those are on the
/// wire, and change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Name of the dataplane, which may itself have dots.
    pub dataplane: String,
    /// Index of the owning shard.
    pub shard: u8,
    /// Slot in the shard's connection map.
    pub slot: u32,
    /// Use of that slot.
    pub generation: u32,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            dataplane,
            shard,
            slot,
            generation,
        } = self;
        write!(f, "{dataplane}.{shard}.{slot}.{generation}")
    }
}

/// A text that is no [`ConnectionId`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no connection id: expected dataplane.shard.slot.generation")]
pub struct InvalidConnectionId(String);

impl FromStr for ConnectionId {
    type Err = InvalidConnectionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.rsplitn(4, '.');
            let generation = parts.next()?.parse().ok()?;
            let slot = parts.next()?.parse().ok()?;
            let shard = parts.next()?.parse().ok()?;
            let dataplane = parts.next().filter(|name| !name.is_empty())?.to_owned();
            Some(Self {
                dataplane,
                shard,
                slot,
                generation,
            })
        };
        parse().ok_or_else(|| InvalidConnectionId(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataplane_name_may_have_dots() {
        let id = ConnectionId {
            dataplane: "edge.eu-1".into(),
            shard: 3,
            slot: 70_000,
            generation: 9,
        };
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "a",
            "a.1.2",
            ".1.2.3",
            "a.256.2.3",
            "a.1.2.-3",
            "a.1.2.x",
        ] {
            assert!(text.parse::<ConnectionId>().is_err(), "{text}");
        }
    }
}
