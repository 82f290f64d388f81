//! Load on a server: oha for requests, tquic_client for a second opinion on some, this
//! package's client for what neither does.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::{
    process::{LOAD_CORE, pinned},
    server::{Kind, OWN, Server, Tools},
};

/// Version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
    Three,
}

/// What oha does.
#[derive(Clone, Debug)]
pub struct Requests {
    pub http: Http,
    pub connections: usize,
    /// On each connection.
    pub at_once: usize,
    pub path: String,
    /// Bytes of content to send.
    pub upload: usize,
    pub end: End,
    /// So many in a second, with the delay that a late one had counted in.
    pub rate: Option<u32>,
    /// How many fail is what is to be known.
    pub lossy: bool,
}

/// When it ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Seconds(u64),
    Requests(u64),
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub answered: u64,
    pub seconds: f64,
    /// Seconds.
    pub p50: f64,
    pub p99: f64,
}

/// Runs oha.
pub fn requests(tools: &Tools, server: &Server, load: &Requests) -> anyhow::Result<Outcome> {
    let mut command = pinned(LOAD_CORE, &tools.load);
    command.args([
        "--no-tui",
        "--output-format",
        "json",
        "--insecure",
        "--ipv4",
        "--redirect",
        "0",
    ]);
    command.args(["-c", &load.connections.to_string()]);
    match load.http {
        Http::One => command.args(["--http-version", "1.1"]),
        Http::Two => command.args(["--http-version", "2", "-p", &load.at_once.to_string()]),
        Http::Three => command.args(["--http-version", "3", "-p", &load.at_once.to_string()]),
    };
    match load.end {
        End::Seconds(seconds) => command.args(["-z", &format!("{seconds}s")]),
        End::Requests(count) => command.args(["-n", &count.to_string()]),
    };
    if let Some(rate) = load.rate {
        command.args(["-q", &rate.to_string(), "--latency-correction"]);
    }
    let mut content = None;
    if load.upload > 0 {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), vec![b'x'; load.upload])?;
        command.args(["-m", "POST", "-D"]).arg(file.path());
        content = Some(file);
    }
    command.arg(format!(
        "https://localhost:{}{}",
        server.address.port(),
        load.path
    ));
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("cannot run oha")?;
    drop(content);
    ensure!(
        output.status.success(),
        "oha: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_slice(&output.stdout).context("oha prints JSON")?;
    let statuses = report["statusCodeDistribution"].as_object();
    let expected = match load.path == OWN && server.kind == Kind::Tidegate {
        true => "302",
        false => "200",
    };
    let answered = statuses
        .and_then(|statuses| statuses.get(expected))
        .and_then(Value::as_u64);
    let others: Vec<_> = statuses
        .into_iter()
        .flatten()
        .filter(|(status, _)| *status != expected)
        .collect();
    ensure!(others.is_empty(), "statuses {others:?}");
    let answered = answered.unwrap_or(0);
    ensure!(
        answered > 0,
        "nothing was answered: {}",
        report["errorDistribution"]
    );
    let failed: u64 = report["errorDistribution"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(error, _)| !error.contains("deadline"))
        .filter_map(|(_, count)| count.as_u64())
        .sum();
    ensure!(
        load.lossy || failed * 1000 <= answered,
        "{failed} requests failed: {}",
        report["errorDistribution"]
    );
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    Ok(Outcome {
        answered,
        seconds: number(&report["summary"]["total"]),
        p50: number(&report["latencyPercentiles"]["p50"]),
        p99: number(&report["latencyPercentiles"]["p99"]),
    })
}

/// Runs tquic_client for some seconds. How many requests were answered.
pub fn tquic(
    tools: &Tools,
    server: &Server,
    connections: usize,
    at_once: usize,
    seconds: u64,
) -> anyhow::Result<u64> {
    let output = pinned(LOAD_CORE, &tools.tquic)
        .args(["--alpn", "h3", "--log-level", "OFF"])
        .args(["--connect-to", &server.address.to_string()])
        .args(["--max-concurrent-conns", &connections.to_string()])
        .args(["--max-concurrent-requests", &at_once.to_string()])
        .args(["--max-requests-per-conn", "0"])
        .args(["--total-requests-per-thread", "0"])
        .args(["--duration", &seconds.to_string()])
        .arg(format!("https://localhost:{}/", server.address.port()))
        .stdin(Stdio::null())
        .output()
        .context("cannot run tquic_client")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let answered = said
        .lines()
        .find(|line| line.starts_with("requests:"))
        .and_then(|line| line.rsplit("success").next()?.trim().parse().ok())
        .filter(|answered| *answered > 0);
    answered.with_context(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("tquic_client: {said}{errors}")
    })
}

/// Makes handshakes, all of which must come about.
pub fn handshakes(
    tools: &Tools,
    server: &Server,
    count: usize,
    more: &[&str],
) -> anyhow::Result<Value> {
    let report = try_handshakes(tools, server, count, more)?;
    let failed = report["failed"].as_u64();
    if failed != Some(0) || report["completed"].as_u64() != Some(count as u64) {
        bail!("handshakes failed: {report}");
    }
    Ok(report)
}

/// Tries handshakes.
pub fn try_handshakes(
    tools: &Tools,
    server: &Server,
    count: usize,
    more: &[&str],
) -> anyhow::Result<Value> {
    let mut command = quic_client(tools, server);
    command.args(["handshakes", "--count", &count.to_string()]);
    let output = command.args(more).output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Load that goes on until it is told to end, or ends by itself.
pub struct Background {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    input: Option<ChildStdin>,
}

impl Background {
    /// Starts it and waits until it says that it is ready.
    pub fn start(tools: &Tools, server: &Server, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = quic_client(tools, server)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().context("it was asked for")?);
        let mut background = Self {
            input: child.stdin.take(),
            child,
            output,
        };
        let line = background.line()?;
        ensure!(line.starts_with("ready"), "{arguments:?}: `{line}`");
        Ok(background)
    }

    /// Ends it; what it reports.
    pub fn end(mut self) -> anyhow::Result<Value> {
        self.input = None;
        let line = self.line()?;
        self.child.wait()?;
        serde_json::from_str(&line).with_context(|| format!("`{line}`"))
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn quic_client(tools: &Tools, server: &Server) -> Command {
    let mut command = pinned(LOAD_CORE, tools.own.join("quic_client"));
    command.arg("--to").arg(server.address.to_string());
    command.stdin(Stdio::null());
    command
}
