//! An upstream that answers with bytes of the test's choice, for what hyper would not send.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// What to do with a connection after a request head.
pub enum Reply {
    /// Send this, and wait for the next head.
    Keep(Vec<u8>),
    /// Send this, and end the connection.
    Close(Vec<u8>),
    /// Send this, and reset the connection.
    Reset(Vec<u8>),
}

/// A running upstream; dropped, it and its connections are gone.
pub struct RawUpstream {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl RawUpstream {
    /// Asks `reply` for each head that arrives; bodies are not understood.
    pub async fn start(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("loopback binds");
        let address = listener.local_addr().expect("it is bound");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (reply, seen) = (Arc::new(reply), heads.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (reply, seen) = (reply.clone(), seen.clone());
                connections.spawn(async move { speak(stream, &*reply, &seen).await });
            }
        });
        Self {
            address,
            heads,
            task,
        }
    }

    /// Request heads in order of arrival.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic holds it").clone()
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn speak(
    mut stream: TcpStream,
    reply: &(impl Fn(&str) -> Reply + ?Sized),
    heads: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        read.drain(..end);
        let answer = reply(&head);
        heads.lock().expect("no panic holds it").push(head);
        match answer {
            Reply::Keep(bytes) => stream.write_all(&bytes).await?,
            Reply::Close(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Reply::Reset(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.set_zero_linger();
            }
        }
    }
}
