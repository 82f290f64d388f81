//! The shard's relay port: what other data planes send.

use std::rc::Rc;

use super::Shard;
use crate::{
    quic::{
        Incoming, Metrics as _,
        metrics::{DatagramDrop, Relayed},
        relay::{
            Via,
            frame::{Opened, Way},
        },
        udp::UdpSocket,
    },
    task::Task,
};

/// The tasks that serve the port. Dropping it ends them.
pub(super) struct Service {
    _tasks: Vec<Task<()>>,
}

impl Shard {
    /// Serves the relay port, if there is one, for as long as what it returns is held.
    pub(super) fn serve_relay(self: &Rc<Self>) -> Service {
        let Some(socket) = self.tables.relay.socket().cloned() else {
            return Service { _tasks: Vec::new() };
        };
        let (shard, received) = (self.clone(), socket.clone());
        let receive = Task::spawn(async move {
            if let Err(error) = shard.receive_relayed(&received).await {
                tracing::error!(%error, "the relay port is broken");
            }
        });
        let metrics = self.metrics.clone();
        let flush = Task::spawn(async move { socket.flush(&*metrics).await });
        Service {
            _tasks: vec![receive, flush],
        }
    }

    async fn receive_relayed(&self, socket: &UdpSocket) -> std::io::Result<()> {
        let mut batch = UdpSocket::receive_batch();
        loop {
            socket
                .receive(&mut batch, &self.tables.pool, &*self.metrics, |frames| {
                    self.relayed(frames)
                })
                .await?;
        }
    }

    fn relayed(&self, mut frames: Incoming) {
        let (relay, rx_time) = (frames.peer_addr, frames.rx_time);
        for frame in frames.segments_mut() {
            let Some(Opened {
                way,
                client,
                local,
                datagram,
            }) = self.tables.relay.open(frame)
            else {
                self.metrics.datagram_dropped(DatagramDrop::RelayForged);
                continue;
            };
            match way {
                Way::ToOwner => {
                    self.metrics.datagram_relayed(Relayed::FromPeer);
                    self.dispatch(Incoming {
                        peer_addr: client,
                        local_addr: local,
                        rx_time,
                        buf: self.tables.pool.copy(datagram),
                        gro: None,
                        via: Some(Via { relay, local }),
                    });
                }
                Way::ToClient => {
                    let bound = self.bound.borrow();
                    let mut bound = bound.values();
                    let sent = bound
                        .find_map(|bound| bound.quic_at(local))
                        .is_some_and(|listener| listener.send_for(local, client, datagram));
                    if sent {
                        self.metrics.datagram_relayed(Relayed::ToClient);
                    } else {
                        self.metrics
                            .datagram_dropped(DatagramDrop::RelayMisdirected);
                    }
                }
            }
        }
    }

    /// Takes datagrams that another socket than their listener's received where they belong.
    pub(super) fn dispatch(&self, incoming: Incoming) {
        let bound = self.bound.borrow();
        let mut at = bound
            .values()
            .find_map(|bound| bound.quic_at(incoming.local_addr));
        if incoming.via.is_some() && at.is_none() {
            // That address is another data plane's. Any listener finds the connection.
            at = bound.values().find_map(|bound| bound.quic());
        }
        match at {
            Some(listener) => listener.dispatch(incoming),
            None => self.metrics.datagram_dropped(match incoming.via {
                Some(_) => DatagramDrop::RelayMisdirected,
                None => DatagramDrop::UnknownConnection,
            }),
        }
    }
}
