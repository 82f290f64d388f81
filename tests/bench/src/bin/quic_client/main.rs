//! What other load generators do not do: handshakes alone, many idle connections, requests
//! spread over so many connections, and Initials from nowhere. Prints JSON.

use std::{
    io::Write as _,
    net::SocketAddr,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use tidegate_bench::client::{Client, Connection, Script, config};

mod flood;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, default_value = "localhost")]
    name: String,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Handshakes with an exchange of SETTINGS, closed at once.
    Handshakes {
        #[arg(long)]
        count: usize,
        /// So many at a time.
        #[arg(long, default_value_t = 4)]
        at_once: usize,
        /// Resume the session of a first connection.
        #[arg(long)]
        resume: bool,
        /// Begin at most so many in a second. 0: as fast as they end.
        #[arg(long, default_value_t = 0)]
        rate: u32,
        /// Give a handshake up after so many milliseconds.
        #[arg(long, default_value_t = 10_000)]
        patience: u64,
    },
    /// Opens connections, each with one request, says so, and holds them until standard
    /// input ends.
    Idle {
        #[arg(long)]
        connections: usize,
    },
    /// Requests on so many connections in turn, so many of them under way.
    Spread {
        #[arg(long)]
        connections: usize,
        #[arg(long, default_value_t = 50)]
        under_way: usize,
        #[arg(long)]
        seconds: u64,
    },
    /// Initials from addresses that nobody answers at.
    Flood {
        #[arg(long)]
        rate: u32,
        #[arg(long)]
        seconds: u64,
    },
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let client =
        || -> anyhow::Result<Client> { Ok(Client::new(args.to, &args.name, config(None)?)?) };
    let report = match args.what {
        What::Handshakes {
            count,
            at_once,
            resume,
            rate,
            patience,
        } => handshakes(client()?, count, at_once, resume, rate, patience)?,
        What::Idle { connections } => idle(client()?, connections)?,
        What::Spread {
            connections,
            under_way,
            seconds,
        } => spread(
            client()?,
            connections,
            under_way,
            Duration::from_secs(seconds),
        )?,
        What::Flood { rate, seconds } => flood::flood(args.to, &args.name, rate, seconds)?,
    };
    println!("{report}");
    Ok(())
}

/// Handshake, SETTINGS, close.
#[derive(Default)]
struct Handshakes {
    patience: Duration,
    milliseconds: Vec<f64>,
    failed: usize,
    resumed: usize,
    session: Option<Vec<u8>>,
}

impl Script for Handshakes {
    fn progress(&mut self, connection: &mut Connection) {
        if connection.quic.is_established() && connection.step == 0 {
            connection.step = 1;
            let took = connection.started.elapsed().as_secs_f64() * 1000.0;
            self.milliseconds.push(took);
            self.resumed += usize::from(connection.quic.is_resumed());
            let _failing = connection.http3();
        }
        let answered = connection.step == 1 && {
            connection.responses();
            connection
                .h3
                .as_ref()
                .is_some_and(|h3| h3.peer_settings_raw().is_some())
        };
        let ticket = connection.quic.session().map(<[u8]>::to_vec);
        if answered && ticket.is_some() {
            self.session = ticket;
            let _closing = connection.quic.close(true, H3_NO_ERROR, b"");
        } else if connection.started.elapsed() > self.patience {
            let _closing = connection.quic.close(true, H3_NO_ERROR, b"");
        }
    }

    fn ended(&mut self, connection: &mut Connection) {
        if connection.step == 0 {
            self.failed += 1;
        }
    }
}

fn handshakes(
    mut client: Client,
    count: usize,
    at_once: usize,
    resume: bool,
    rate: u32,
    patience: u64,
) -> anyhow::Result<serde_json::Value> {
    let mut script = Handshakes {
        patience: Duration::from_millis(patience),
        ..Handshakes::default()
    };
    if resume {
        client.connect(None)?;
        while client.open() > 0 {
            client.turn(&mut script, Instant::now() + TURN)?;
        }
    }
    let session = script.session.take().filter(|_| resume);
    script.milliseconds.clear();
    let (began, mut begun) = (Instant::now(), 0);
    while begun < count || client.open() > 0 {
        let due = match rate {
            0 => count,
            rate => (began.elapsed().as_secs_f64() * f64::from(rate)) as usize + 1,
        };
        while begun < count.min(due) && client.open() < at_once {
            client.connect(session.as_deref())?;
            begun += 1;
        }
        client.turn(&mut script, Instant::now() + TURN)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    script.milliseconds.sort_by(f64::total_cmp);
    Ok(serde_json::json!({
        "completed": script.milliseconds.len(),
        "failed": script.failed,
        "resumed": script.resumed,
        "seconds": seconds,
        "p50_ms": percentile(&script.milliseconds, 0.50),
        "p99_ms": percentile(&script.milliseconds, 0.99),
    }))
}

/// A request on each connection, then nothing but a PING now and then.
#[derive(Default)]
struct Idle {
    served: usize,
    lost: usize,
}

impl Script for Idle {
    fn progress(&mut self, connection: &mut Connection) {
        if connection.quic.is_established() && connection.step == 0 {
            connection.step = 1;
            let _failing = connection.get("/");
        }
        if connection.step == 1 && connection.responses() > 0 {
            connection.step = 2;
            self.served += 1;
        }
    }

    fn ended(&mut self, _: &mut Connection) {
        self.lost += 1;
    }
}

fn idle(mut client: Client, count: usize) -> anyhow::Result<serde_json::Value> {
    let mut script = Idle::default();
    open(&mut client, &mut script, count, |script| {
        script.served + script.lost
    })?;
    println!("ready {} {}", script.served, script.lost);
    std::io::stdout().flush()?;
    let held = std::thread::spawn(|| {
        let mut line = String::new();
        let _ends = std::io::stdin().read_line(&mut line);
    });
    let mut pinged = Instant::now();
    while !held.is_finished() {
        client.turn(&mut script, Instant::now() + TURN)?;
        if pinged.elapsed() > PING_EVERY {
            pinged = Instant::now();
            for index in 0..count {
                if let Some(connection) = client.connection(index) {
                    connection.quic.send_ack_eliciting()?;
                    client.flush(index)?;
                }
            }
        }
    }
    Ok(serde_json::json!({"served": script.served, "lost": script.lost}))
}

/// Opens connections, a few at a time.
fn open<S: Script>(
    client: &mut Client,
    script: &mut S,
    count: usize,
    done: impl Fn(&S) -> usize,
) -> anyhow::Result<()> {
    let mut begun = 0;
    while done(script) < count {
        while begun < count && begun - done(script) < OPENING {
            client.connect(None)?;
            begun += 1;
        }
        client.turn(script, Instant::now() + TURN)?;
    }
    Ok(())
}

/// One request at a time on a connection.
#[derive(Default)]
struct Spread {
    ready: usize,
    idle: std::collections::VecDeque<usize>,
    answered: u64,
    lost: u64,
}

impl Script for Spread {
    fn progress(&mut self, connection: &mut Connection) {
        if connection.quic.is_established() && connection.step == 0 {
            connection.step = 1;
            let _failing = connection.http3();
            self.ready += 1;
            self.idle.push_back(connection.index);
        }
        let ended = connection.responses();
        if ended > 0 {
            self.answered += ended as u64;
            self.idle.push_back(connection.index);
        }
    }

    fn ended(&mut self, connection: &mut Connection) {
        self.lost += 1;
        self.idle.retain(|index| *index != connection.index);
    }
}

fn spread(
    mut client: Client,
    count: usize,
    under_way: usize,
    time: Duration,
) -> anyhow::Result<serde_json::Value> {
    let mut script = Spread::default();
    open(&mut client, &mut script, count, |script| script.ready)?;
    println!("ready");
    std::io::stdout().flush()?;
    let (began, mut sent) = (Instant::now(), 0);
    while began.elapsed() < time {
        while sent - script.answered < under_way as u64 {
            let Some(index) = script.idle.pop_front() else {
                break;
            };
            if let Some(connection) = client.connection(index)
                && connection.get("/").is_ok()
            {
                client.flush(index)?;
                sent += 1;
            }
        }
        client.turn(&mut script, Instant::now() + TURN)?;
        anyhow::ensure!(script.lost == 0, "{} connections ended", script.lost);
    }
    Ok(serde_json::json!({"answered": script.answered, "seconds": began.elapsed().as_secs_f64()}))
}

fn percentile(sorted: &[f64], part: f64) -> Option<f64> {
    let index = ((sorted.len() as f64 * part) as usize).min(sorted.len().checked_sub(1)?);
    Some(sorted[index])
}

const TURN: Duration = Duration::from_millis(20);
const PING_EVERY: Duration = Duration::from_secs(10);
/// Handshakes that are under way while connections are opened.
const OPENING: usize = 16;
/// RFC 9114 8.1.
const H3_NO_ERROR: u64 = 0x100;
