//! HTTP/1.1 and HTTP/2 by hyper.

use std::time::{Duration, SystemTime};

use futures_util::{future::try_join_all, stream};
use http_body_util::BodyExt;
use hyper::{Response, body::Incoming};
use rand::{RngExt, rngs::StdRng};
use tidegate_tests::{Tcp, Wire, empty, stream_body};
use tokio::time::{sleep, timeout};

use super::{
    Habits, REQUEST,
    ask::{Ask, Check, SLOW_PIECE},
};
use crate::{diary::Visit, world::World};

pub(super) async fn visit(
    world: &World,
    wire: Wire,
    habits: &Habits,
    mut random: StdRng,
) -> Result<(), String> {
    let clear = wire == Wire::H1 && random.random_bool(0.3);
    let target = if clear { &world.cleartext } else { &world.tls };
    let begun = SystemTime::now();
    let connecting = timeout(REQUEST, Tcp::try_connect(target, wire)).await;
    let connected = connecting.map_err(|_| format!("no connection in {REQUEST:?}"))?;
    let mut client = connected.map_err(|error| format!("no connection: {error:#}"))?;
    let mut visit = Visit {
        transport: "tcp",
        from: client.local_address(),
        begun,
        requests: 0,
        failed: false,
    };
    world.diary.did(format!("{wire:?} connections"));
    let outcome = work(world, wire, habits, &mut client, &mut visit, &mut random).await;
    let outcome = outcome.map_err(|error| format!("from {}: {error}", visit.from));
    visit.failed = outcome.is_err();
    world.diary.visit(visit);
    outcome
}

async fn work(
    world: &World,
    wire: Wire,
    habits: &Habits,
    client: &mut Tcp,
    visit: &mut Visit,
    random: &mut StdRng,
) -> Result<(), String> {
    for _ in 0..habits.groups {
        let mut group = Ask::group(world, habits.slow, random);
        if wire == Wire::H1 {
            group.truncate(1);
        }
        // Heads come one after the other, bodies together.
        let mut begun = Vec::new();
        for ask in &group {
            visit.requests += 1;
            begun.push((begin(client, ask).await?, ask));
        }
        let reading = begun.into_iter().map(|(response, ask)| async move {
            let outcome = timeout(REQUEST, read(response, ask, habits.slow)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(format!("no end in {REQUEST:?}")));
            outcome.map_err(|error| format!("{}: {error}", ask.name()))?;
            world.diary.did(format!("{wire:?} {}", ask.method));
            world.diary.verified(ask.body.len() + ask.answer.len());
            Ok::<_, String>(())
        });
        try_join_all(reading).await?;
        sleep(habits.pause).await;
    }
    Ok(())
}

async fn begin(client: &mut Tcp, ask: &Ask) -> Result<Response<Incoming>, String> {
    let body = match ask.method {
        "GET" => empty(),
        _ => stream_body(stream::iter(ask.pieces())),
    };
    let request = client.request(ask.method, &ask.path, body);
    let head = timeout(REQUEST, client.begin(request)).await;
    let head = head.map_err(|_| format!("{}: no head in {REQUEST:?}", ask.name()))?;
    head.map_err(|error| format!("{}: {error}", ask.name()))
}

async fn read(mut response: Response<Incoming>, ask: &Ask, slow: bool) -> Result<(), String> {
    if response.status() != 200 {
        return Err(format!("status {}", response.status()));
    }
    let (mut check, mut since) = (Check::new(ask), 0);
    while let Some(frame) = response.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        check.take(data)?;
        since += data.len();
        if slow && since >= SLOW_PIECE {
            since = 0;
            sleep(Duration::from_millis(50)).await;
        }
    }
    check.end()
}
