//! HTTP/3 by quinn.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Buf;
use futures_util::future::join_all;
use rand::{RngExt, rngs::StdRng};
use tidegate_tests::H3;
use tokio::time::{sleep, timeout};

use super::{
    Habits, REQUEST,
    ask::{Ask, Check, SLOW_PIECE},
    nowhere::Nowhere,
};
use crate::{
    diary::Visit,
    world::{LONGEST, World},
};

/// Until a close frame has left.
const FAREWELL: Duration = Duration::from_secs(5);

pub(super) async fn visit(
    world: &World,
    habits: &Habits,
    mut random: StdRng,
) -> Result<(), String> {
    let target = if habits.resumes {
        &world.quic
    } else {
        &world.fresh
    };
    let begun = SystemTime::now();
    let transport = quinn::TransportConfig::default();
    let connecting = H3::connect_from(Ipv4Addr::LOCALHOST.into(), target, transport);
    let client = connecting
        .await
        .map_err(|error| format!("no connection: {error}"))?;
    let mut visit = Visit {
        transport: "quic",
        from: client.local_address(),
        begun,
        requests: 0,
        failed: false,
    };
    world.diary.did("HTTP/3 connections");
    let outcome = work(world, habits, &client, &mut visit, &mut random).await;
    let outcome = outcome.map_err(|error| format!("from {}: {error}", visit.from));
    visit.failed = outcome.is_err();
    world.diary.visit(visit);
    leave(world, habits, client).await;
    outcome
}

async fn work(
    world: &World,
    habits: &Habits,
    client: &H3,
    visit: &mut Visit,
    random: &mut StdRng,
) -> Result<(), String> {
    let mut rebinds = habits.rebinds;
    for turn in 0..habits.groups {
        let group = Ask::group(world, habits.slow, random);
        visit.requests += group.len() as u64;
        let requests = join_all(group.iter().map(|ask| async {
            let outcome = timeout(REQUEST, request(client, ask, habits.slow)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(format!("no end in {REQUEST:?}")));
            let closed = client.connection.close_reason();
            outcome.map_err(|error| format!("{}: {error}; closed: {closed:?}", ask.name()))?;
            world.diary.did(format!("HTTP/3 {}", ask.method));
            world.diary.verified(ask.body.len() + ask.answer.len());
            Ok(())
        }));
        // Not at once: quiche cannot serve a client that retires a connection ID while it is
        // still being sent again.
        let moves = usize::from(rebinds > 0 && turn > 0);
        rebinds -= moves;
        let delay = Duration::from_millis(random.random_range(0..30));
        let moving = async {
            if moves > 0 {
                sleep(delay).await;
                rebind(client)?;
                world.diary.did("rebindings");
            }
            Ok(())
        };
        let (outcomes, moved): (Vec<Result<(), String>>, Result<(), String>) =
            tokio::join!(requests, moving);
        outcomes
            .into_iter()
            .chain([moved])
            .collect::<Result<(), String>>()?;
        sleep(habits.pause).await;
    }
    if habits.abandons {
        visit.requests += 1;
        let request = client.request("GET", &format!("/bytes/{LONGEST}"));
        let begun = async { client.open(request).await?.recv_response().await };
        begun
            .await
            .map_err(|error| format!("a last download: {error}"))?;
    }
    Ok(())
}

fn rebind(client: &H3) -> Result<(), String> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback binds");
    let outcome = client.endpoint.rebind(socket);
    outcome.map_err(|error| format!("it cannot rebind: {error}"))
}

async fn request(client: &H3, ask: &Ask, slow: bool) -> Result<(), String> {
    let text = |error: h3::error::StreamError| error.to_string();
    let request = client.request(ask.method, &ask.path);
    let (mut send, mut receive) = client.open(request).await.map_err(text)?.split();
    let upload = async {
        for piece in ask.pieces() {
            send.send_data(piece).await.map_err(text)?;
        }
        send.finish().await.map_err(text)
    };
    let download = async {
        let head = receive.recv_response().await.map_err(text)?;
        if head.status() != 200 {
            return Err(format!("status {}", head.status()));
        }
        let (mut check, mut since) = (Check::new(ask), 0);
        while let Some(mut data) = receive.recv_data().await.map_err(text)? {
            while data.has_remaining() {
                let length = data.chunk().len();
                check.take(data.chunk())?;
                data.advance(length);
                since += length;
            }
            if slow && since >= SLOW_PIECE {
                since = 0;
                sleep(Duration::from_millis(50)).await;
            }
        }
        check.end()
    };
    tokio::try_join!(upload, download).map(drop)
}

async fn leave(world: &World, habits: &Habits, client: H3) {
    let endpoint = client.endpoint.clone();
    if habits.vanishes {
        let nowhere = Arc::new(Nowhere(client.local_address()));
        let gone = endpoint.rebind_abstract(nowhere);
        gone.expect("a socket that leads nowhere always binds");
        world.diary.did(match habits.abandons {
            true => "vanished in a download",
            false => "vanished",
        });
    }
    drop(client);
    let _patience = timeout(FAREWELL, endpoint.wait_idle()).await;
}
