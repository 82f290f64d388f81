//! "HTTP/3 servers": errors of HTTP/3 and QPACK (RFC 9114, RFC 9204).

use h3i::actions::h3::{Action, ExpectedStreamSendResult, send_headers_frame};
use tidegate_tests::{
    Gateway, HostileRun, attack, attack_bare, fields, request_fields, stream_bytes,
};

use super::{Answer, table};

/// h3spec takes a general error in the place of any.
macro_rules! application {
    ($code:literal) => {
        [
            Answer::Application($code),
            Answer::Application(0x101),
            Answer::Application(0x102),
        ]
    };
}
macro_rules! closed_critical_stream {
    () => {
        application!(0x104)
    };
}
macro_rules! frame_unexpected {
    () => {
        application!(0x105)
    };
}
macro_rules! settings_error {
    () => {
        application!(0x109)
    };
}
macro_rules! missing_settings {
    () => {
        application!(0x10a)
    };
}
macro_rules! message_error {
    () => {
        application!(0x10e)
    };
}
macro_rules! decompression_failed {
    () => {
        application!(0x200)
    };
}
macro_rules! encoder_stream_error {
    () => {
        application!(0x201)
    };
}
macro_rules! decoder_stream_error {
    () => {
        application!(0x202)
    };
}

const REQUEST: u64 = 0;
const CONTROL: u64 = 2;
const ANOTHER: u64 = 6;
/// RFC 9114 6.2.1, RFC 9204 4.2.
const CONTROL_STREAM: u64 = 0;
const ENCODER_STREAM: u64 = 2;
const DECODER_STREAM: u64 = 3;

table! {
    "MUST send H3_FRAME_UNEXPECTED if DATA is received before HEADERS [HTTP/3 4.1]" =>
        |gateway| before_request(gateway, REQUEST, &[0x00, 0x00]), frame_unexpected!();
    "MUST send H3_MESSAGE_ERROR if a pseudo-header is duplicated [HTTP/3 4.1.1]" =>
        |gateway| section(gateway, &[METHOD, SCHEME, AUTHORITY, PATH, METHOD]), message_error!();
    "MUST send H3_MESSAGE_ERROR if mandatory pseudo-header fields are absent [HTTP/3 4.1.3]" =>
        |gateway| section(gateway, &[METHOD, SCHEME, PATH]), message_error!();
    "MUST send H3_MESSAGE_ERROR if prohibited pseudo-header fields are present[HTTP/3 4.1.3]" =>
        |gateway| section(gateway, &[METHOD, SCHEME, AUTHORITY, PATH, (":foo", "bar")]), message_error!();
    "MUST send H3_MESSAGE_ERROR if pseudo-header fields exist after fields [HTTP/3 4.1.3]" =>
        |gateway| section(gateway, &[METHOD, SCHEME, AUTHORITY, ("foo", "bar"), PATH]), message_error!();
    "MUST send H3_MISSING_SETTINGS if the first control frame is not SETTINGS [HTTP/3 6.2.1]" =>
        |gateway| first_on_control(gateway, &[0x0d, 0x01, 0x01]), missing_settings!();
    "MUST send H3_FRAME_UNEXPECTED if a DATA frame is received on a control stream [HTTP/3 7.2.1]" =>
        |gateway| before_request(gateway, CONTROL, &[0x00, 0x00]), frame_unexpected!();
    "MUST send H3_FRAME_UNEXPECTED if a HEADERS frame is received on a control stream [HTTP/3 7.2.2]" =>
        |gateway| before_request(gateway, CONTROL, &[0x01, 0x00]), frame_unexpected!();
    "MUST send H3_FRAME_UNEXPECTED if a second SETTINGS frame is received [HTTP/3 7.2.4]" =>
        |gateway| before_request(gateway, CONTROL, &[0x04, 0x00]), frame_unexpected!();
    "MUST send H3_SETTINGS_ERROR if duplicate setting identifiers exist [HTTP/3 7.2.4]" =>
        |gateway| first_on_control(gateway, &[0x04, 0x04, 0x07, 0x00, 0x07, 0x00]), settings_error!();
    "MUST send H3_SETTINGS_ERROR if HTTP/2 settings are included [HTTP/3 7.2.4.1]" =>
        |gateway| first_on_control(gateway, &[0x04, 0x03, 0x02, 0x40, 0xc8]), settings_error!();
    "MUST send H3_FRAME_UNEXPECTED if CANCEL_PUSH is received in a request stream [HTTP/3 7.2.5]" =>
        |gateway| before_request(gateway, REQUEST, &[0x03, 0x00]), frame_unexpected!();
    "MUST send QPACK_DECOMPRESSION_FAILED if an invalid static table index exits in a field line representation [QPACK 3.1]" =>
        |gateway| before_request(gateway, REQUEST, &INDEX_99), decompression_failed!();
    "MUST send QPACK_ENCODER_STREAM_ERROR if a new dynamic table capacity value exceeds the limit [QPACK 4.1.3]" =>
        |gateway| on_new_stream(gateway, ENCODER_STREAM, &CAPACITY_TEN_BILLION), encoder_stream_error!();
    "MUST send H3_CLOSED_CRITICAL_STREAM if a control stream is closed [QPACK 4.2]" =>
        control_closes, closed_critical_stream!();
    "MUST send QPACK_DECODER_STREAM_ERROR if Insert Count Increment is 0 [QPACK 4.4.3]" =>
        |gateway| on_new_stream(gateway, DECODER_STREAM, &[0x00]), decoder_stream_error!();
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "https");
const AUTHORITY: (&str, &str) = (":authority", "site.test");
const PATH: (&str, &str) = (":path", "/");
/// HEADERS with a field line of the static table, which ends at 98 (RFC 9204 A).
const INDEX_99: [u8; 6] = [0x01, 0x04, 0x00, 0x00, 0xff, 0x24];
/// Set Dynamic Table Capacity (RFC 9204 4.3.1).
const CAPACITY_TEN_BILLION: [u8; 6] = [0x3f, 0xe1, 0xc7, 0xaf, 0xa0, 0x25];

/// An honest request after what was wrong; what is answered, the server has not minded.
fn honest_request(gateway: &Gateway) -> Action {
    let fields = request_fields(&gateway.target(), "GET", "/", &[]);
    send_headers_frame(REQUEST, true, fields)
}

fn open(stream_id: u64, stream_type: u64) -> Action {
    Action::OpenUniStream {
        stream_id,
        fin_stream: false,
        stream_type,
        expected_result: ExpectedStreamSendResult::Ok,
    }
}

async fn before_request(gateway: &Gateway, stream: u64, bytes: &[u8]) -> Answer {
    let actions = vec![stream_bytes(stream, bytes, false), honest_request(gateway)];
    answer(attack(&gateway.target(), actions, &[REQUEST]).await)
}

async fn section(gateway: &Gateway, section: &[(&str, &str)]) -> Answer {
    let actions = vec![send_headers_frame(REQUEST, true, fields(section))];
    answer(attack(&gateway.target(), actions, &[REQUEST]).await)
}

async fn first_on_control(gateway: &Gateway, bytes: &[u8]) -> Answer {
    let control = open(CONTROL, CONTROL_STREAM);
    let actions = vec![
        control,
        stream_bytes(CONTROL, bytes, false),
        honest_request(gateway),
    ];
    answer(attack_bare(&gateway.target(), actions, &[REQUEST]).await)
}

async fn on_new_stream(gateway: &Gateway, stream_type: u64, bytes: &[u8]) -> Answer {
    let actions = vec![
        open(ANOTHER, stream_type),
        stream_bytes(ANOTHER, bytes, false),
        honest_request(gateway),
    ];
    answer(attack(&gateway.target(), actions, &[REQUEST]).await)
}

async fn control_closes(gateway: &Gateway) -> Answer {
    let actions = vec![stream_bytes(CONTROL, b"", true), honest_request(gateway)];
    answer(attack(&gateway.target(), actions, &[REQUEST]).await)
}

fn answer(run: HostileRun) -> Answer {
    match run.closed().or(run.reset(REQUEST)) {
        Some(code) => Answer::Application(code),
        None => Answer::Nothing,
    }
}
