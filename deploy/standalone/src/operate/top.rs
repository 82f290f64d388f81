//! `tidegate top`: the busiest connections, again and again.

use std::{
    collections::HashMap,
    fmt::Write,
    io::IsTerminal,
    time::{Duration, Instant},
};

use tidegate_controlplane::api::types::{Connection, ConnectionList};

use super::{
    print,
    selector::SelectorArgs,
    table::{or_dash, table},
};
use crate::{
    admin::{AdminArgs, AdminClient, AdminError, Query},
    units,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub admin: AdminArgs,
    #[command(flatten)]
    pub selector: SelectorArgs,
    /// Time between two looks
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration, default_value = "1s")]
    pub every: Duration,
    /// Show so many connections
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub rows: usize,
    /// Stop after so many looks; 0 goes on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub count: u64,
}

/// # Errors
/// Any [`AdminError`].
pub async fn run(args: Args) -> Result<(), AdminError> {
    let api = AdminClient::new(&args.admin)?;
    let query = args
        .selector
        .on(Query::path(&["v1", "connections"]))
        .with("limit", 1_000);
    let clear = if std::io::stdout().is_terminal() {
        "\x1b[H\x1b[2J"
    } else {
        ""
    };
    let mut rates = Rates::default();
    let mut looks = 0;
    loop {
        let page: ConnectionList = api.fetch(&query).await?;
        let text = rates.render(&page, args.rows, Instant::now());
        print(&format!("{clear}{text}"));
        looks += 1;
        if looks == args.count {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(args.every) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// Totals of the last look, which make rates of the next.
#[derive(Default)]
struct Rates {
    at: Option<Instant>,
    totals: HashMap<String, Totals>,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    requests: u64,
    sent: u64,
    received: u64,
}

impl Totals {
    fn of(connection: &Connection) -> Self {
        let stats = connection.stats.clone().unwrap_or_default();
        Self {
            requests: connection.requests,
            sent: stats.bytes_sent,
            received: stats.bytes_recvd,
        }
    }

    /// A second, since `before`.
    fn rate(self, before: Self, elapsed: Duration) -> Self {
        let a_second = |now: u64, before: u64| {
            (now.saturating_sub(before) as f64 / elapsed.as_secs_f64()).round() as u64
        };
        Self {
            requests: a_second(self.requests, before.requests),
            sent: a_second(self.sent, before.sent),
            received: a_second(self.received, before.received),
        }
    }
}

impl Rates {
    /// The table of this moment; remembers it for the next.
    fn render(&mut self, page: &ConnectionList, rows: usize, now: Instant) -> String {
        let elapsed = self.at.map(|at| now.duration_since(at));
        let mut lines: Vec<(Totals, &Connection)> = page
            .connections
            .iter()
            .map(|connection| {
                let totals = Totals::of(connection);
                let before = self.totals.get(&connection.id).copied();
                let rate = match (elapsed, before) {
                    (Some(elapsed), Some(before)) if !elapsed.is_zero() => {
                        totals.rate(before, elapsed)
                    }
                    _ => Totals::default(),
                };
                (rate, connection)
            })
            .collect();
        lines.sort_by_key(|(rate, connection)| {
            let bytes = rate.sent.saturating_add(rate.received);
            (std::cmp::Reverse((bytes, rate.requests)), &connection.id)
        });
        let sum = lines
            .iter()
            .fold(Totals::default(), |sum, (rate, _)| Totals {
                requests: sum.requests + rate.requests,
                sent: sum.sent + rate.sent,
                received: sum.received + rate.received,
            });
        let more = if page.next.is_empty() { "" } else { " of more" };
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{}{more}, {} requests/s, out {}, in {}\n",
            units::count(lines.len() as u64, "connection"),
            sum.requests,
            units::bit_rate(sum.sent.saturating_mul(8)),
            units::bit_rate(sum.received.saturating_mul(8)),
        );
        let headings = [
            "ID", "PEER", "ALPN", ">AGE", ">RTT", ">LOSS", ">CWND", ">REQ/S", ">OUT", ">IN",
        ];
        text += &table(
            &headings,
            lines.iter().take(rows).map(|(rate, c)| row(*rate, c)),
        );
        self.totals = page
            .connections
            .iter()
            .map(|c| (c.id.clone(), Totals::of(c)))
            .collect();
        self.at = Some(now);
        text
    }
}

fn row(rate: Totals, connection: &Connection) -> Vec<String> {
    let stats = connection.stats.clone().unwrap_or_default();
    let alpn = connection.tls.as_ref().map_or("", |tls| tls.alpn.as_str());
    let rtt = u64::try_from(stats.rtt_us).unwrap_or(0);
    vec![
        connection.id.clone(),
        connection.peer_address.clone(),
        or_dash(alpn),
        units::duration(connection.age_ms),
        if rtt == 0 {
            "-".into()
        } else {
            units::micros(rtt)
        },
        units::percent(stats.packets_lost, stats.packets_sent),
        if stats.cwnd == 0 {
            "-".into()
        } else {
            units::bytes(stats.cwnd)
        },
        rate.requests.to_string(),
        units::bit_rate(rate.sent.saturating_mul(8)),
        units::bit_rate(rate.received.saturating_mul(8)),
    ]
}

#[cfg(test)]
mod tests {
    use tidegate_controlplane::api::types::SocketStats;

    use super::*;

    fn connection(id: &str, requests: u64, bytes_sent: u64) -> Connection {
        Connection {
            id: id.into(),
            requests,
            stats: Some(SocketStats {
                bytes_sent,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn page(connections: Vec<Connection>) -> ConnectionList {
        ConnectionList {
            connections,
            next: String::new(),
        }
    }

    #[test]
    fn rates_are_differences_a_second_and_the_busiest_comes_first() {
        let mut rates = Rates::default();
        let began = Instant::now();
        let first = page(vec![connection("a", 10, 1_000), connection("b", 0, 0)]);
        let text = rates.render(&first, 20, began);
        assert!(
            text.starts_with("2 connections, 0 requests/s, out 0 bit/s"),
            "{text}"
        );
        let second = page(vec![
            connection("a", 20, 1_000),
            connection("b", 4, 500_000),
        ]);
        let text = rates.render(&second, 20, began + Duration::from_secs(2));
        assert!(
            text.starts_with("2 connections, 7 requests/s, out 2.0 Mbit/s"),
            "{text}"
        );
        let ids: Vec<_> = text
            .lines()
            .skip(3)
            .filter_map(|l| l.split(' ').next())
            .collect();
        assert_eq!(ids, ["b", "a"], "{text}");
    }

    #[test]
    fn a_new_connection_has_no_rate_and_the_table_has_no_more_rows_than_asked() {
        let mut rates = Rates::default();
        let began = Instant::now();
        rates.render(&page(vec![]), 1, began);
        let crowd = page(vec![connection("a", 1_000, 1_000), connection("b", 1, 1)]);
        let text = rates.render(&crowd, 1, began + Duration::from_secs(1));
        assert!(text.starts_with("2 connections, 0 requests/s"), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
    }
}
