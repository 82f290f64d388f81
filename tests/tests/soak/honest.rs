//! A client that keeps to the rules, however odd its habits: each of its requests has to
//! succeed with the right bytes.

mod ask;
mod nowhere;
mod quic;
mod tcp;

use std::{sync::Arc, time::Duration};

use rand::{RngExt, rngs::StdRng};
use tidegate_tests::Wire;
use tokio::time::timeout;

use crate::world::{World, random};

/// What a request may take beside liars, on a machine that others use too.
const REQUEST: Duration = Duration::from_secs(30);
const SESSION: Duration = Duration::from_secs(120);

/// What a client is like.
#[derive(Debug)]
struct Habits {
    /// Groups of requests, which are sent together.
    groups: usize,
    /// Reads slowly.
    slow: bool,
    /// Times that its address changes.
    rebinds: usize,
    /// What it does not do between two groups, and before it goes.
    pause: Duration,
    resumes: bool,
    /// Goes without a word, so that its connection is timed out.
    vanishes: bool,
    /// Goes in the middle of a download.
    abandons: bool,
}

impl Habits {
    fn new(idle_timeout: Duration, random: &mut StdRng) -> Self {
        let vanishes = random.random_bool(0.25);
        let idles = random.random_bool(0.2);
        let rebinds = random.random_bool(0.25);
        // Its connection would be given up after three times as long.
        let longest = match idles {
            true => idle_timeout / 3,
            false => Duration::from_millis(200),
        };
        Self {
            groups: random.random_range(1..=3) + usize::from(rebinds),
            slow: random.random_bool(0.15),
            rebinds: if rebinds {
                random.random_range(1..=3)
            } else {
                0
            },
            pause: random.random_range(Duration::ZERO..longest),
            resumes: random.random_bool(0.5),
            vanishes,
            abandons: vanishes && random.random_bool(0.3),
        }
    }
}

/// One connection, from its handshake to its end.
pub(crate) async fn session(world: Arc<World>) {
    let mut random = random();
    let habits = Habits::new(world.idle_timeout, &mut random);
    let wire = match random.random_range(0..100) {
        0..70 => None,
        70..85 => Some(Wire::H2),
        _ => Some(Wire::H1),
    };
    let name = wire.map_or("HTTP/3".to_owned(), |wire| format!("{wire:?}"));
    let visit = async {
        match wire {
            None => quic::visit(&world, &habits, random).await,
            Some(wire) => tcp::visit(&world, wire, &habits, random).await,
        }
    };
    let outcome = timeout(SESSION, visit).await;
    let outcome = outcome.unwrap_or_else(|_| Err(format!("it took longer than {SESSION:?}")));
    if let Err(error) = outcome {
        world.diary.failed(&format!("{name}, {habits:?}: {error}"));
    }
}
