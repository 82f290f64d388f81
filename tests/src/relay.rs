//! A UDP relay between clients and the gateway: it loses, repeats and reorders datagrams
//! by a seeded generator, makes the way longer, gives a client a new address as a NAT does,
//! and counts bytes.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::sleep_until,
};

const LONGEST_DATAGRAM: usize = 65_536;
/// Datagrams that wait for the relay; a full queue loses, as a router's does.
const QUEUE: usize = 4096;

/// Probabilities from 0 to 1, for each direction alike, and the round trip.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub loss: f64,
    pub repeat: f64,
    /// Of being held back until the next datagram has gone.
    pub reorder: f64,
    /// Bytes; longer datagrams from the gateway vanish.
    pub mtu: Option<usize>,
    /// How long datagrams towards the gateway take: all of the round trip.
    pub delay: Duration,
    pub seed: u64,
}

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
    faults: Faults,
    /// Each new value gives every client a new address towards the gateway.
    rebinding: u64,
    /// Nothing goes through.
    cut: bool,
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
}

impl Relay {
    pub async fn to(gateway: SocketAddr) -> Self {
        Self::with(gateway, Faults::default()).await
    }

    pub async fn with(gateway: SocketAddr, faults: Faults) -> Self {
        let front = Arc::new(
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
                .await
                .expect("loopback binds"),
        );
        let address = front.local_addr().expect("it is bound");
        let (control, orders) = watch::channel(Orders {
            faults,
            rebinding: 0,
            cut: false,
        });
        let counters = Arc::<Counters>::default();
        let task = tokio::spawn(run(front, gateway, orders, counters.clone()));
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
        self.control
            .send_modify(|orders| orders.faults.mtu = Some(mtu));
    }

    /// Lets nothing through, as when a client loses its network.
    pub fn cut(&self) {
        self.control.send_modify(|orders| orders.cut = true);
    }

    /// Bytes towards the gateway.
    pub fn bytes_up(&self) -> u64 {
        self.counters.bytes_up.load(Ordering::SeqCst)
    }

    /// Bytes from the gateway.
    pub fn bytes_down(&self) -> u64 {
        self.counters.bytes_down.load(Ordering::SeqCst)
    }

    /// When each datagram came from the gateway.
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

async fn run(
    front: Arc<UdpSocket>,
    gateway: SocketAddr,
    orders: watch::Receiver<Orders>,
    counters: Arc<Counters>,
) {
    let mut clients: HashMap<SocketAddr, mpsc::Sender<(Instant, Vec<u8>)>> = HashMap::new();
    let mut flows = JoinSet::new();
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    loop {
        let Ok((length, client)) = front.recv_from(&mut buffer).await else {
            continue;
        };
        let queue = clients.entry(client).or_insert_with(|| {
            let (sender, datagrams) = mpsc::channel(QUEUE);
            let flow = Flow {
                client,
                gateway,
                front: front.clone(),
                counters: counters.clone(),
                waiting: None,
                up: Lane::new(orders.borrow().faults, 1),
                down: Lane::new(orders.borrow().faults, 2),
            };
            flows.spawn(flow.run(datagrams, orders.clone()));
            sender
        });
        let due = Instant::now() + orders.borrow().faults.delay;
        let _ = queue.try_send((due, buffer[..length].to_vec()));
    }
}

/// One client's datagrams, both ways.
struct Flow {
    client: SocketAddr,
    gateway: SocketAddr,
    front: Arc<UdpSocket>,
    counters: Arc<Counters>,
    /// The next datagram for the gateway, and when it may go.
    waiting: Option<(Instant, Vec<u8>)>,
    up: Lane,
    down: Lane,
}

impl Flow {
    async fn run(
        mut self,
        mut datagrams: mpsc::Receiver<(Instant, Vec<u8>)>,
        orders: watch::Receiver<Orders>,
    ) -> io::Result<()> {
        let mut rebinding = orders.borrow().rebinding;
        let mut back = self.socket().await?;
        let mut buffer = vec![0; LONGEST_DATAGRAM];
        loop {
            let due = self.waiting.as_ref().map(|(due, _)| (*due).into());
            tokio::select! {
                datagram = datagrams.recv(), if due.is_none() => {
                    let Some(datagram) = datagram else { return Ok(()) };
                    self.waiting = Some(datagram);
                }
                () = async { sleep_until(due.expect("it waits")).await }, if due.is_some() => {
                    let Some((_, datagram)) = self.waiting.take() else { continue };
                    let order = orders.borrow().clone();
                    if order.cut {
                        continue;
                    }
                    let rebound = order.rebinding != rebinding;
                    if rebound {
                        rebinding = order.rebinding;
                        back = self.socket().await?;
                    }
                    for datagram in self.up.pass(datagram) {
                        self.counters.bytes_up.fetch_add(datagram.len() as u64, Ordering::SeqCst);
                        let _ = back.send(&datagram).await;
                    }
                    if rebound {
                        self.counters.rebound.fetch_add(1, Ordering::SeqCst);
                    }
                }
                received = back.recv(&mut buffer) => {
                    // A refused port shows as an error here; the next datagram may do better.
                    let Ok(length) = received else { continue };
                    self.counters.bytes_down.fetch_add(length as u64, Ordering::SeqCst);
                    self.counters.arrivals.lock().expect("no panic holds it").push(Instant::now());
                    let (cut, mtu) = {
                        let orders = orders.borrow();
                        (orders.cut, orders.faults.mtu)
                    };
                    if cut || mtu.is_some_and(|mtu| length > mtu) {
                        continue;
                    }
                    for datagram in self.down.pass(buffer[..length].to_vec()) {
                        let _ = self.front.send_to(&datagram, self.client).await;
                    }
                }
            }
        }
    }

    async fn socket(&self) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        socket.connect(self.gateway).await?;
        self.counters
            .sources
            .lock()
            .expect("no panic holds it")
            .push(socket.local_addr()?);
        Ok(socket)
    }
}

/// One direction, with its faults.
struct Lane {
    faults: Faults,
    random: StdRng,
    held: Option<Vec<u8>>,
}

impl Lane {
    fn new(faults: Faults, salt: u64) -> Self {
        Self {
            faults,
            random: StdRng::seed_from_u64(faults.seed ^ salt),
            held: None,
        }
    }

    fn pass(&mut self, datagram: Vec<u8>) -> Vec<Vec<u8>> {
        let Faults {
            loss,
            repeat,
            reorder,
            ..
        } = self.faults;
        if self.random.random_bool(loss) {
            return self.held.take().into_iter().collect();
        }
        if self.held.is_none() && self.random.random_bool(reorder) {
            self.held = Some(datagram);
            return Vec::new();
        }
        let mut out = vec![datagram];
        if self.random.random_bool(repeat) {
            out.push(out[0].clone());
        }
        out.extend(self.held.take());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_without_faults_changes_nothing() {
        let mut lane = Lane::new(Faults::default(), 0);
        assert_eq!(lane.pass(vec![1]), [vec![1]]);
        assert_eq!(lane.pass(vec![2]), [vec![2]]);
    }

    #[test]
    fn a_held_datagram_follows_the_next_one() {
        let mut lane = Lane::new(
            Faults {
                reorder: 1.0,
                ..Faults::default()
            },
            0,
        );
        assert!(lane.pass(vec![1]).is_empty());
        assert_eq!(lane.pass(vec![2]), [vec![2], vec![1]]);
    }

    #[test]
    fn losses_come_at_the_rate_that_was_asked_for() {
        let mut lane = Lane::new(
            Faults {
                loss: 0.25,
                seed: 7,
                ..Faults::default()
            },
            0,
        );
        let arrived: usize = (0..4000).map(|_| lane.pass(vec![0]).len()).sum();
        assert!((2850..3150).contains(&arrived), "{arrived}");
    }
}
