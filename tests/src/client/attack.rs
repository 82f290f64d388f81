//! Frames that an honest client never sends, by h3i.

use std::net::SocketAddr;

use h3i::{
    actions::h3::{Action, ExpectedStreamSendResult, StreamEvent, StreamEventType, WaitType},
    client::{connection_summary::ConnectionSummary, sync_client},
    config::Config,
    frame::H3iFrame,
    quiche::{
        ConnectionError,
        h3::{Header, frame::Frame},
    },
};

use super::Target;

/// Time without a packet after which h3i gives up, milliseconds.
const IDLE_TIMEOUT_MS: u64 = 15_000;
const CONTROL_STREAM: u64 = 2;
const CONTROL_STREAM_TYPE: u64 = 0;

/// What came back.
#[derive(Debug)]
pub struct HostileRun {
    summary: ConnectionSummary,
}

/// Runs the actions over a connection of their own that begins with a control stream and
/// SETTINGS, waits until the streams in `finished` have ended or the connection has, and
/// closes it.
pub async fn attack(target: &Target, actions: Vec<Action>, finished: &[u64]) -> HostileRun {
    let mut script = honest_settings();
    script.extend(actions);
    attack_bare(target, script, finished).await
}

/// The same, without a control stream.
pub async fn attack_bare(target: &Target, mut script: Vec<Action>, finished: &[u64]) -> HostileRun {
    let address: SocketAddr = target.address;
    let mut config = Config::new()
        .with_host_port(format!("{}:{}", target.server_name, address.port()))
        .with_connect_to(address.to_string())
        .with_idle_timeout(IDLE_TIMEOUT_MS)
        .verify_peer(false)
        .build()
        .expect("host and port are given");
    config.max_streams_uni = 100;
    script.extend(finished.iter().map(|&stream_id| Action::Wait {
        wait_type: WaitType::StreamEvent(StreamEvent {
            stream_id,
            event_type: StreamEventType::Finished,
        }),
    }));
    let error = ConnectionError {
        is_app: true,
        error_code: 0x100,
        reason: Vec::new(),
    };
    script.push(Action::ConnectionClose { error });
    script.push(Action::FlushPackets);
    let run = move || sync_client::connect(config, script, None);
    let summary = tokio::task::spawn_blocking(run)
        .await
        .expect("h3i does not panic");
    HostileRun {
        summary: summary.expect("the handshake succeeds"),
    }
}

fn honest_settings() -> Vec<Action> {
    vec![
        Action::OpenUniStream {
            stream_id: CONTROL_STREAM,
            fin_stream: false,
            stream_type: CONTROL_STREAM_TYPE,
            expected_result: ExpectedStreamSendResult::Ok,
        },
        Action::SendFrame {
            stream_id: CONTROL_STREAM,
            fin_stream: false,
            frame: Frame::Settings {
                max_field_section_size: None,
                qpack_max_table_capacity: Some(0),
                qpack_blocked_streams: Some(0),
                connect_protocol_enabled: None,
                h3_datagram: None,
                grease: None,
                raw: None,
                additional_settings: None,
            },
            expected_result: ExpectedStreamSendResult::Ok,
        },
    ]
}

/// A DATA frame on the first request's stream.
pub fn data_frame(payload: &[u8], fin_stream: bool) -> Action {
    Action::SendFrame {
        stream_id: 0,
        fin_stream,
        frame: Frame::Data {
            payload: payload.to_vec(),
        },
        expected_result: ExpectedStreamSendResult::Ok,
    }
}

/// Bytes on a stream as they are.
pub fn stream_bytes(stream_id: u64, bytes: &[u8], fin_stream: bool) -> Action {
    Action::StreamBytes {
        stream_id,
        fin_stream,
        bytes: bytes.to_vec(),
        expected_result: ExpectedStreamSendResult::Ok,
    }
}

/// A request's pseudo-header fields, and then `more`.
pub fn request_fields(
    target: &Target,
    method: &str,
    path: &str,
    more: &[(&str, &str)],
) -> Vec<Header> {
    let authority = format!("{}:{}", target.server_name, target.address.port());
    let mut all = vec![
        (":method", method),
        (":scheme", "https"),
        (":authority", authority.as_str()),
        (":path", path),
    ];
    all.extend_from_slice(more);
    fields(&all)
}

/// Fields as they are.
pub fn fields(all: &[(&str, &str)]) -> Vec<Header> {
    all.iter()
        .map(|(name, value)| Header::new(name.as_bytes(), value.as_bytes()))
        .collect()
}

impl HostileRun {
    /// The last status on a stream: the final response's.
    pub fn status(&self, stream: u64) -> Option<u16> {
        self.statuses(stream).pop()
    }

    /// Every status on a stream, the informational ones first.
    pub fn statuses(&self, stream: u64) -> Vec<u16> {
        (self.summary.stream_map.stream(stream).iter())
            .filter_map(|frame| frame.to_enriched_headers())
            .filter_map(|headers| String::from_utf8_lossy(headers.status_code()?).parse().ok())
            .collect()
    }

    /// Header sections of a stream, in order.
    pub fn sections(&self, stream: u64) -> Vec<Vec<(String, String)>> {
        use h3i::quiche::h3::NameValue;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (self.summary.stream_map.stream(stream).iter())
            .filter_map(|frame| frame.to_enriched_headers())
            .map(|section| {
                (section.headers().iter())
                    .map(|field| (text(field.name()), text(field.value())))
                    .collect()
            })
            .collect()
    }

    /// The content of a stream.
    pub fn content(&self, stream: u64) -> Vec<u8> {
        let frames = self.summary.stream_map.stream(stream);
        let data = frames.iter().filter_map(|frame| match frame {
            H3iFrame::QuicheH3(Frame::Data { payload }) => Some(payload.clone()),
            _ => None,
        });
        data.flatten().collect()
    }

    /// The code with which the server reset a stream.
    pub fn reset(&self, stream: u64) -> Option<u64> {
        self.summary
            .stream_map
            .stream(stream)
            .iter()
            .find_map(|frame| match frame {
                H3iFrame::ResetStream(reset) => Some(reset.error_code),
                _ => None,
            })
    }

    /// The application code with which the server closed the connection.
    pub fn closed(&self) -> Option<u64> {
        let error = self.summary.conn_close_details.peer_error()?;
        error.is_app.then_some(error.error_code)
    }
}
