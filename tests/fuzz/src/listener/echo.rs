//! An application that sends back what it gets.

use std::future;

use tidegate_dataplane::quic::{
    Activity, ApplicationError, ApplicationOverQuic, ConnectionShutdownBehaviour, DrainPhase,
    HandshakeInfo, QuicheConnection,
};

pub(super) struct Echo;

impl ApplicationOverQuic for Echo {
    fn on_conn_established(
        &mut self,
        _: &mut QuicheConnection,
        _: &HandshakeInfo,
    ) -> Result<(), ApplicationError> {
        Ok(())
    }

    async fn wait_for_data(&mut self) -> Result<(), ApplicationError> {
        future::pending().await
    }

    fn process_reads(&mut self, qconn: &mut QuicheConnection) -> Result<(), ApplicationError> {
        let mut room = [0; 4096];
        while qconn.dgram_recv(&mut room).is_ok() {}
        for stream in qconn.readable() {
            while let Ok((read, end)) = qconn.stream_recv(stream, &mut room) {
                let _one_way = qconn.stream_send(stream, &room[..read], end);
            }
        }
        Ok(())
    }

    fn process_writes(&mut self, _: &mut QuicheConnection) -> Result<(), ApplicationError> {
        Ok(())
    }

    fn on_drain(
        &mut self,
        _: &mut QuicheConnection,
        _: DrainPhase,
    ) -> Result<(), ApplicationError> {
        Ok(())
    }

    fn goodbye(&self) -> ConnectionShutdownBehaviour {
        ConnectionShutdownBehaviour::application(0, "")
    }

    fn activity(&self) -> Activity {
        Activity::default()
    }
}
