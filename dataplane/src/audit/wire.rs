//! `Telemetry.Report` with records that are encoded already.

use bytes::Bytes;
use http::uri::PathAndQuery;
use tidegate_proto::v1::ReportAck;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

/// The bytes of a [`ReportBatch`](tidegate_proto::v1::ReportBatch): to protobuf a message
/// within another is a field of bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct EncodedBatch {
    #[prost(string, tag = "1")]
    pub(super) dataplane_id: String,
    #[prost(string, tag = "2")]
    pub(super) instance_id: String,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub(super) records: Vec<Bytes>,
}

/// Begins to report.
///
/// # Errors
/// What the replica answers, or that there is no connection to it any more.
pub(super) async fn open(
    channel: Channel,
    batches: ReceiverStream<EncodedBatch>,
) -> Result<Streaming<ReportAck>, Status> {
    let mut client = Grpc::new(channel);
    let ready = client.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static("/tidegate.v1.Telemetry/Report");
    let codec = ProstCodec::<EncodedBatch, ReportAck>::default();
    let reporting = client.streaming(Request::new(batches), path, codec);
    Ok(reporting.await?.into_inner())
}
