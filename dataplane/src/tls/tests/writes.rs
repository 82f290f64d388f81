//! Writes that have to wait for the socket.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
};

use boring::ssl::{SslConnector, SslMethod, SslVerifyMode};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};

use super::{super::TcpAcceptor, binding};

#[tokio::test]
async fn what_waits_may_be_written_again_from_another_place_and_with_more() {
    let (binding, tickets) = binding(|_| {});
    let acceptor =
        TcpAcceptor::new(&binding, &tickets, &mut Default::default(), &Arc::default()).unwrap();
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    let connector = connector.build().configure().unwrap();
    let (near, far) = tokio::io::duplex(4096);
    let (client, server) = tokio::join!(
        tokio_boring::connect(connector, "example.com", near),
        acceptor.accept(far, |_| {}),
    );
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    let first = vec![7; 10_000];
    let mut context = Context::from_waker(Waker::noop());
    let written = Pin::new(&mut server).poll_write(&mut context, &first);
    assert!(written.is_pending(), "{written:?}");
    let again = [&first[..], &[8; 1_000]].concat();
    let mut came = vec![0; again.len()];
    let write = server.write_all(&again);
    let read = async { client.read_exact(&mut came).await.map(|_| ()) };
    tokio::try_join!(write, read).unwrap();
    assert_eq!(came, again);
}
