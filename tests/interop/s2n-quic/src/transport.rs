//! s2n-quic's connections and streams as h3 wants them.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use s2n_quic::{
    application,
    connection::{self, Handle, StreamAcceptor},
    stream,
};

pub struct Connection {
    pub handle: Handle,
    pub acceptor: StreamAcceptor,
}

/// Opens streams.
pub struct Opener(Handle);

pub struct Send<B: Buf> {
    stream: stream::SendStream,
    /// What h3 has handed over and the stream has not taken.
    waiting: Option<WriteBuf<B>>,
}

pub struct Receive(stream::ReceiveStream);

pub struct Bidirectional<B: Buf> {
    send: Send<B>,
    receive: Receive,
}

impl<B: Buf> quic::Connection<B> for Connection {
    type RecvStream = Receive;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Receive, ConnectionErrorIncoming>> {
        let stream =
            ready!(self.acceptor.poll_accept_receive_stream(cx)).map_err(connection_error)?;
        Poll::Ready(stream.map(Receive).ok_or_else(ended))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bidirectional<B>, ConnectionErrorIncoming>> {
        let stream =
            ready!(self.acceptor.poll_accept_bidirectional_stream(cx)).map_err(connection_error)?;
        Poll::Ready(stream.map(Bidirectional::new).ok_or_else(ended))
    }

    fn opener(&self) -> Opener {
        Opener(self.handle.clone())
    }
}

impl<B: Buf> quic::OpenStreams<B> for Connection {
    type BidiStream = Bidirectional<B>;
    type SendStream = Send<B>;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bidirectional<B>, StreamErrorIncoming>> {
        open_bidirectional(&mut self.handle, cx)
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Send<B>, StreamErrorIncoming>> {
        open_send(&mut self.handle, cx)
    }

    fn close(&mut self, code: h3::error::Code, _: &[u8]) {
        self.handle.close(application_error(code.value()));
    }
}

impl<B: Buf> quic::OpenStreams<B> for Opener {
    type BidiStream = Bidirectional<B>;
    type SendStream = Send<B>;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bidirectional<B>, StreamErrorIncoming>> {
        open_bidirectional(&mut self.0, cx)
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Send<B>, StreamErrorIncoming>> {
        open_send(&mut self.0, cx)
    }

    fn close(&mut self, code: h3::error::Code, _: &[u8]) {
        self.0.close(application_error(code.value()));
    }
}

impl Clone for Opener {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

fn open_bidirectional<B: Buf>(
    handle: &mut Handle,
    cx: &mut Context<'_>,
) -> Poll<Result<Bidirectional<B>, StreamErrorIncoming>> {
    let stream = ready!(handle.poll_open_bidirectional_stream(cx)).map_err(within_connection)?;
    Poll::Ready(Ok(Bidirectional::new(stream)))
}

fn open_send<B: Buf>(
    handle: &mut Handle,
    cx: &mut Context<'_>,
) -> Poll<Result<Send<B>, StreamErrorIncoming>> {
    let stream = ready!(handle.poll_open_send_stream(cx)).map_err(within_connection)?;
    Poll::Ready(Ok(Send::new(stream)))
}

impl<B: Buf> Bidirectional<B> {
    fn new(stream: stream::BidirectionalStream) -> Self {
        let (receive, send) = stream.split();
        Self {
            send: Send::new(send),
            receive: Receive(receive),
        }
    }
}

impl<B: Buf> Send<B> {
    fn new(stream: stream::SendStream) -> Self {
        Self {
            stream,
            waiting: None,
        }
    }
}

impl<B: Buf> quic::SendStream<B> for Send<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(waiting) = &mut self.waiting
            && waiting.has_remaining()
        {
            let room = ready!(self.stream.poll_send_ready(cx)).map_err(stream_error)?;
            let length = waiting.chunk().len().min(room);
            let chunk = waiting.copy_to_bytes(length);
            self.stream.send_data(chunk).map_err(stream_error)?;
        }
        self.waiting = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.waiting = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        ready!(self.poll_ready(cx))?;
        Poll::Ready(self.stream.finish().map_err(stream_error))
    }

    fn reset(&mut self, code: u64) {
        let _ended = self.stream.reset(application_error(code));
    }

    fn send_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

impl quic::RecvStream for Receive {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.0.poll_receive(cx).map_err(stream_error)
    }

    fn stop_sending(&mut self, code: u64) {
        let _ended = self.0.stop_sending(application_error(code));
    }

    fn recv_id(&self) -> StreamId {
        id(self.0.id())
    }
}

impl<B: Buf> quic::SendStream<B> for Bidirectional<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.send.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

impl<B: Buf> quic::RecvStream for Bidirectional<B> {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.receive.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.receive.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.receive.recv_id()
    }
}

impl<B: Buf> quic::BidiStream<B> for Bidirectional<B> {
    type SendStream = Send<B>;
    type RecvStream = Receive;

    fn split(self) -> (Send<B>, Receive) {
        (self.send, self.receive)
    }
}

fn id(id: u64) -> StreamId {
    id.try_into().expect("s2n-quic's ids are those of QUIC")
}

fn application_error(code: u64) -> application::Error {
    application::Error::new(code).expect("codes of HTTP/3 are below 2^62")
}

fn ended() -> ConnectionErrorIncoming {
    ConnectionErrorIncoming::InternalError("the connection has ended".to_owned())
}

fn connection_error(error: connection::Error) -> ConnectionErrorIncoming {
    match error {
        connection::Error::Application { error, .. } => ConnectionErrorIncoming::ApplicationClose {
            error_code: error.into(),
        },
        connection::Error::IdleTimerExpired { .. } => ConnectionErrorIncoming::Timeout,
        error => ConnectionErrorIncoming::Undefined(Arc::new(error)),
    }
}

fn within_connection(error: connection::Error) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming {
        connection_error: connection_error(error),
    }
}

fn stream_error(error: stream::Error) -> StreamErrorIncoming {
    match error {
        stream::Error::StreamReset { error, .. } => StreamErrorIncoming::StreamTerminated {
            error_code: error.into(),
        },
        stream::Error::ConnectionError { error, .. } => within_connection(error),
        error => StreamErrorIncoming::Unknown(Box::new(error)),
    }
}
