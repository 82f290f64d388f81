//! How many sessions are half of what a shard can do, on a machine that others may use too.

use std::{
    fmt,
    time::{Duration, Instant},
};

use tidegate_tests::{Gateway, Process};

/// Of a shard's core.
const HALF: f64 = 0.5;
/// What clients and upstream may take of the cores beside, so that none of them is starved.
const OWN: f64 = 0.9;
/// Seconds that a session takes if nobody waits for a core, and more. Where others use the machine
/// too, what a process gets says nothing of what it could do; but sessions pile up.
const LASTING: f64 = 5.0;
/// So few are never too many.
const FEW: f64 = 20.0;
/// Sessions a second before anything is known, and at least.
const FIRST: f64 = 10.0;
const LEAST: f64 = 1.0;
/// By how much the rate may change at once: what sessions cost comes later than they do.
const CHANGE: std::ops::RangeInclusive<f64> = 0.5..=1.8;
/// By how much it changes when sessions pile up, and afterwards.
const RETREAT: f64 = 0.7;
const RETURN: f64 = 1.2;

/// Sessions a second.
pub(crate) struct Load {
    now: f64,
    /// What was found in the warm-up.
    found: f64,
    retreats: u64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            now: FIRST,
            found: FIRST,
            retreats: 0,
        }
    }
}

impl Load {
    pub(crate) fn rate(&self) -> f64 {
        self.now
    }

    /// Learns from what the last rate took, and from how many sessions are under way.
    pub(crate) fn adjust(&mut self, shares: Shares, sessions: usize, warming_up: bool) {
        let wanted = (HALF / shares.dataplane).min(OWN / shares.own);
        let factor = if sessions as f64 > (self.now * LASTING).max(FEW) {
            self.retreats += 1;
            RETREAT.min(wanted)
        } else if warming_up {
            wanted
        } else {
            RETURN.min(self.found / self.now)
        };
        self.now = (self.now * factor.clamp(*CHANGE.start(), *CHANGE.end())).max(LEAST);
        if warming_up {
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
            "{found:.1} sessions a second, fewer for a while after {retreats} looks at too many under way"
        )
    }
}

/// Parts of a core.
#[derive(Clone, Copy)]
pub(crate) struct Shares {
    dataplane: f64,
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
