//! How many sessions are half of what a shard can do, on a machine that others may use too.

use std::{
    fmt,
    time::{Duration, Instant},
};

use tidegate_tests::{Gateway, Process};

/// What clients and upstream may take of the cores for each part that the dataplane takes, so that
/// none of them is starved.
const OWN: f64 = 1.8;
/// Seconds that a session takes if nobody waits for a core, and more. Where others use the machine
/// too, what a process gets says nothing of what it could do; but sessions pile up.
const LASTING: f64 = 2.0;
/// So few are never too many.
const FEW: f64 = 40.0;
/// Until it shows whether a lower rate was low enough.
const PATIENCE: Duration = Duration::from_secs(5);
/// Sessions a second before anything is known, and at least.
const FIRST: f64 = 10.0;
const LEAST: f64 = 1.0;
/// By how much the rate may change at once: what sessions cost comes later than they do.
const CHANGE: std::ops::RangeInclusive<f64> = 0.5..=1.8;
/// By how much what was too much is thought to be more in each step.
const FORGET: f64 = 1.1;
/// By how much what was found is corrected.
const LESS: f64 = 0.85;
/// By how much at most it comes back.
const RETURN: f64 = 1.2;

/// Sessions a second.
pub(crate) struct Load {
    /// The part of a core that the dataplane is to have.
    wanted: f64,
    now: f64,
    /// What is held after the warm-up.
    found: f64,
    /// More than this the machine does not bear.
    capacity: f64,
    retreat: Option<Instant>,
    retreats: u64,
}

impl Load {
    pub(crate) fn new(wanted: f64) -> Self {
        Self {
            wanted,
            now: FIRST,
            found: FIRST,
            capacity: f64::INFINITY,
            retreat: None,
            retreats: 0,
        }
    }

    pub(crate) fn rate(&self) -> f64 {
        self.now
    }

    /// Whether more sessions may be under way.
    pub(crate) fn bears(&self, sessions: usize) -> bool {
        (sessions as f64) < (2.0 * LASTING * self.now).max(FEW)
    }

    /// Halves the rate as soon as sessions pile up: it was more than capacity. After the warm-up it
    /// may be others who disturb, and not quite what was found is what is come back to.
    pub(crate) fn look(&mut self, sessions: usize, warming_up: bool) {
        let patient = self.retreat.is_some_and(|at| at.elapsed() < PATIENCE);
        if !patient && sessions as f64 > (LASTING * self.now).max(FEW) {
            self.retreat = Some(Instant::now());
            self.retreats += 1;
            if warming_up {
                self.capacity = self.capacity.min(self.now);
            } else {
                self.found = (self.found * LESS).max(LEAST);
            }
            self.now = (self.now / 2.0).max(LEAST);
        }
    }

    /// Learns from what the last rate took.
    pub(crate) fn adjust(&mut self, shares: Shares, warming_up: bool) {
        let wanted = self.wanted / shares.dataplane.max(shares.own / OWN);
        let factor = if warming_up {
            wanted
        } else {
            RETURN.min(self.found / self.now).min(wanted.max(LESS))
        };
        // It may have been others who disturbed.
        self.capacity *= FORGET;
        let next = self.now * factor.clamp(*CHANGE.start(), *CHANGE.end());
        self.now = next.max(LEAST);
        if warming_up {
            self.now = self.now.min(self.capacity * self.wanted).max(LEAST);
            self.found = self.now;
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            found, retreats, ..
        } = self;
        write!(
            f,
            "{found:.1} sessions a second, halved {retreats} times because they piled up"
        )
    }
}

/// Parts of a core.
#[derive(Clone, Copy)]
pub(crate) struct Shares {
    pub(crate) dataplane: f64,
    control: f64,
    own: f64,
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [data, control, own] =
            [self.dataplane, self.control, self.own].map(|part| part * 100.0);
        write!(
            f,
            "dataplane {data:.0} %, control plane {control:.0} %, clients and upstream {own:.0} %"
        )
    }
}

/// CPU times from a moment on.
pub(crate) struct Meter {
    begin: Instant,
    spent: [Duration; 3],
}

impl Meter {
    pub(crate) fn new(gateway: &mut Gateway) -> Self {
        Self {
            begin: Instant::now(),
            spent: spent(gateway),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    pub(crate) fn read(&self, gateway: &mut Gateway) -> Shares {
        let time = self.begin.elapsed().as_secs_f64();
        let now = spent(gateway);
        let share = |which: usize| {
            let spent = now[which].saturating_sub(self.spent[which]);
            // Linux counts in hundredths of a second: nothing may be very little.
            spent.as_secs_f64().max(0.001) / time
        };
        Shares {
            dataplane: share(0),
            control: share(1),
            own: share(2),
        }
    }
}

fn spent(gateway: &mut Gateway) -> [Duration; 3] {
    let dataplane = gateway.dataplane_process().cpu();
    let control = gateway.control_process().cpu();
    [dataplane, control, Process::own_cpu()]
}
