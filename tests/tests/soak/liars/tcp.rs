//! TCP connections on which nothing is finished.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rand::RngExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::world::{World, random};

/// A TLS record that promises 512 bytes of a ClientHello.
const PROMISE: [u8; 9] = [22, 3, 1, 2, 0, 1, 0, 1, 252];

/// Nothing, or the beginning of a ClientHello, and then silence.
pub(super) async fn stalled_tls(world: Arc<World>, from: IpAddr) -> Option<()> {
    let length = random().random_range(0..=PROMISE.len());
    say(&world, from, world.tls.address, &PROMISE[..length]).await
}

/// Something else.
pub(super) async fn no_tls(world: Arc<World>, from: IpAddr) -> Option<()> {
    let mut noise = [0; 600];
    random().fill(&mut noise);
    say(&world, from, world.tls.address, &noise).await
}

/// A request whose head does not end.
pub(super) async fn endless_head(world: Arc<World>, from: IpAddr) -> Option<()> {
    let head = b"POST /mirror HTTP/1.1\r\nHost: site.test\r\nX-More: and mo";
    say(&world, from, world.cleartext.address, head).await
}

/// Says it, and stays until it is turned out, or has had enough.
async fn say(world: &World, from: IpAddr, to: SocketAddr, words: &[u8]) -> Option<()> {
    let mut stream = connect(from, to).await.ok()?;
    let _refused = stream.write_all(words).await;
    let patience = random().random_range(Duration::ZERO..world.idle_timeout * 3 / 2);
    let mut answer = Vec::new();
    let _turned_out = timeout(patience, stream.read_to_end(&mut answer)).await;
    Some(())
}

async fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}
