//! TLS with a client, in its turn and within its time.

use std::{future::poll_fn, time::Instant};

use tidegate_proto::v1::ClosedBy;
use tokio::time::timeout;
use tokio_boring::SslStream;

use super::{
    Accepted,
    drive::Ending,
    gather::{Gather, SEGMENTS},
};
use crate::{proxy::wire::Wire, tls::TcpAcceptor, turnstile::PATIENCE};

impl Accepted {
    /// TLS with a client that has begun to speak, when there is time for it.
    pub(super) async fn handshake(
        &self,
        acceptor: &TcpAcceptor,
        wire: Wire,
    ) -> Result<SslStream<Gather<Wire>>, Ending> {
        let (shard, peer) = (&self.shard, self.live.peer.ip());
        let performed = timeout(self.binding.limits.tls_handshake_timeout, async {
            // If it is gone instead, the handshake finds out.
            let _gone = wire.spoken().await;
            self.turn().await?;
            let wire = Gather::new(wire, SEGMENTS);
            let handshake = acceptor.accept(wire, |ssl| shard.arms.meet(ssl, peer));
            let performed = shard.turnstile().charge(handshake).await;
            performed.map_err(|error| self.failed(ClosedBy::Local, error))
        });
        match performed.await {
            Ok(performed) => performed,
            Err(_) => {
                let reason = "the TLS handshake did not complete in time";
                Err(self.failed(ClosedBy::HandshakeTimeout, reason))
            }
        }
    }

    fn failed(&self, by: ClosedBy, reason: impl ToString) -> Ending {
        self.shard.metrics.http.tls_handshake_failed();
        Ending::new(by, reason.to_string())
    }

    /// Waits until there is time for a handshake. The client's address is known to be its own.
    async fn turn(&self) -> Result<(), Ending> {
        let Some(place) = self.shard.turnstile().enter(true, Instant::now()) else {
            return Ok(());
        };
        let turn = timeout(PATIENCE, poll_fn(|cx| place.poll(cx))).await;
        turn.map_err(|_| {
            self.shard.metrics.http.tcp_refused("overload");
            Ending::new(ClosedBy::HandshakeTimeout, "no time for the handshake")
        })
    }
}
