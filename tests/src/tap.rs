//! Someone on the path of one client: hears every datagram, holds them up, keeps some
//! back, and sends the client's own from another address.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{net::UdpSocket, sync::watch, task::JoinSet, time::sleep};

const LONGEST_DATAGRAM: usize = 65_536;

/// A running tap; dropped, it is gone.
pub struct Tap {
    /// Where the client connects to.
    pub address: SocketAddr,
    /// The client's address as the gateway sees it.
    pub source: SocketAddr,
    /// The other address that datagrams can be sent from; nobody answers there, unless the
    /// client moves in.
    pub stranger: SocketAddr,
    back: Arc<UdpSocket>,
    orders: watch::Sender<Orders>,
    heard: Arc<Heard>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Orders {
    /// So many datagrams of the client leave from the stranger's address.
    diverted: u64,
    /// Nothing of the gateway's reaches the client.
    deaf: bool,
    /// Nothing of the client's reaches the gateway.
    mute: bool,
    /// The client is where the stranger was.
    moved: bool,
}

#[derive(Default)]
struct Heard {
    up: Mutex<Vec<Vec<u8>>>,
    down: Mutex<Vec<Vec<u8>>>,
}

impl Tap {
    /// `delay`: for each direction.
    pub async fn to(gateway: SocketAddr, delay: Duration) -> Self {
        let bind = || async {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let socket = Arc::new(socket.expect("loopback binds"));
            let address = socket.local_addr().expect("it is bound");
            (socket, address)
        };
        let ((front, address), (back, source), (aside, stranger)) =
            (bind().await, bind().await, bind().await);
        let orders = watch::Sender::new(Orders::default());
        let heard = Arc::<Heard>::default();
        let client = Arc::new(Mutex::new(None));
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let (front, back, aside) = (front.clone(), back.clone(), aside.clone());
            let (client, heard, orders) = (client.clone(), heard.clone(), orders.clone());
            async move {
                let mut buffer = vec![0; LONGEST_DATAGRAM];
                while let Ok((length, from)) = front.recv_from(&mut buffer).await {
                    *client.lock().expect("no panic holds it") = Some(from);
                    let datagram = buffer[..length].to_vec();
                    heard
                        .up
                        .lock()
                        .expect("no panic holds it")
                        .push(datagram.clone());
                    let order = *orders.borrow();
                    if order.mute {
                        continue;
                    }
                    let from = match order.diverted {
                        0 => back.clone(),
                        _ => {
                            orders.send_modify(|orders| orders.diverted -= 1);
                            aside.clone()
                        }
                    };
                    tokio::spawn(async move {
                        sleep(delay).await;
                        let _ = from.send_to(&datagram, gateway).await;
                    });
                }
            }
        });
        for (side, strange) in [(back.clone(), false), (aside, true)] {
            let (front, client) = (front.clone(), client.clone());
            let (heard, orders) = (heard.clone(), orders.clone());
            tasks.spawn(async move {
                let mut buffer = vec![0; LONGEST_DATAGRAM];
                loop {
                    // An error tells of a port that is closed by now.
                    let Ok((length, _)) = side.recv_from(&mut buffer).await else {
                        continue;
                    };
                    let datagram = buffer[..length].to_vec();
                    if !strange {
                        heard
                            .down
                            .lock()
                            .expect("no panic holds it")
                            .push(datagram.clone());
                    }
                    let (to, order) =
                        (*client.lock().expect("no panic holds it"), *orders.borrow());
                    if let Some(to) = to
                        && !order.deaf
                        && (order.moved || !strange)
                    {
                        let front = front.clone();
                        tokio::spawn(async move {
                            sleep(delay).await;
                            let _ = front.send_to(&datagram, to).await;
                        });
                    }
                }
            });
        }
        Self {
            address,
            source,
            stranger,
            back,
            orders,
            heard,
            _tasks: tasks,
        }
    }

    /// The next datagrams of the client leave from the stranger's address instead.
    pub fn divert(&self, datagrams: u64) {
        self.orders
            .send_modify(|orders| orders.diverted = datagrams);
    }

    /// The stranger's address is the client's from now on.
    pub fn move_in(&self) {
        self.orders.send_modify(|orders| {
            orders.diverted = u64::MAX;
            orders.moved = true;
        });
    }

    /// Nothing of the gateway's reaches the client from now on.
    pub fn deafen(&self) {
        self.orders.send_modify(|orders| orders.deaf = true);
    }

    /// What the gateway sends reaches the client again.
    pub fn hear(&self) {
        self.orders.send_modify(|orders| orders.deaf = false);
    }

    /// Nothing of the client's reaches the gateway from now on.
    pub fn mute(&self) {
        self.orders.send_modify(|orders| orders.mute = true);
    }

    /// What the gateway has sent to the client's address.
    pub fn down(&self) -> Vec<Vec<u8>> {
        self.heard.down.lock().expect("no panic holds it").clone()
    }

    /// What the client has sent.
    pub fn up(&self) -> Vec<Vec<u8>> {
        self.heard.up.lock().expect("no panic holds it").clone()
    }

    /// Sends a datagram from the client's address, at once.
    pub async fn send(&self, gateway: SocketAddr, datagram: &[u8]) {
        self.back
            .send_to(datagram, gateway)
            .await
            .expect("loopback takes it");
    }
}
