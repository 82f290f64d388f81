//! A server on tokio-quiche that answers by itself, without an upstream: what the same QUIC
//! stack costs where nothing is proxied.
//!
//! `/` answers 1 KiB, `/bytes/N` so many bytes; content that is sent is read and thrown away.

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::UdpSocket;
use tokio_quiche::{
    ConnectionParams, ServerH3Driver,
    http3::{
        driver::{H3Event, InboundFrame, IncomingH3Headers, OutboundFrame, ServerH3Event},
        settings::Http3Settings,
    },
    listen,
    metrics::DefaultMetrics,
    quiche::h3::{Header, NameValue as _},
    settings::{CertificateKind, Hooks, QuicSettings, TlsCertificatePaths},
};

static PAYLOAD: [u8; 64 * 1024] = [b'x'; 64 * 1024];

async fn respond(headers: IncomingH3Headers) {
    let IncomingH3Headers {
        headers,
        mut send,
        mut recv,
        read_fin,
        ..
    } = headers;
    let path = headers.iter().find(|header| header.name() == b":path");
    let mut left: usize = path
        .and_then(|path| std::str::from_utf8(path.value()).ok())
        .and_then(|path| path.strip_prefix("/bytes/")?.parse().ok())
        .unwrap_or(1024);
    if !read_fin {
        while let Some(InboundFrame::Body(_, false)) = recv.recv().await {}
    }
    let length = left.to_string();
    let head = vec![
        Header::new(b":status", b"200"),
        Header::new(b"content-length", length.as_bytes()),
    ];
    if send.send(OutboundFrame::Headers(head, None)).await.is_err() {
        return;
    }
    loop {
        let piece = left.min(PAYLOAD.len());
        left -= piece;
        let piece = OutboundFrame::Body(Bytes::from_static(&PAYLOAD[..piece]), left == 0);
        if send.send(piece).await.is_err() || left == 0 {
            return;
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("ADDRESS CERTIFICATE KEY SECONDS");
    let (address, cert, private_key) = (next()?, next()?, next()?);
    let idle = std::time::Duration::from_secs(next()?.parse()?);
    let mut settings = QuicSettings::default();
    // No Retry, as with the others.
    settings.disable_client_ip_validation = true;
    settings.max_idle_timeout = Some(idle);
    let params = ConnectionParams::new_server(
        settings,
        TlsCertificatePaths {
            cert: &cert,
            private_key: &private_key,
            kind: CertificateKind::X509,
        },
        Hooks::default(),
    );
    let socket = UdpSocket::bind(address).await?;
    let mut listeners =
        listen([socket], params, DefaultMetrics).map_err(|error| anyhow!("{error}"))?;
    while let Some(connection) = listeners[0].next().await {
        let Ok(connection) = connection else { continue };
        let (driver, mut controller) = ServerH3Driver::new(Http3Settings::default());
        connection.start(driver);
        tokio::spawn(async move {
            while let Some(event) = controller.event_receiver_mut().recv().await {
                match event {
                    ServerH3Event::Headers {
                        incoming_headers, ..
                    } => drop(tokio::spawn(respond(incoming_headers))),
                    ServerH3Event::Core(
                        H3Event::ConnectionError(_) | H3Event::ConnectionShutdown(_),
                    ) => return,
                    ServerH3Event::Core(_) => {}
                }
            }
        });
    }
    Ok(())
}
