//! A dataplane that does what a test says.

use std::net::SocketAddr;

use tidegate_proto::v1::{
    self, command::Kind as Command, command_reply::Kind as Reply, control_client::ControlClient,
    session_down::Message as Down, session_up::Message as Up, telemetry_client::TelemetryClient,
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::PATIENCE;

/// One end of a session.
pub(crate) struct FakeDataplane {
    up: mpsc::Sender<v1::SessionUp>,
    down: Streaming<v1::SessionDown>,
}

impl FakeDataplane {
    /// Connects and says Hello.
    pub(crate) async fn connect(address: SocketAddr, id: &str) -> Self {
        let hello = v1::Hello {
            dataplane_id: id.into(),
            instance_id: format!("{id}-run"),
            build_version: "test".into(),
            shards: 1,
            ..Default::default()
        };
        Self::begin(address, Up::Hello(hello)).await
    }

    /// Connects and says something else first.
    pub(crate) async fn begin(address: SocketAddr, first: Up) -> Self {
        let mut client = ControlClient::new(channel(address).await);
        let (up, receiver) = mpsc::channel(8);
        let down = client
            .session(ReceiverStream::new(receiver))
            .await
            .unwrap()
            .into_inner();
        let dataplane = Self { up, down };
        dataplane.say(first).await;
        dataplane
    }

    pub(crate) async fn say(&self, message: Up) {
        self.up
            .send(v1::SessionUp {
                message: Some(message),
            })
            .await
            .unwrap();
    }

    pub(crate) async fn ack(&self, version: &str) {
        self.say(Up::Ack(v1::Ack {
            version: version.into(),
        }))
        .await;
    }

    /// The next message, or how the session ended.
    pub(crate) async fn next(&mut self) -> Result<Down, Status> {
        let next = timeout(PATIENCE, self.down.message())
            .await
            .expect("a message in time");
        Ok(next?
            .expect("a message, not the end")
            .message
            .expect("a known message"))
    }

    /// Whether nothing comes for a moment.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        timeout(std::time::Duration::from_millis(300), self.down.message())
            .await
            .is_err()
    }

    pub(crate) async fn snapshot(&mut self) -> v1::Snapshot {
        match self.next().await.unwrap() {
            Down::Snapshot(snapshot) => snapshot,
            other => panic!("a snapshot, not {other:?}"),
        }
    }

    pub(crate) async fn endpoints(&mut self) -> v1::Endpoints {
        match self.next().await.unwrap() {
            Down::Endpoints(endpoints) => endpoints,
            other => panic!("endpoints, not {other:?}"),
        }
    }

    pub(crate) async fn command(&mut self) -> v1::Command {
        match self.next().await.unwrap() {
            Down::Command(command) => command,
            other => panic!("a command, not {other:?}"),
        }
    }

    /// How the session ended.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }

    /// Answers every command, and takes every snapshot, until the session ends.
    pub(crate) fn answering(
        mut self,
        mut answer: impl FnMut(Command) -> Reply + Send + 'static,
    ) -> JoinHandle<()> {
        tokio::spawn(async move {
            while let Ok(Some(message)) = self.down.message().await {
                match message.message {
                    Some(Down::Snapshot(snapshot)) => self.ack(&snapshot.version).await,
                    Some(Down::Command(command)) => {
                        let kind = Some(answer(command.kind.unwrap()));
                        self.say(Up::Reply(v1::CommandReply {
                            id: command.id,
                            kind,
                        }))
                        .await;
                    }
                    Some(Down::Endpoints(_) | Down::Peers(_)) | None => {}
                }
            }
        })
    }
}

/// A stream of reports and its acknowledgements.
pub(crate) struct FakeReporter {
    batches: mpsc::Sender<v1::ReportBatch>,
    acks: Streaming<v1::ReportAck>,
}

impl FakeReporter {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut client = TelemetryClient::new(channel(address).await);
        let (batches, receiver) = mpsc::channel(8);
        let acks = client
            .report(ReceiverStream::new(receiver))
            .await
            .unwrap()
            .into_inner();
        Self { batches, acks }
    }

    /// Reports records of one run of `edge`, and waits for the acknowledgement.
    pub(crate) async fn report(&mut self, records: Vec<v1::Record>) -> Result<u64, Status> {
        let (dataplane_id, instance_id) = ("edge".into(), "run".into());
        let batch = v1::ReportBatch {
            dataplane_id,
            instance_id,
            records,
        };
        self.send(batch).await
    }

    pub(crate) async fn send(&mut self, batch: v1::ReportBatch) -> Result<u64, Status> {
        self.batches.send(batch).await.unwrap();
        let ack = timeout(PATIENCE, self.acks.message())
            .await
            .expect("an answer in time")?;
        Ok(ack.expect("an acknowledgement, not the end").sequence)
    }
}

async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}
