//! One direction of a relay: its faults, and the link that datagrams cross.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Probabilities from 0 to 1, for each direction alike, and what else is wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub loss: f64,
    /// Of having one bit flipped.
    pub corruption: f64,
    pub repeat: f64,
    /// Of being held back until the next datagram has gone.
    pub reorder: f64,
    /// After so many losses or corruptions in a row one datagram passes unharmed; 0: there is
    /// no such limit.
    pub burst: u32,
    /// The how-manieth datagrams of each client towards the gateway are lost, from 1.
    pub lost_upwards: &'static [u64],
    /// Bytes; longer datagrams from the gateway vanish.
    pub mtu: Option<usize>,
    /// How much longer datagrams towards the gateway take than the link has it.
    pub delay: Duration,
    pub seed: u64,
}

/// What a datagram crosses, in each direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// One way.
    pub delay: Duration,
    /// Bits a second; 0: no limit.
    pub bandwidth: u64,
    /// Datagrams that wait for the link; more are lost. Counts where there is a bandwidth.
    pub queue: usize,
}

/// One direction.
pub(super) struct Lane {
    faults: Faults,
    link: Link,
    random: StdRng,
    held: Option<Vec<u8>>,
    /// The how-manieth datagram this is.
    count: u64,
    /// Datagrams in a row that were lost or corrupted.
    harmed: u32,
    /// When the link is free again.
    free: Option<Instant>,
    crossing: VecDeque<Crossing>,
}

struct Crossing {
    leaves_queue: Instant,
    arrives: Instant,
    datagram: Vec<u8>,
}

impl Lane {
    pub(super) fn new(faults: Faults, link: Link, salt: u64) -> Self {
        Self {
            faults,
            link,
            random: StdRng::seed_from_u64(faults.seed ^ salt),
            held: None,
            count: 0,
            harmed: 0,
            free: None,
            crossing: VecDeque::new(),
        }
    }

    /// Takes a datagram that comes in now.
    pub(super) fn take(&mut self, datagram: Vec<u8>, now: Instant) {
        for datagram in self.suffer(datagram) {
            self.enter(datagram, now);
        }
    }

    /// The datagrams that have arrived by now.
    pub(super) fn arrived(&mut self, now: Instant) -> impl Iterator<Item = Vec<u8>> {
        let arrived = self.crossing.partition_point(|one| one.arrives <= now);
        self.crossing.drain(..arrived).map(|one| one.datagram)
    }

    /// When the next one arrives.
    pub(super) fn due(&self) -> Option<Instant> {
        self.crossing.front().map(|one| one.arrives)
    }

    fn enter(&mut self, datagram: Vec<u8>, now: Instant) {
        let mut leaves_queue = now;
        if self.link.bandwidth > 0 {
            let waiting = self
                .crossing
                .iter()
                .filter(|one| one.leaves_queue > now)
                .count();
            if waiting >= self.link.queue {
                return;
            }
            let bits = datagram.len() as f64 * 8.0;
            let begins = self.free.map_or(now, |free| free.max(now));
            leaves_queue = begins + Duration::from_secs_f64(bits / self.link.bandwidth as f64);
            self.free = Some(leaves_queue);
        }
        self.crossing.push_back(Crossing {
            leaves_queue,
            arrives: leaves_queue + self.link.delay,
            datagram,
        });
    }

    fn suffer(&mut self, mut datagram: Vec<u8>) -> Vec<Vec<u8>> {
        let faults = self.faults;
        self.count += 1;
        let spared = faults.burst > 0 && self.harmed >= faults.burst;
        let lost = !spared && self.random.random_bool(faults.loss);
        let corrupt = !spared && !lost && self.random.random_bool(faults.corruption);
        self.harmed = if lost || corrupt { self.harmed + 1 } else { 0 };
        if lost {
            return self.held.take().into_iter().collect();
        }
        if corrupt && !datagram.is_empty() {
            let at = self.random.random_range(0..datagram.len());
            datagram[at] ^= 1 << self.random.random_range(0..8);
        }
        if self.held.is_none() && self.random.random_bool(faults.reorder) {
            self.held = Some(datagram);
            return Vec::new();
        }
        let mut out = vec![datagram];
        if self.random.random_bool(faults.repeat) {
            out.push(out[0].clone());
        }
        out.extend(self.held.take());
        out
    }

    /// Whether the next datagram is one of those that are always lost, towards the gateway.
    pub(super) fn loses_next(&mut self) -> bool {
        let lost = self.faults.lost_upwards.contains(&(self.count + 1));
        if lost {
            self.count += 1;
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(lane: &mut Lane, datagram: Vec<u8>) -> Vec<Vec<u8>> {
        let now = Instant::now();
        lane.take(datagram, now);
        lane.arrived(now).collect()
    }

    fn lane(faults: Faults) -> Lane {
        Lane::new(faults, Link::default(), 0)
    }

    #[test]
    fn a_lane_without_faults_changes_nothing() {
        let mut lane = lane(Faults::default());
        assert_eq!(pass(&mut lane, vec![1]), [vec![1]]);
        assert_eq!(pass(&mut lane, vec![2]), [vec![2]]);
    }

    #[test]
    fn a_held_datagram_follows_the_next_one() {
        let mut lane = lane(Faults {
            reorder: 1.0,
            ..Faults::default()
        });
        assert!(pass(&mut lane, vec![1]).is_empty());
        assert_eq!(pass(&mut lane, vec![2]), [vec![2], vec![1]]);
    }

    #[test]
    fn losses_come_at_the_rate_that_was_asked_for() {
        let mut lane = lane(Faults {
            loss: 0.25,
            seed: 7,
            ..Faults::default()
        });
        let arrived: usize = (0..4000).map(|_| pass(&mut lane, vec![0]).len()).sum();
        assert!((2850..3150).contains(&arrived), "{arrived}");
    }

    #[test]
    fn corruption_flips_one_bit_and_spares_after_a_burst() {
        let mut lane = lane(Faults {
            corruption: 1.0,
            burst: 3,
            ..Faults::default()
        });
        let flipped: Vec<u32> = (0..8)
            .flat_map(|_| pass(&mut lane, vec![0; 100]))
            .map(|datagram| datagram.iter().map(|byte| byte.count_ones()).sum())
            .collect();
        assert_eq!(flipped, [1, 1, 1, 0, 1, 1, 1, 0]);
    }

    #[test]
    fn a_link_has_a_delay_a_bandwidth_and_a_queue() {
        let link = Link {
            delay: Duration::from_millis(15),
            bandwidth: 8_000,
            queue: 2,
        };
        let mut lane = Lane::new(Faults::default(), link, 0);
        let start = Instant::now();
        // Each takes 100 ms; the third finds no room.
        for _ in 0..3 {
            lane.take(vec![0; 100], start);
        }
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(lane.due(), Some(after(115)));
        assert_eq!(lane.arrived(after(114)).count(), 0);
        assert_eq!(lane.arrived(after(300)).count(), 2);
        assert_eq!(lane.due(), None);
    }
}
