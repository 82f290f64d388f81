//! A client that comes from another address, in good faith.

use tokio::net::UdpSocket;

use super::{Bytes, Level, RawClient, SMALLEST_INITIAL};

const PATH_RESPONSE: u64 = 0x1b;

impl RawClient {
    /// Sends and receives here from now on. The server learns it from the next packet.
    pub async fn move_to(&mut self, socket: UdpSocket) {
        let server = self.socket.peer_addr().expect("it is connected");
        socket.connect(server).await.expect("loopback connects");
        self.socket = socket;
    }

    /// RFC 9000 8.2.2: in a datagram that shows what the path can carry, and once.
    pub(super) async fn respond_to_challenge(&mut self, data: [u8; 8]) {
        let mut frames = Bytes::new().numbers(&[PATH_RESPONSE]).bytes(&data).done();
        frames.resize(SMALLEST_INITIAL, 0);
        self.fire(Level::OneRtt, frames).await;
    }
}
