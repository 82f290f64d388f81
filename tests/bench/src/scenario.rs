//! What is measured, and how one run of it gives one number.

use std::{thread::sleep, time::Duration};

use crate::{
    load::{self, Background, End, Http, Requests},
    server::{Kind, OWN, Server, Tools},
};

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// CPU for each request.
    Requests(Http, usize, usize),
    /// The same, with another client over HTTP/3.
    Tquic(usize, usize),
    /// CPU for each request that a server answers by itself, over HTTP/3.
    Own(usize, usize),
    /// CPU for each megabyte of a body, and which way it goes.
    Bulk(Http, Way),
    /// CPU for each handshake.
    Handshakes {
        resume: bool,
    },
    /// Latency at a fixed rate: the median, and the 99th percentile of the same run, which is
    /// the next row.
    Median,
    NinetyNinth,
    /// Memory for each idle connection.
    Idle,
    /// CPU for each request over so many connections.
    Spread(usize),
    /// Handshakes of honest clients beside a flood, and how long they take: the next row.
    Flood,
    FloodNinetyNinth,
    /// Requests of connections that were there before the flood.
    FloodServed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Down,
    Up,
}

/// How much work a run is.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Of load.
    pub seconds: u64,
    pub runs: usize,
    pub idle_connections: usize,
}

const fn row(name: &'static str, title: &'static str, unit: &'static str, what: What) -> Scenario {
    Scenario {
        name,
        title,
        unit,
        what,
    }
}

const CPU_REQUEST: &str = "CPU µs per request";
const CPU_MEGABYTE: &str = "CPU ms per MB";
const CPU_HANDSHAKE: &str = "CPU µs per handshake";

/// All of them, in the order of the table.
pub const ALL: &[Scenario] = &[
    row(
        "h3-1x1",
        "HTTP/3, 1 connection × 1 request",
        CPU_REQUEST,
        What::Requests(Http::Three, 1, 1),
    ),
    row(
        "h3-50x1",
        "HTTP/3, 50 × 1",
        CPU_REQUEST,
        What::Requests(Http::Three, 50, 1),
    ),
    row(
        "h3-50x10",
        "HTTP/3, 50 × 10",
        CPU_REQUEST,
        What::Requests(Http::Three, 50, 10),
    ),
    row(
        "h3-500x1",
        "HTTP/3, 500 × 1",
        CPU_REQUEST,
        What::Requests(Http::Three, 500, 1),
    ),
    row(
        "tquic-50x1",
        "HTTP/3, 50 × 1, from tquic_client",
        CPU_REQUEST,
        What::Tquic(50, 1),
    ),
    row(
        "tquic-50x10",
        "HTTP/3, 50 × 10, from tquic_client",
        CPU_REQUEST,
        What::Tquic(50, 10),
    ),
    row(
        "own-50x1",
        "HTTP/3, 50 × 1, answered without an upstream and without content",
        CPU_REQUEST,
        What::Own(50, 1),
    ),
    row(
        "own-50x10",
        "HTTP/3, 50 × 10, answered without an upstream and without content",
        CPU_REQUEST,
        What::Own(50, 10),
    ),
    row(
        "h2-50x10",
        "HTTP/2, 50 × 10",
        CPU_REQUEST,
        What::Requests(Http::Two, 50, 10),
    ),
    row(
        "h1-50x1",
        "HTTP/1.1, 50 × 1",
        CPU_REQUEST,
        What::Requests(Http::One, 50, 1),
    ),
    row(
        "h3-down",
        "HTTP/3, 100 MB down",
        CPU_MEGABYTE,
        What::Bulk(Http::Three, Way::Down),
    ),
    row(
        "h3-up",
        "HTTP/3, 100 MB up",
        CPU_MEGABYTE,
        What::Bulk(Http::Three, Way::Up),
    ),
    row(
        "h2-down",
        "HTTP/2, 100 MB down",
        CPU_MEGABYTE,
        What::Bulk(Http::Two, Way::Down),
    ),
    row(
        "h1-down",
        "HTTP/1.1, 100 MB down",
        CPU_MEGABYTE,
        What::Bulk(Http::One, Way::Down),
    ),
    row(
        "handshake",
        "full handshake, X25519MLKEM768",
        CPU_HANDSHAKE,
        What::Handshakes { resume: false },
    ),
    row(
        "resumption",
        "resumed handshake",
        CPU_HANDSHAKE,
        What::Handshakes { resume: true },
    ),
    row(
        "p50",
        "HTTP/3, 1,000 requests/s on 50 connections",
        "ms, median",
        What::Median,
    ),
    row(
        "p99",
        "HTTP/3, 1,000 requests/s on 50 connections",
        "ms, 99th percentile",
        What::NinetyNinth,
    ),
    row("idle", "idle HTTP/3 connection", "KiB resident", What::Idle),
    row(
        "spread-1",
        "HTTP/3, in turn over 1 connection",
        CPU_REQUEST,
        What::Spread(1),
    ),
    row(
        "spread-100",
        "HTTP/3, in turn over 100 connections",
        CPU_REQUEST,
        What::Spread(100),
    ),
    row(
        "spread-1000",
        "HTTP/3, in turn over 1,000 connections",
        CPU_REQUEST,
        What::Spread(1_000),
    ),
    row(
        "spread-10000",
        "HTTP/3, in turn over 10,000 connections",
        CPU_REQUEST,
        What::Spread(10_000),
    ),
    row(
        "flood",
        "handshakes that succeed beside 10,000 Initials/s from nowhere",
        "% of 25 a second",
        What::Flood,
    ),
    row(
        "flood-p99",
        "handshake beside 10,000 Initials/s from nowhere",
        "ms, 99th percentile",
        What::FloodNinetyNinth,
    ),
    row(
        "flood-served",
        "HTTP/3 requests beside 10,000 Initials/s from nowhere, 50 connections",
        "% of 1,000 a second",
        What::FloodServed,
    ),
];

impl Scenario {
    /// Whether a server can take part.
    pub fn suits(&self, kind: Kind) -> bool {
        if matches!(self.what, What::Own(..)) {
            return kind.answers_itself();
        }
        let http = match self.what {
            What::Requests(http, ..) | What::Bulk(http, _) => http,
            _ => Http::Three,
        };
        http == Http::Three || kind.has_tcp()
    }

    /// Whether a run leaves the server in another state than it found it.
    pub fn wants_fresh_server(&self) -> bool {
        matches!(
            self.what,
            What::Idle | What::Spread(_) | What::Flood | What::FloodServed
        )
    }

    /// Seconds after which its server closes what is idle.
    pub fn idle_timeout(&self) -> u32 {
        if self.wants_fresh_server() { 300 } else { 1 }
    }

    /// Whether it is measured along with the row before.
    pub fn comes_along(&self) -> bool {
        matches!(self.what, What::NinetyNinth | What::FloodNinetyNinth)
    }

    /// One number, and that of the row that comes along.
    pub fn run(
        &self,
        tools: &Tools,
        server: &mut Server,
        effort: Effort,
    ) -> anyhow::Result<(f64, Option<f64>)> {
        let number = match self.what {
            What::Requests(http, connections, at_once) => {
                let load = steady(http, connections, at_once, effort);
                each(tools, server, &load)?
            }
            What::Own(connections, at_once) => {
                let mut load = steady(Http::Three, connections, at_once, effort);
                load.path = OWN.to_owned();
                each(tools, server, &load)?
            }
            What::Tquic(connections, at_once) => {
                let (cpu, answered) = measured(server, |server| {
                    load::tquic(tools, server, connections, at_once, effort.seconds)
                })?;
                micros(cpu) / answered as f64
            }
            What::Bulk(http, way) => {
                let count = 2 * effort.seconds.max(1);
                let mut load = steady(http, 1, 1, effort);
                load.end = End::Requests(count);
                match way {
                    Way::Down => load.path = format!("/bytes/{BULK}"),
                    Way::Up => load.upload = BULK,
                }
                let (cpu, outcome) =
                    measured(server, |server| load::requests(tools, server, &load))?;
                anyhow::ensure!(outcome.answered == count, "{} answers", outcome.answered);
                micros(cpu) / 1000.0 / (count * BULK as u64 / 1_000_000) as f64
            }
            What::Handshakes { resume } => {
                let count = 400 * effort.seconds as usize;
                let more: &[&str] = if resume { &["--resume"] } else { &[] };
                let (cpu, report) = measured(server, |server| {
                    load::handshakes(tools, server, count, more)
                })?;
                let resumed = report["resumed"].as_u64();
                let expected = if resume { count as u64 } else { 0 };
                anyhow::ensure!(resumed == Some(expected), "resumed: {report}");
                micros(cpu) / count as f64
            }
            What::Median => {
                let mut load = steady(Http::Three, 50, 1, effort);
                load.end = End::Seconds(LATENCY * effort.seconds);
                load.rate = Some(1_000);
                let outcome = load::requests(tools, server, &load)?;
                return Ok((outcome.p50 * 1000.0, Some(outcome.p99 * 1000.0)));
            }
            What::NinetyNinth | What::FloodNinetyNinth => {
                anyhow::bail!("it comes along with the row before")
            }
            What::Idle => {
                load::handshakes(tools, server, 100, &[])?;
                sleep(SETTLE);
                let before = server.process.resident()?;
                let count = effort.idle_connections;
                let idle = ["idle", "--connections", &count.to_string()];
                let idle = Background::start(tools, server, &idle)?;
                sleep(SETTLE);
                let after = server.process.resident()?;
                let report = idle.end()?;
                anyhow::ensure!(report["lost"] == 0, "connections were lost: {report}");
                after.saturating_sub(before) as f64 / 1024.0 / count as f64
            }
            What::Spread(connections) => {
                let (connections, seconds) = (connections.to_string(), effort.seconds.to_string());
                let spread = [
                    "spread",
                    "--connections",
                    &connections,
                    "--seconds",
                    &seconds,
                ];
                let spread = Background::start(tools, server, &spread)?;
                let before = server.process.cpu()?;
                let report = spread.end()?;
                let cpu = server.process.cpu()? - before;
                micros(cpu) / report["answered"].as_f64().unwrap_or(f64::NAN)
            }
            What::Flood => {
                let flood = flood(tools, server, effort.seconds + 3)?;
                let count = 25 * effort.seconds as usize;
                let honest = ["--rate", "25", "--at-once", "200", "--patience", "2000"];
                let report = load::try_handshakes(tools, server, count, &honest)?;
                eprintln!("    beside the flood: {report}");
                ebbs(flood)?;
                let completed = report["completed"].as_f64().unwrap_or(0.0);
                return Ok((completed * 100.0 / count as f64, report["p99_ms"].as_f64()));
            }
            What::FloodServed => {
                let seconds = LATENCY * effort.seconds;
                let mut load = steady(Http::Three, 50, 1, effort);
                load.end = End::Seconds(seconds);
                load.rate = Some(1_000);
                load.lossy = true;
                let flood = flood(tools, server, seconds + 3)?;
                let outcome = load::requests(tools, server, &load)?;
                ebbs(flood)?;
                outcome.answered as f64 / seconds as f64 / 10.0
            }
        };
        Ok((number, None))
    }
}

fn steady(http: Http, connections: usize, at_once: usize, effort: Effort) -> Requests {
    Requests {
        http,
        connections,
        at_once,
        path: "/".to_owned(),
        upload: 0,
        end: End::Seconds(effort.seconds),
        rate: None,
        lossy: false,
    }
}

/// CPU for each of these requests, microseconds.
fn each(tools: &Tools, server: &Server, load: &Requests) -> anyhow::Result<f64> {
    let (cpu, outcome) = measured(server, |server| load::requests(tools, server, load))?;
    Ok(micros(cpu) / outcome.answered as f64)
}

/// First packets from nowhere, which come for so many seconds from a second ago on.
fn flood(tools: &Tools, server: &Server, seconds: u64) -> anyhow::Result<Background> {
    let (rate, seconds) = (FLOOD.to_string(), seconds.to_string());
    let arguments = ["flood", "--rate", &rate, "--seconds", &seconds];
    let flood = Background::start(tools, server, &arguments)?;
    sleep(Duration::from_secs(1));
    Ok(flood)
}

/// The end of a flood, which must have been one.
fn ebbs(flood: Background) -> anyhow::Result<()> {
    let report = flood.end()?;
    let rate = report["sent"].as_f64().zip(report["seconds"].as_f64());
    let rate = rate.map_or(0.0, |(sent, seconds)| sent / seconds);
    anyhow::ensure!(rate > 0.95 * FLOOD, "no flood: {report}");
    Ok(())
}

/// CPU that the server takes while `load` runs.
fn measured<R>(
    server: &Server,
    load: impl FnOnce(&Server) -> anyhow::Result<R>,
) -> anyhow::Result<(Duration, R)> {
    let before = server.process.cpu()?;
    let result = load(server)?;
    Ok((server.process.cpu()? - before, result))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000_000.0
}

/// Initials a second from nowhere.
const FLOOD: f64 = 10_000.0;
/// Bytes of a large body.
const BULK: usize = 100_000_000;
/// How many times as long a run is at a fixed rate: of 1,000 requests a second fewer than one in
/// a hundred is to be the first of its connection.
const LATENCY: u64 = 6;
/// Until allocators and timers have come to rest.
const SETTLE: Duration = Duration::from_secs(2);
