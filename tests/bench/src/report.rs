//! Results: as JSON to keep and compare, as a table to read.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::{scenario, server::Kind};

/// What Tidegate is to cost.
struct Aim {
    row: &'static str,
    most: f64,
    /// As a part of what a peer costs; in the row's own unit.
    of: Option<Kind>,
}

const fn aim(row: &'static str, most: f64, of: Option<Kind>) -> Aim {
    Aim { row, most, of }
}

const AIMS: &[Aim] = &[
    aim("h3-50x1", 0.25, Some(Kind::Envoy)),
    aim("h3-50x10", 0.25, Some(Kind::Envoy)),
    aim("h3-50x1", 1.5, Some(Kind::TokioQuiche)),
    aim("h3-50x10", 1.5, Some(Kind::TokioQuiche)),
    aim("h3-down", 0.6, Some(Kind::Envoy)),
    aim("h3-up", 0.6, Some(Kind::Envoy)),
    aim("handshake", 0.8, Some(Kind::TokioQuiche)),
    aim("idle", 32.0, None),
    aim("h1-50x1", 1.0, Some(Kind::Envoy)),
    aim("h2-50x10", 1.0, Some(Kind::Envoy)),
    aim("h1-down", 1.0, Some(Kind::Envoy)),
    aim("h2-down", 1.0, Some(Kind::Envoy)),
];

/// What a run of everything found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// Of the repository.
    pub commit: String,
    pub machine: String,
    /// Versions by server.
    pub servers: BTreeMap<String, String>,
    /// By scenario, then by server: each run's number.
    pub rows: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
}

impl Results {
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {path:?}"))?;
        serde_json::from_slice(&text).with_context(|| format!("{path:?} holds no results"))
    }

    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        fs::write(path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {path:?}"))
    }

    pub fn add(&mut self, scenario: &str, server: Kind, number: f64) {
        let row = self.rows.entry(scenario.to_owned()).or_default();
        row.entry(server.name().to_owned())
            .or_default()
            .push(number);
    }

    fn runs(&self, scenario: &str, server: Kind) -> Option<&[f64]> {
        Some(self.rows.get(scenario)?.get(server.name())?.as_slice())
    }

    /// A table in Markdown: Tidegate's number with its spread, then each other's, and in
    /// brackets Tidegate's as a part of it.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let servers: Vec<Kind> = Kind::ALL
            .into_iter()
            .filter(|server| self.servers.contains_key(server.name()))
            .collect();
        table.push_str("| | unit |");
        for server in &servers {
            let version = &self.servers[server.name()];
            let _ = write!(table, " {} {version} |", server.name());
        }
        table.push_str("\n|---|---|");
        table.push_str(&"---|".repeat(servers.len()));
        table.push('\n');
        for scenario in scenario::ALL {
            if !self.rows.contains_key(scenario.name) {
                continue;
            }
            let _ = write!(table, "| {} | {} |", scenario.title, scenario.unit);
            let ours = self.runs(scenario.name, Kind::Tidegate).map(median);
            for server in &servers {
                let cell = match self.runs(scenario.name, *server) {
                    None => "–".to_owned(),
                    Some([once]) if *server == Kind::Tidegate => {
                        format!("**{}**", number(*once))
                    }
                    Some(runs) if *server == Kind::Tidegate => {
                        let (low, high) = spread(runs);
                        let (low, high) = (number(low), number(high));
                        format!("**{}** ({low}–{high})", number(median(runs)))
                    }
                    Some(runs) => match ours {
                        Some(ours) => {
                            format!("{} ({:.2})", number(median(runs)), ours / median(runs))
                        }
                        None => number(median(runs)),
                    },
                };
                let _ = write!(table, " {cell} |");
            }
            table.push('\n');
        }
        table
    }

    /// Which aims are reached, in Markdown.
    pub fn verdict(&self) -> String {
        let mut table = String::new();
        for Aim { row, most, of } in AIMS {
            let Some(ours) = self.runs(row, Kind::Tidegate).map(median) else {
                continue;
            };
            let Some(title) = scenario::ALL.iter().find(|it| it.name == *row) else {
                continue;
            };
            let (title, unit) = (title.title, title.unit);
            let (aim, measured) = match of {
                None => (format!("at most {most} {unit}"), ours),
                Some(peer) => {
                    let Some(theirs) = self.runs(row, *peer).map(median) else {
                        continue;
                    };
                    let aim = format!("at most {most} of {}'s", peer.name());
                    (aim, ours / theirs)
                }
            };
            // As it is shown.
            let reached = (measured * 100.0).round() / 100.0 <= *most;
            let reached = if reached { "reached" } else { "not reached" };
            if table.is_empty() {
                table.push_str("| aim | measured | |\n|---|---|---|\n");
            }
            let _ = writeln!(table, "| {title}: {aim} | {measured:.2} | {reached} |");
        }
        table
    }

    /// How this differs from an earlier run, for Tidegate alone.
    pub fn compare(&self, before: &Self) -> String {
        let mut text = format!("{} -> {}\n", before.commit, self.commit);
        for scenario in scenario::ALL {
            let runs = |results: &Self| {
                results
                    .runs(scenario.name, Kind::Tidegate)
                    .map(|runs| (median(runs), spread(runs)))
            };
            let (Some((was, wide)), Some((is, narrow))) = (runs(before), runs(self)) else {
                continue;
            };
            let apart = narrow.1 < wide.0 || wide.1 < narrow.0;
            let _ = writeln!(
                text,
                "{:<14} {:>8} -> {:>8}  {:+6.1} %  {}{}",
                scenario.name,
                number(was),
                number(is),
                (is / was - 1.0) * 100.0,
                scenario.unit,
                if apart { "" } else { "  (within the spread)" },
            );
        }
        text
    }
}

fn median(runs: &[f64]) -> f64 {
    let mut runs = runs.to_vec();
    runs.sort_by(f64::total_cmp);
    let middle = runs.len() / 2;
    if runs.is_empty() {
        f64::NAN
    } else if runs.len() % 2 == 1 {
        runs[middle]
    } else {
        (runs[middle - 1] + runs[middle]) / 2.0
    }
}

fn spread(runs: &[f64]) -> (f64, f64) {
    let low = runs.iter().copied().fold(f64::INFINITY, f64::min);
    let high = runs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (low, high)
}

/// Three figures.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}
