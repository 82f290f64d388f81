//! Clients that lie, stall and flood, each a little and all the time. What they get is not
//! looked at, but for whether they were let in: that is for the tests of attacks. Their rates stay below what turns on defences
//! that honest clients would notice, and they come from other networks.

mod datagrams;
mod http3;
mod streams;
mod tcp;

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use rand::RngExt;
use tidegate_tests::raw::{RawClient, Twist};
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    diary::Diary,
    world::{World, elsewhere, random},
};

/// No act is longer.
const ACT: Duration = Duration::from_secs(30);
/// Of one kind, at the same time.
const AT_ONCE: usize = 16;
const HANDSHAKE: Duration = Duration::from_secs(5);

/// `None`: it was turned away before it could begin.
type Act = fn(Arc<World>, IpAddr) -> BoxFuture<'static, Option<()>>;

/// What they do, and about how often, in milliseconds.
const KINDS: [(&str, u64, Act); 13] = [
    ("bursts of junk", 1_000, |world, from| {
        Box::pin(datagrams::junk(world, from))
    }),
    ("handshakes that are abandoned", 700, |world, from| {
        Box::pin(datagrams::half_open(world, from))
    }),
    ("first flights that are cut short", 1_500, |world, from| {
        Box::pin(datagrams::cut_short(world, from))
    }),
    ("packets that were bent", 2_000, |world, from| {
        Box::pin(datagrams::bent(world, from))
    }),
    ("downloads that are not read", 3_000, |world, from| {
        Box::pin(streams::never_read(world, from))
    }),
    ("windows that are closed", 3_000, |world, from| {
        Box::pin(streams::closed_windows(world, from))
    }),
    ("requests that never end", 3_000, |world, from| {
        Box::pin(streams::never_ended(world, from))
    }),
    ("frames that QUIC forbids", 2_000, |world, from| {
        Box::pin(streams::forbidden(world, from))
    }),
    ("frames that HTTP/3 forbids", 2_000, |world, from| {
        Box::pin(http3::forbidden(world, from))
    }),
    ("requests that are reset at once", 6_000, |world, from| {
        Box::pin(http3::rapid_reset(world, from))
    }),
    ("TLS that stalls", 2_000, |world, from| {
        Box::pin(tcp::stalled_tls(world, from))
    }),
    ("TLS that is none", 2_000, |world, from| {
        Box::pin(tcp::no_tls(world, from))
    }),
    ("heads that never end", 3_000, |world, from| {
        Box::pin(tcp::endless_head(world, from))
    }),
];

/// Lies until it is told to stop, and lets what was begun end.
pub(crate) async fn lie(world: Arc<World>, stop: watch::Receiver<bool>) {
    let mut kinds = JoinSet::new();
    for kind in KINDS {
        kinds.spawn(again_and_again(world.clone(), kind, stop.clone()));
    }
    kinds.join_all().await;
}

async fn again_and_again(
    world: Arc<World>,
    (name, pause, act): (&'static str, u64, Act),
    mut stop: watch::Receiver<bool>,
) {
    let mut acts = JoinSet::new();
    let mut random = random();
    loop {
        let pause = Duration::from_millis(random.random_range(pause / 2..pause * 3 / 2));
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            () = sleep(pause) => {}
        }
        while let Some(ended) = acts.try_join_next() {
            note(&world, name, ended);
        }
        if acts.len() < AT_ONCE {
            let act = act(world.clone(), elsewhere(&mut random));
            acts.spawn(async { timeout(ACT, act).await.unwrap_or(None) });
        }
    }
    while let Some(ended) = acts.join_next().await {
        note(&world, name, ended);
    }
}

fn note(world: &World, name: &'static str, ended: Result<Option<()>, JoinError>) {
    match ended {
        Ok(Some(())) => world.diary.lied(name),
        Ok(None) => world.diary.turned_away(name),
        Err(error) => {
            let what = format!("the client of {name} broke: {error}");
            world.diary.failed(&what);
        }
    }
}

/// Kinds of lies that were never told.
pub(crate) fn untold(diary: &Diary) -> Vec<String> {
    let untold = KINDS.iter().filter(|(name, ..)| diary.lies(name) == 0);
    untold
        .map(|(name, ..)| format!("there were no {name}"))
        .collect()
}

/// A client whose handshake is complete. `None`: it was turned away, which is its own fault.
async fn established(world: &World, from: IpAddr, twist: Twist) -> Option<RawClient> {
    let target = &world.fresh;
    let tls = target.tls.clone().expect("it has TLS");
    let mut client = RawClient::begin_from(from, target, tls, twist).await;
    client.handshake(HANDSHAKE).await.then_some(client)
}
