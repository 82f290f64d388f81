//! WebSocket, by tungstenite at both ends, over every version of HTTP.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use h3i::actions::h3::{Action, StreamEvent, StreamEventType, WaitType, send_headers_frame};
use rustls::pki_types::ServerName;
use serde_json::json;
use tidegate_tests::{Folder, Gateway, attack, data_frame, request_fields, within};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::client::Response},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A WebSocket server that sends every message back.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("loopback binds");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
                    return;
                };
                while let Some(Ok(message)) = socket.next().await {
                    if (message.is_text() || message.is_binary())
                        && socket.send(message).await.is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    address
}

async fn gateway() -> Gateway {
    let upstream = echo().await;
    let fill = |folder: &Folder| {
        folder.service_with("ws", &[upstream], Some("kubernetes.io/ws"));
        let rules = json!([{"backendRefs": [{"name": "ws", "port": 80}]}]);
        folder.route("ws", &[], &rules);
    };
    Gateway::builder().start_with(fill).await
}

/// What a client and the server say to each other.
async fn talk<S>((mut socket, response): (WebSocketStream<S>, Response))
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    assert_eq!(response.status(), 101);
    let large = "Websocket Support!".repeat(50_000);
    let messages = [
        Message::text("Websocket Support!"),
        Message::binary(vec![1, 2, 3, 4, 5, 6, 7]),
        Message::text(large),
    ];
    for message in messages {
        socket.send(message.clone()).await.expect("it is sent");
        let reply = tokio::time::timeout(PATIENCE, socket.next()).await;
        let reply = reply.expect("in time").expect("a message");
        assert!(reply.expect("a good one") == message);
    }
    socket.close(None).await.expect("it is closed");
    let rest = tokio::time::timeout(PATIENCE, socket.next()).await;
    let _close = rest.expect("the server closes too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_pass_in_the_clear_and_over_tls() {
    let gateway = gateway().await;
    let target = gateway.cleartext();
    let stream = TcpStream::connect(target.address)
        .await
        .expect("it listens");
    let url = format!("ws://{}/ws", target.server_name);
    talk(
        tokio_tungstenite::client_async(&url, stream)
            .await
            .expect("an upgrade"),
    )
    .await;

    let target = gateway.target();
    let mut tls = (*target.tls.clone().expect("TLS")).clone();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(target.server_name.clone()).expect("a name");
    let stream = TcpStream::connect(target.address)
        .await
        .expect("it listens");
    let connecting = TlsConnector::from(std::sync::Arc::new(tls)).connect(name, stream);
    let stream = connecting.await.expect("a handshake");
    let url = format!("wss://{}/ws", target.server_name);
    talk(
        tokio_tungstenite::client_async(&url, stream)
            .await
            .expect("an upgrade"),
    )
    .await;
}

/// A frame of a client (RFC 6455 5.2) with a mask that changes nothing.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short one");
    let mut frame = vec![0x80 | opcode, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_http3_becomes_a_websocket() {
    let gateway = gateway().await;
    let target = gateway.target();
    let extended = [(":protocol", "websocket"), ("sec-websocket-version", "13")];
    let mut head = request_fields(&target, "CONNECT", "/ws", &[]);
    head.extend(tidegate_tests::fields(&extended));
    let answered = Action::Wait {
        wait_type: WaitType::StreamEvent(StreamEvent {
            stream_id: 0,
            event_type: StreamEventType::Headers,
        }),
    };
    let actions = vec![
        send_headers_frame(0, false, head),
        answered,
        data_frame(&frame(1, b"over http3"), false),
        data_frame(&frame(8, &[]), false),
    ];
    let run = within("the exchange ends", attack(&target, actions, &[0])).await;
    assert_eq!(run.status(0), Some(200), "{run:?}");
    let content = run.content(0);
    assert!(
        content.starts_with(b"\x81\x0aover http3\x88"),
        "{content:?}"
    );
}
