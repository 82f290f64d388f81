//! The one connection of a `get`, whichever protocol it speaks.

use std::{net::SocketAddr, time::Instant};

use anyhow::Context;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use rustls::ClientConfig;

use super::print::Printer;
use crate::{origin::Origin, quic, tcp, units};

pub(super) enum Connection {
    Tcp(tcp::Connection),
    Quic(quic::Connection),
}

impl Connection {
    pub(super) async fn tcp(
        origin: &Origin,
        addresses: &[SocketAddr],
        tls: Option<ClientConfig>,
        http2: bool,
    ) -> anyhow::Result<Self> {
        let connection = tcp::Connection::open(origin, addresses, tls, http2).await?;
        Ok(Self::Tcp(connection))
    }

    pub(super) async fn quic(
        origin: &Origin,
        addresses: &[SocketAddr],
        tls: ClientConfig,
    ) -> anyhow::Result<Self> {
        let connection = quic::Connection::open(origin, addresses, tls).await?;
        Ok(Self::Quic(connection))
    }

    fn protocol(&self) -> &'static str {
        match self {
            Self::Tcp(connection) => connection.protocol(),
            Self::Quic(_) => "HTTP/3",
        }
    }

    /// One line on how the connection came to be.
    pub(super) fn facts(&self) -> String {
        let protocol = self.protocol();
        let (peer, elapsed, more) = match self {
            Self::Tcp(c) => (c.peer, c.elapsed, c.security.clone()),
            Self::Quic(c) => {
                let rtt = units::micros(c.rtt().as_micros() as u64);
                (c.peer, c.elapsed, format!("round trip {rtt}"))
            }
        };
        let elapsed = units::micros(elapsed.as_micros() as u64);
        format!("{protocol} to {peer} in {elapsed}, {more}")
    }

    /// Sends a request and prints its response.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Bytes>,
        printer: &mut Printer,
    ) -> anyhow::Result<StatusCode> {
        let began = Instant::now();
        let protocol = self.protocol();
        printer.request(&request, protocol).await?;
        match self {
            Self::Tcp(connection) => {
                let response = connection.send(request).await.context("send the request")?;
                let status = response.status();
                printer.head(protocol, status, response.headers()).await?;
                let mut body = response.into_body();
                while let Some(frame) = body.frame().await {
                    match frame.context("read the response")?.into_data() {
                        Ok(data) => printer.data(&data).await?,
                        Err(frame) => {
                            if let Some(trailers) = frame.trailers_ref() {
                                printer.trailers(trailers).await?;
                            }
                        }
                    }
                }
                printer.end(protocol, status, began.elapsed()).await?;
                Ok(status)
            }
            Self::Quic(connection) => {
                let (response, mut body) = connection.send(request).await?;
                let status = response.status();
                printer.head(protocol, status, response.headers()).await?;
                loop {
                    let data = body.data().await.map_err(|e| connection.explain(e))?;
                    let Some(data) = data else { break };
                    printer.data(&data).await?;
                }
                let trailers = body.trailers().await;
                if let Some(trailers) = trailers.map_err(|e| connection.explain(e))? {
                    printer.trailers(&trailers).await?;
                }
                printer.end(protocol, status, began.elapsed()).await?;
                Ok(status)
            }
        }
    }

    /// Waits until the peer ends the connection, and says how.
    pub(super) async fn closed(&mut self) -> String {
        match self {
            Self::Tcp(connection) => connection.closed().await,
            Self::Quic(connection) => connection.closed().await,
        }
    }

    /// Ends it cleanly.
    pub(super) async fn finish(self) {
        if let Self::Quic(connection) = self {
            connection.finish().await;
        }
    }
}
