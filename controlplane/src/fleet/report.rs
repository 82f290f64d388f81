//! The gRPC service `Telemetry`: records of connections into the history, then to
//! whoever watches, then acknowledged.

use std::sync::Arc;

use opentelemetry::KeyValue;
use tidegate_proto::v1::{self, record::Kind, telemetry_server::Telemetry};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{error, warn};

use super::{Entry, Fleet};
use crate::{clock::unix_millis, store::AuditStore};

/// Acknowledgements that wait for a dataplane to read.
const OUTBOX: usize = 4;

/// Takes reports on behalf of a fleet.
pub(crate) struct TelemetryService {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) store: Arc<AuditStore>,
    pub(crate) entry: Entry,
}

#[tonic::async_trait]
impl Telemetry for TelemetryService {
    type ReportStream = ReceiverStream<Result<v1::ReportAck, Status>>;

    async fn report(
        &self,
        request: Request<Streaming<v1::ReportBatch>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let pass = self.entry.pass(&request)?;
        let (acks, receiver) = mpsc::channel(OUTBOX);
        let (fleet, store) = (Arc::clone(&self.fleet), Arc::clone(&self.store));
        let mut batches = request.into_inner();
        tokio::spawn(async move {
            let mut stopping = fleet.stopping.subscribe();
            // A report that is being stored is finished and acknowledged first.
            while let Some(batch) = tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => None,
                () = pass.expired() => None,
                // What breaks here the dataplane sends again in its next stream.
                batch = batches.message() => batch.ok().flatten(),
            } {
                let ack = match pass.check_report(&batch) {
                    Ok(()) => take(&fleet, &store, batch).await,
                    Err(status) => Err(status),
                };
                let failed = ack.is_err();
                if acks.send(ack).await.is_err() || failed {
                    break;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

async fn take(
    fleet: &Fleet,
    store: &AuditStore,
    batch: v1::ReportBatch,
) -> Result<v1::ReportAck, Status> {
    if batch.dataplane_id.is_empty() || batch.instance_id.is_empty() {
        let message = "a report needs dataplane_id and instance_id";
        warn!(message);
        return Err(Status::invalid_argument(message));
    }
    let (dataplane, started) = (batch.dataplane_id.clone(), Instant::now());
    let instruments = &fleet.instruments;
    let appended = store.append(batch, unix_millis()).await.map_err(|error| {
        instruments.audit_append_failures.add(1, &[]);
        error!(dataplane, %error, "cannot store a report; the dataplane will send it again");
        Status::unavailable("the report cannot be stored now: send it again")
    })?;
    instruments
        .audit_append_duration
        .record(started.elapsed().as_secs_f64(), &[]);
    instruments.audit_expired.add(appended.expired, &[]);
    let count = |kind: &'static str, records: u64| {
        if records > 0 {
            instruments
                .records
                .add(records, &[KeyValue::new("kind", kind)]);
        }
    };
    count("duplicate", appended.duplicates);
    for record in appended.fresh {
        count(kind_of(&record), 1);
        fleet.events.show(record);
    }
    Ok(v1::ReportAck {
        sequence: appended.sequence,
    })
}

fn kind_of(record: &v1::Record) -> &'static str {
    match record.kind {
        Some(Kind::Established(_)) => "established",
        Some(Kind::Closed(_)) => "closed",
        None => "unknown",
    }
}
