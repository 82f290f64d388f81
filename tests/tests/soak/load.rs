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
/// Of all cores together, whoever uses them. Beyond it everybody waits for a core, and what a
/// process gets says nothing of what it could do.
const SATURATED: f64 = 0.9;
/// Sessions a second before anything is known, and at least.
const FIRST: f64 = 10.0;
const LEAST: f64 = 1.0;
/// By how much the rate may change at once: what sessions cost comes later than they do.
const CHANGE: std::ops::RangeInclusive<f64> = 0.5..=1.8;
/// By how much it changes to get out of saturation, and to come back.
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

    /// Learns from what the last rate took.
    pub(crate) fn adjust(&mut self, shares: Shares, warming_up: bool) {
        let wanted = (HALF / shares.dataplane).min(OWN / shares.own);
        let factor = if shares.machine > SATURATED {
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
            "{found:.1} sessions a second, fewer after {retreats} looks at a saturated machine"
        )
    }
}

/// Parts of a core; of the machine, parts of all of them.
#[derive(Clone, Copy)]
pub(crate) struct Shares {
    dataplane: f64,
    control: f64,
    own: f64,
    machine: f64,
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [data, control, own, machine] =
            [self.dataplane, self.control, self.own, self.machine].map(|part| part * 100.0);
        write!(
            f,
            "dataplane {data:.0} %, control plane {control:.0} %, clients and upstream {own:.0} %; \
             the machine was busy to {machine:.0} %"
        )
    }
}

/// CPU times from a moment on.
pub(crate) struct Meter {
    begin: Instant,
    spent: [Duration; 3],
    machine: Machine,
}

impl Meter {
    pub(crate) fn new(gateway: &mut Gateway) -> Self {
        Self {
            begin: Instant::now(),
            spent: spent(gateway),
            machine: Machine::now(),
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
            machine: Machine::now().busy_since(self.machine),
        }
    }
}

/// What all cores did so far, in ticks.
#[derive(Clone, Copy)]
struct Machine {
    all: u64,
    idle: u64,
}

impl Machine {
    fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").expect("Linux tells of its cores");
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = (line.split_whitespace().skip(1))
            .filter_map(|field| field.parse().ok())
            .collect();
        // Idle, and idle until a disk answers, are the fields 4 and 5.
        let idle = ticks.iter().skip(3).take(2).sum();
        Self {
            all: ticks.iter().take(8).sum(),
            idle,
        }
    }

    fn busy_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        let idle = self.idle.saturating_sub(before.idle);
        1.0 - idle as f64 / all as f64
    }
}

fn spent(gateway: &mut Gateway) -> [Duration; 3] {
    let dataplane = gateway.dataplane_process().cpu();
    let control = gateway.control_process().cpu();
    [dataplane, control, Process::own_cpu()]
}
