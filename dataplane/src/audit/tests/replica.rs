//! A control plane that only takes records, over a real socket.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tidegate_proto::v1::{
    ReportAck, ReportBatch,
    record::Kind,
    telemetry_server::{Telemetry, TelemetryServer},
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

#[derive(Clone, Copy)]
pub(super) enum Temper {
    Good,
    /// The first streams end after a batch was stored, before it is acknowledged.
    BreaksBeforeAck {
        streams: usize,
    },
}

#[derive(Default)]
struct Store {
    last: u64,
    ids: Vec<String>,
    repeated: u64,
    streams: usize,
}

#[derive(Clone)]
struct Service {
    temper: Temper,
    store: Arc<Mutex<Store>>,
}

pub(super) struct Replica {
    address: SocketAddr,
    store: Arc<Mutex<Store>>,
}

impl Replica {
    pub(super) async fn start(temper: Temper) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let store = Arc::default();
        let service = TelemetryServer::new(Service {
            temper,
            store: Arc::clone(&store),
        });
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        Self { address, store }
    }

    /// An address where nobody listens.
    pub(super) async fn away() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self {
            address,
            store: Arc::default(),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ids of the records, as they were stored.
    pub(super) fn stored(&self) -> Vec<String> {
        self.store.lock().unwrap().ids.clone()
    }

    /// Records that came again after they were stored.
    pub(super) fn repeated(&self) -> u64 {
        self.store.lock().unwrap().repeated
    }
}

impl Store {
    /// As the protocol asks: numbers that are there already are dropped.
    fn take(&mut self, batch: ReportBatch) {
        assert_eq!(
            (&*batch.dataplane_id, &*batch.instance_id),
            ("edge", "first")
        );
        for record in batch.records {
            if record.sequence <= self.last {
                self.repeated += 1;
                continue;
            }
            assert_eq!(record.sequence, self.last + 1, "a gap in the numbers");
            self.last = record.sequence;
            let Some(Kind::Closed(connection)) = record.kind else {
                panic!("another kind of record")
            };
            self.ids.push(connection.id);
        }
    }
}

#[tonic::async_trait]
impl Telemetry for Service {
    type ReportStream = ReceiverStream<Result<ReportAck, Status>>;

    async fn report(
        &self,
        request: Request<Streaming<ReportBatch>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let mut batches = request.into_inner();
        let (acks, receiver) = mpsc::channel(1);
        let service = self.clone();
        tokio::spawn(async move {
            let stream = {
                let mut store = service.store.lock().unwrap();
                store.streams += 1;
                store.streams
            };
            while let Ok(Some(batch)) = batches.message().await {
                let sequence = {
                    let mut store = service.store.lock().unwrap();
                    store.take(batch);
                    store.last
                };
                match service.temper {
                    Temper::BreaksBeforeAck { streams } if stream <= streams => return,
                    _ => {}
                }
                if acks.send(Ok(ReportAck { sequence })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
