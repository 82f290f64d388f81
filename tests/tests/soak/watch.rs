//! What both planes hold while clients come and go, and after they have gone.

use std::{fmt, time::Duration};

use tidegate_tests::Gateway;

use crate::plan::Plan;

/// How long what is pooled or cached may be kept.
const PATIENCE: Duration = Duration::from_secs(90);
/// What each process may open for itself: the dataplane a session that is made anew; the control
/// plane connections to its database, which it pools, and those of this process to its API.
const MORE: [usize; 2] = [2, 12];

/// Resident memory over time.
pub(crate) struct Watch {
    pause: Duration,
    length: Duration,
    samples: Vec<Sample>,
}

struct Sample {
    at: Duration,
    /// Of the dataplane and of the control plane, bytes.
    memory: [u64; 2],
}

const PLANES: [&str; 2] = ["dataplane", "control plane"];

impl Watch {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            pause: plan.sample,
            length: plan.length,
            samples: Vec::new(),
        }
    }

    /// Takes a sample, if it is time to.
    pub(crate) fn look(&mut self, at: Duration, gateway: &mut Gateway) {
        let due = self.samples.last().map(|sample| sample.at + self.pause);
        if due.is_none_or(|due| at >= due) {
            let memory = [
                gateway.dataplane_process().memory(),
                gateway.control_process().memory(),
            ];
            self.samples.push(Sample { at, memory });
        }
    }

    /// The last sample.
    pub(crate) fn last(&self) -> String {
        let memory = self.samples.last().map_or([0; 2], |sample| sample.memory);
        format!("memory {} and {}", mebi(memory[0]), mebi(memory[1]))
    }

    /// The median of a quarter, counted from 0.
    fn quarter(&self, quarter: u32, plane: usize) -> u64 {
        let (begin, end) = (self.length / 4 * quarter, self.length / 4 * (quarter + 1));
        let within = self
            .samples
            .iter()
            .filter(|sample| (begin..end).contains(&sample.at));
        let mut memory: Vec<u64> = within.map(|sample| sample.memory[plane]).collect();
        memory.sort_unstable();
        memory.get(memory.len() / 2).copied().unwrap_or_default()
    }

    /// Memory that grew on after the warm-up.
    pub(crate) fn problems(&self, plan: &Plan) -> Vec<String> {
        let (part, bytes) = plan.growth;
        let grown = |plane: &usize| {
            let (second, last) = (self.quarter(1, *plane), self.quarter(3, *plane));
            let most = second + (second as f64 * part) as u64 + bytes;
            (last > most).then(|| {
                let name = PLANES[*plane];
                format!(
                    "the {name}'s memory grew from {} to {}",
                    mebi(second),
                    mebi(last)
                )
            })
        };
        [0, 1].iter().filter_map(grown).collect()
    }

    pub(crate) fn tell(&self) {
        for (plane, name) in PLANES.iter().enumerate() {
            let quarters: Vec<String> = (0..4)
                .map(|quarter| mebi(self.quarter(quarter, plane)))
                .collect();
            let first = self
                .samples
                .first()
                .map_or(0, |sample| sample.memory[plane]);
            let last = self.samples.last().map_or(0, |sample| sample.memory[plane]);
            println!(
                "{name}: memory {} at first, {} at last; medians of the quarters {}",
                mebi(first),
                mebi(last),
                quarters.join(", ")
            );
        }
    }
}

/// What a process holds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Holding {
    memory: u64,
    descriptors: usize,
    threads: usize,
}

/// What both planes hold.
#[derive(Clone, Copy, Default)]
pub(crate) struct Holdings([Holding; 2]);

impl Holdings {
    pub(crate) fn of(gateway: &mut Gateway) -> Self {
        let data = gateway.dataplane_process();
        let data = Holding {
            memory: data.memory(),
            descriptors: data.descriptors(),
            threads: data.threads(),
        };
        let control = gateway.control_process();
        Self([
            data,
            Holding {
                memory: control.memory(),
                descriptors: control.descriptors(),
                threads: control.threads(),
            },
        ])
    }

    /// What was not given back.
    pub(crate) fn problems(&self, before: Self) -> Vec<String> {
        let mut problems = Vec::new();
        for (plane, name) in PLANES.iter().enumerate() {
            let (before, after) = (before.0[plane], self.0[plane]);
            if after.descriptors > before.descriptors + MORE[plane] {
                let (before, after) = (before.descriptors, after.descriptors);
                problems.push(format!(
                    "the {name} kept descriptors: {before}, then {after}"
                ));
            }
            if after.threads > before.threads + MORE[plane] {
                let (before, after) = (before.threads, after.threads);
                problems.push(format!("the {name} kept threads: {before}, then {after}"));
            }
        }
        problems
    }
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, holding) in PLANES.iter().zip(self.0) {
            let Holding {
                memory,
                descriptors,
                threads,
            } = holding;
            let memory = mebi(memory);
            write!(
                f,
                "{name} {memory}, {descriptors} descriptors, {threads} threads; "
            )?;
        }
        Ok(())
    }
}

/// What is held when all has been given back, or patience ends.
pub(crate) async fn given_back(gateway: &mut Gateway, before: Holdings) -> Holdings {
    let begin = std::time::Instant::now();
    loop {
        let after = Holdings::of(gateway);
        if after.problems(before).is_empty() || begin.elapsed() > PATIENCE {
            return after;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn mebi(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
