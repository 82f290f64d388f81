//! What clients did, and what did not go as it should have.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard},
    time::{Instant, SystemTime},
};

/// A connection of an honest client.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// `quic` or `tcp`.
    pub(crate) transport: &'static str,
    /// The client's address at first.
    pub(crate) from: SocketAddr,
    pub(crate) begun: SystemTime,
    /// That were sent.
    pub(crate) requests: u64,
    /// One of its requests did, so that its record should be read.
    pub(crate) failed: bool,
}

pub(crate) struct Diary {
    begin: Instant,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    visits: Vec<Visit>,
    /// Of honest clients, by what they did.
    honest: BTreeMap<String, u64>,
    liars: BTreeMap<&'static str, u64>,
    /// Of liars, before they could lie.
    turned_away: BTreeMap<&'static str, u64>,
    bytes: u64,
    failures: Vec<String>,
}

impl Diary {
    pub(crate) fn new() -> Self {
        Self {
            begin: Instant::now(),
            pages: Mutex::default(),
        }
    }

    pub(crate) fn visit(&self, visit: Visit) {
        self.pages().visits.push(visit);
    }

    pub(crate) fn did(&self, what: impl Into<String>) {
        *self.pages().honest.entry(what.into()).or_default() += 1;
    }

    pub(crate) fn verified(&self, bytes: usize) {
        self.pages().bytes += bytes as u64;
    }

    pub(crate) fn lied(&self, how: &'static str) {
        *self.pages().liars.entry(how).or_default() += 1;
    }

    pub(crate) fn turned_away(&self, how: &'static str) {
        *self.pages().turned_away.entry(how).or_default() += 1;
    }

    /// How often an honest client did this.
    pub(crate) fn habit(&self, what: &str) -> u64 {
        self.pages().honest.get(what).copied().unwrap_or_default()
    }

    /// How often a liar did this.
    pub(crate) fn lies(&self, how: &str) -> u64 {
        self.pages().liars.get(how).copied().unwrap_or_default()
    }

    pub(crate) fn failed(&self, what: &str) {
        let at = self.begin.elapsed().as_secs_f64();
        let line = format!("at {at:.1} s: {what}");
        eprintln!("{line}");
        self.pages().failures.push(line);
    }

    pub(crate) fn visits(&self) -> Vec<Visit> {
        self.pages().visits.clone()
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        self.pages().failures.clone()
    }

    pub(crate) fn tell(&self) {
        let pages = self.pages();
        let requests: u64 = pages.visits.iter().map(|visit| visit.requests).sum();
        println!(
            "honest: {} connections, {requests} requests, {} MB verified, {} failures",
            pages.visits.len(),
            pages.bytes / 1_000_000,
            pages.failures.len()
        );
        for (what, count) in &pages.honest {
            println!("  {count:>8} {what}");
        }
        println!("liars: {} acts", pages.liars.values().sum::<u64>());
        for (how, count) in &pages.liars {
            let turned_away = pages.turned_away.get(how).copied().unwrap_or_default();
            println!("  {count:>8} {how}, and {turned_away} turned away");
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().expect("no panic holds it")
    }
}
