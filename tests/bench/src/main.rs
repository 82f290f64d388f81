//! `tests/bench/run`: measures Tidegate beside its peers, prints a table, keeps the numbers.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tidegate_bench::{
    report::Results,
    scenario::{self, Effort},
    server::{self, Kind, Tools},
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
            print!("{}", Results::read(&results)?.table());
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
        let scenarios: Vec<_> = scenario::ALL
            .iter()
            .filter(|scenario| {
                self.only.is_empty() || self.only.iter().any(|only| scenario.name.starts_with(only))
            })
            .collect();
        for kind in Kind::ALL {
            if !self.servers.is_empty() && !self.servers.contains(&kind) {
                continue;
            }
            (results.servers).insert(kind.name().to_owned(), kind.version(&tools)?);
            let mut site = server::site(&home.path().join(kind.name()), origin)?;
            let mut server = kind.start(&tools, &site)?;
            for (index, scenario) in scenarios.iter().enumerate() {
                if !scenario.suits(kind) || scenario.comes_along() {
                    continue;
                }
                if scenario.wants_fresh_server() {
                    drop(server);
                    site.idle_timeout = scenario.idle_timeout();
                    server = kind.start(&tools, &site)?;
                } else {
                    let warm_up = Effort {
                        seconds: 1,
                        ..effort
                    };
                    // What fails here fails below, where it is told.
                    let _warm = scenario.run(&tools, &mut server, warm_up);
                }
                let runs = if scenario.wants_fresh_server() {
                    1
                } else {
                    effort.runs
                };
                for run in 0..runs {
                    match scenario.run(&tools, &mut server, effort) {
                        Ok((number, along)) => {
                            let next = scenarios.get(index + 1);
                            let next = next.filter(|next| next.comes_along()).zip(along);
                            for (row, number) in [(scenario, number)].into_iter().chain(next) {
                                eprintln!(
                                    "{:<13} {:<13} {number:9.2} {}",
                                    kind.name(),
                                    row.name,
                                    row.unit
                                );
                                results.add(row.name, kind, number);
                            }
                        }
                        Err(error) => {
                            eprintln!(
                                "{:<13} {:<13} run {run} failed: {error:#}",
                                kind.name(),
                                scenario.name
                            );
                            drop(server);
                            server = kind.start(&tools, &site)?;
                        }
                    }
                }
            }
            if let Some(json) = &self.json {
                results.write(json)?;
            }
        }
        println!("{}", results.table());
        Ok(())
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
