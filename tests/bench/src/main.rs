//! `tests/bench/run`: measures Tidegate beside its peers, prints a table, keeps the numbers.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tidegate_bench::{
    report::Results,
    scenario::{self, Effort, Scenario},
    server::{self, Kind, Server, Site, Tools},
};

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Measures.
    Run(Run),
    /// Prints the table of kept results.
    Table { results: PathBuf },
    /// Says how Tidegate's numbers changed between two kept results.
    Compare { before: PathBuf, after: PathBuf },
}

#[derive(clap::Args)]
struct Run {
    /// Folder of tidegate-dataplane and tidegate-controlplane.
    #[arg(long)]
    tidegate: PathBuf,
    /// Folder of envoy, caddy and traefik.
    #[arg(long)]
    peers: PathBuf,
    /// The program oha.
    #[arg(long)]
    oha: PathBuf,
    /// The program tquic_client.
    #[arg(long)]
    tquic: PathBuf,
    /// Only these servers.
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Kind>,
    /// Only scenarios whose names begin so.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Seconds of load in each run.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Runs that count, after one that does not.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    #[arg(long, default_value_t = 10_000)]
    idle_connections: usize,
    /// Where to keep the numbers.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    match Args::parse().what {
        What::Run(run) => run.run(),
        What::Table { results } => {
            let results = Results::read(&results)?;
            print!("{}\n{}", results.table(), results.verdict());
            Ok(())
        }
        What::Compare { before, after } => {
            let (before, after) = (Results::read(&before)?, Results::read(&after)?);
            print!("{}", after.compare(&before));
            Ok(())
        }
    }
}

impl Run {
    fn run(self) -> anyhow::Result<()> {
        let tools = Tools {
            tidegate: self.tidegate,
            peers: self.peers,
            own: std::env::current_exe()?
                .parent()
                .context("a program is in a folder")?
                .to_owned(),
            load: self.oha,
            tquic: self.tquic,
        };
        let home = tempfile::tempdir()?;
        let (_origin, origin) = server::origin(&tools, home.path())?;
        let mut results = Results {
            commit: commit(),
            machine: machine(),
            ..Results::default()
        };
        let effort = Effort {
            seconds: self.seconds,
            runs: self.runs,
            idle_connections: self.idle_connections,
        };
        let scenarios: Vec<&Scenario> = scenario::ALL
            .iter()
            .filter(|scenario| {
                self.only.is_empty() || self.only.iter().any(|only| scenario.name.starts_with(only))
            })
            .collect();
        let mut fleet = Vec::new();
        for kind in Kind::ALL {
            if !self.servers.is_empty() && !self.servers.contains(&kind) {
                continue;
            }
            (results.servers).insert(kind.name().to_owned(), kind.version(&tools)?);
            let site = server::site(&home.path().join(kind.name()), origin)?;
            fleet.push(Stand::new(kind, site));
        }
        for (index, scenario) in scenarios.iter().enumerate() {
            if scenario.comes_along() {
                continue;
            }
            let along = scenarios.get(index + 1).filter(|next| next.comes_along());
            // In turn, so that what the machine does meanwhile is everybody's.
            for run in 0..effort.runs {
                for stand in fleet.iter_mut().filter(|stand| scenario.suits(stand.kind)) {
                    match stand.run(&tools, scenario, effort, run == 0) {
                        Ok((number, second)) => {
                            let second = along.copied().zip(second);
                            for (row, number) in [(*scenario, number)].into_iter().chain(second) {
                                let (server, unit) = (stand.kind.name(), row.unit);
                                eprintln!("{server:<13} {:<13} {number:9.2} {unit}", row.name);
                                results.add(row.name, stand.kind, number);
                            }
                        }
                        Err(error) => {
                            let server = stand.kind.name();
                            eprintln!(
                                "{server:<13} {:<13} run {run} failed: {error:#}",
                                scenario.name
                            );
                            stand.server = None;
                        }
                    }
                }
            }
            if let Some(json) = &self.json {
                results.write(json)?;
            }
        }
        println!("{}\n{}", results.table(), results.verdict());
        Ok(())
    }
}

/// A server that is up, unless it was just stopped.
struct Stand {
    kind: Kind,
    site: Site,
    server: Option<Server>,
    /// No load came to it so far.
    cold: bool,
}

impl Stand {
    fn new(kind: Kind, site: Site) -> Self {
        Self {
            kind,
            site,
            server: None,
            cold: true,
        }
    }

    /// One run, on a server that is as the scenario wants it: warm, or new.
    fn run(
        &mut self,
        tools: &Tools,
        scenario: &Scenario,
        effort: Effort,
        first: bool,
    ) -> anyhow::Result<(f64, Option<f64>)> {
        let fresh = scenario.wants_fresh_server();
        let idle_timeout = scenario.idle_timeout();
        if fresh || self.site.idle_timeout != idle_timeout {
            self.server = None;
        }
        self.site.idle_timeout = idle_timeout;
        self.cold |= self.server.is_none() || first;
        let server = match &mut self.server {
            Some(server) => server,
            none => none.insert(self.kind.start(tools, &self.site)?),
        };
        if !fresh && std::mem::take(&mut self.cold) {
            let warm_up = Effort {
                seconds: 1,
                ..effort
            };
            // What fails here fails below, where it is told.
            let _warm = scenario.run(tools, server, warm_up);
        }
        let number = scenario.run(tools, server, effort);
        if fresh {
            // Its connections are nobody else's burden.
            self.server = None;
        }
        number
    }
}

fn commit() -> String {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |model| {
        model.trim_start_matches([' ', '\t', ':'])
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{model}, {} cores, Linux {}",
        cpus.matches("processor\t").count(),
        kernel.trim()
    )
}
