//! A UDP relay between clients and the gateway: it loses, bends, repeats and reorders
//! datagrams by a seeded generator, is as slow as a link that a test asks for, gives a client
//! a new address as a NAT does, and notes what passes.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    net::UdpSocket,
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::sleep_until,
};

mod lane;
mod wire;

use lane::Lane;
pub use lane::{Faults, Link};
use wire::Wire;
pub use wire::{PacketType, Passed};

const LONGEST_DATAGRAM: usize = 65_536;
/// Datagrams that wait for the relay; a full queue loses, as a router's does.
const QUEUE: usize = 4096;
/// Longer than any delay of a link.
const LONG: Duration = Duration::from_secs(3600);

/// A running relay; dropped, it is gone.
pub struct Relay {
    /// Where clients connect to.
    pub address: SocketAddr,
    control: watch::Sender<Orders>,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Orders {
    /// Each new value gives every client a new address towards the gateway.
    rebinding: u64,
    /// A new address is another host's, not only another port.
    roaming: bool,
    /// Nothing goes through.
    cut: bool,
    /// Bytes; longer datagrams from the gateway vanish.
    mtu: Option<usize>,
}

#[derive(Default)]
struct Counters {
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    rebound: AtomicU64,
    /// Addresses that the gateway has seen, the newest last.
    sources: Mutex<Vec<SocketAddr>>,
    /// Of datagrams from the gateway.
    arrivals: Mutex<Vec<Instant>>,
    wire: Wire,
}

impl Relay {
    pub async fn to(gateway: SocketAddr) -> Self {
        Self::with(gateway, Faults::default()).await
    }

    pub async fn with(gateway: SocketAddr, faults: Faults) -> Self {
        Self::over(gateway, faults, Link::default()).await
    }

    /// With faults, and over a link that is as slow as a real one.
    pub async fn over(gateway: SocketAddr, faults: Faults, link: Link) -> Self {
        let front = UdpSocket::bind((loopback(gateway), 0)).await;
        let front = Arc::new(front.expect("loopback binds"));
        let address = front.local_addr().expect("it is bound");
        let (control, orders) = watch::channel(Orders {
            rebinding: 0,
            roaming: false,
            cut: false,
            mtu: faults.mtu,
        });
        let counters = Arc::<Counters>::default();
        let way = Way {
            gateway,
            faults,
            link,
            counters: counters.clone(),
        };
        let task = tokio::spawn(run(front, way, orders));
        Self {
            address,
            control,
            counters,
            task,
        }
    }

    /// Gives every client a new address, and resolves when datagrams leave from there.
    pub async fn rebind(&self) {
        let before = self.counters.rebound.load(Ordering::SeqCst);
        self.control.send_modify(|orders| orders.rebinding += 1);
        crate::eventually(
            "a client's datagram leaves from its new address",
            || async { (self.counters.rebound.load(Ordering::SeqCst) > before).then_some(()) },
        )
        .await;
    }

    /// Longer datagrams from the gateway vanish from now on.
    pub fn narrow(&self, mtu: usize) {
        self.control.send_modify(|orders| orders.mtu = Some(mtu));
    }

    /// From now on a new address is another host's as well.
    pub fn roam(&self) {
        self.control.send_modify(|orders| orders.roaming = true);
    }

    /// Lets nothing through, as when a client loses its network.
    pub fn cut(&self) {
        self.control.send_modify(|orders| orders.cut = true);
    }

    /// Lets datagrams through again.
    pub fn mend(&self) {
        self.control.send_modify(|orders| orders.cut = false);
    }

    /// The first datagrams that reached the gateway or came from it, in order.
    pub fn passed(&self) -> Vec<Passed> {
        self.counters.wire.passed()
    }

    /// Bytes towards the gateway.
    pub fn bytes_up(&self) -> u64 {
        self.counters.bytes_up.load(Ordering::SeqCst)
    }

    /// Bytes from the gateway.
    pub fn bytes_down(&self) -> u64 {
        self.counters.bytes_down.load(Ordering::SeqCst)
    }

    /// When datagrams came from the gateway.
    pub fn arrivals(&self) -> Vec<Instant> {
        self.counters
            .arrivals
            .lock()
            .expect("no panic holds it")
            .clone()
    }

    /// Addresses that clients had towards the gateway, the newest last.
    pub fn sources(&self) -> Vec<SocketAddr> {
        self.counters
            .sources
            .lock()
            .expect("no panic holds it")
            .clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The address of this host to use where the gateway has that one.
fn loopback(gateway: SocketAddr) -> IpAddr {
    match gateway {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// What all clients of a relay share.
#[derive(Clone)]
struct Way {
    gateway: SocketAddr,
    faults: Faults,
    link: Link,
    counters: Arc<Counters>,
}

async fn run(front: Arc<UdpSocket>, way: Way, orders: watch::Receiver<Orders>) {
    let mut clients: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut flows = JoinSet::new();
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    loop {
        let Ok((length, client)) = front.recv_from(&mut buffer).await else {
            continue;
        };
        let index = clients.len() as u64;
        let queue = clients.entry(client).or_insert_with(|| {
            let (sender, datagrams) = mpsc::channel(QUEUE);
            let lane = |salt, link| Lane::new(way.faults, link, salt | index << 2);
            let delay = way.link.delay + way.faults.delay;
            let upwards = Link { delay, ..way.link };
            let flow = Flow {
                index,
                client,
                front: front.clone(),
                way: way.clone(),
                up: lane(1, upwards),
                down: lane(2, way.link),
                moves: 0,
            };
            flows.spawn(flow.run(datagrams, orders.clone()));
            sender
        });
        let _ = queue.try_send(buffer[..length].to_vec());
    }
}

/// One client's datagrams, both ways.
struct Flow {
    index: u64,
    client: SocketAddr,
    front: Arc<UdpSocket>,
    way: Way,
    up: Lane,
    down: Lane,
    /// How often the client got another host's address.
    moves: u8,
}

impl Flow {
    async fn run(
        mut self,
        mut datagrams: mpsc::Receiver<Vec<u8>>,
        orders: watch::Receiver<Orders>,
    ) -> io::Result<()> {
        let counters = self.way.counters.clone();
        let mut rebinding = orders.borrow().rebinding;
        let mut back = self.socket(false).await?;
        let mut buffer = vec![0; LONGEST_DATAGRAM];
        loop {
            let due = self.up.due().into_iter().chain(self.down.due()).min();
            tokio::select! {
                datagram = datagrams.recv() => {
                    let Some(datagram) = datagram else { return Ok(()) };
                    let order = orders.borrow().clone();
                    if order.cut || self.up.loses_next() {
                        continue;
                    }
                    if order.rebinding != rebinding {
                        // What is under way arrives from where it was sent.
                        self.deliver_up(&back, None).await;
                        rebinding = order.rebinding;
                        back = self.socket(order.roaming).await?;
                        counters.rebound.fetch_add(1, Ordering::SeqCst);
                    }
                    self.up.take(datagram, Instant::now());
                }
                received = back.recv(&mut buffer) => {
                    // A refused port shows as an error here; the next datagram may do better.
                    let Ok(length) = received else { continue };
                    counters.bytes_down.fetch_add(length as u64, Ordering::SeqCst);
                    counters.arrivals.lock().expect("no panic holds it").push(Instant::now());
                    counters.wire.note(self.index, false, &buffer[..length]);
                    let order = orders.borrow().clone();
                    if order.cut || order.mtu.is_some_and(|mtu| length > mtu) {
                        continue;
                    }
                    self.down.take(buffer[..length].to_vec(), Instant::now());
                }
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {}
            }
            let now = Instant::now();
            self.deliver_up(&back, Some(now)).await;
            for datagram in self.down.arrived(now) {
                let _ = self.front.send_to(&datagram, self.client).await;
            }
        }
    }

    /// Sends what has arrived by then, or all there is.
    async fn deliver_up(&mut self, back: &UdpSocket, by: Option<Instant>) {
        let counters = &self.way.counters;
        let by = by.unwrap_or_else(|| Instant::now() + LONG);
        for datagram in self.up.arrived(by) {
            let length = datagram.len() as u64;
            counters.bytes_up.fetch_add(length, Ordering::SeqCst);
            counters.wire.note(self.index, true, &datagram);
            let _ = back.send(&datagram).await;
        }
    }

    async fn socket(&mut self, roaming: bool) -> io::Result<UdpSocket> {
        let gateway = self.way.gateway;
        let address = match (loopback(gateway), roaming) {
            (IpAddr::V4(_), true) => {
                self.moves += 1;
                Ipv4Addr::new(127, 0, 1, self.moves).into()
            }
            (address, _) => address,
        };
        let socket = UdpSocket::bind((address, 0)).await?;
        socket.connect(gateway).await?;
        let sources = &self.way.counters.sources;
        (sources.lock().expect("no panic holds it")).push(socket.local_addr()?);
        Ok(socket)
    }
}
