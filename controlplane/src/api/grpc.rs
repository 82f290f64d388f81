//! The same operations as gRPC, for programs.

use std::pin::Pin;

use futures_util::{Stream, stream};
use tidegate_proto::v1::{
    self,
    admin_server::{Admin, AdminServer},
};
use tonic::{Request, Response, Status};

use super::operations::{Capture, Operations};

/// Serves `tidegate.v1.Admin`.
pub(crate) struct AdminService(Operations);

/// What is mounted on the admin port.
pub(crate) type Service = AdminServer<AdminService>;

/// The service; who may call it is `access`'s.
pub(crate) fn service(operations: Operations) -> Service {
    AdminServer::new(AdminService(operations))
}

type Answer<T> = Result<Response<T>, Status>;
type Captured = Pin<Box<dyn Stream<Item = Result<v1::CapturedRecords, Status>> + Send>>;

#[tonic::async_trait]
impl Admin for AdminService {
    type CaptureQlogStream = Captured;
    type CaptureNextQlogStream = Captured;
    type CaptureKeyLogStream = Captured;
    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

    async fn list_dataplanes(
        &self,
        _: Request<v1::ListDataplanesRequest>,
    ) -> Answer<v1::ListDataplanesResponse> {
        Ok(Response::new(self.0.list_dataplanes()))
    }

    async fn drain_dataplane(
        &self,
        request: Request<v1::DrainRequest>,
    ) -> Answer<v1::DrainResponse> {
        Ok(Response::new(
            self.0.drain_dataplane(request.into_inner()).await?,
        ))
    }

    async fn undrain_dataplane(
        &self,
        request: Request<v1::UndrainRequest>,
    ) -> Answer<v1::DrainResponse> {
        Ok(Response::new(
            self.0.undrain_dataplane(request.into_inner()).await?,
        ))
    }

    async fn list_listeners(
        &self,
        _: Request<v1::ListListenersRequest>,
    ) -> Answer<v1::ListListenersResponse> {
        Ok(Response::new(self.0.list_listeners()))
    }

    async fn drain_listener(
        &self,
        request: Request<v1::DrainRequest>,
    ) -> Answer<v1::DrainResponse> {
        Ok(Response::new(
            self.0.drain_listener(request.into_inner()).await?,
        ))
    }

    async fn undrain_listener(
        &self,
        request: Request<v1::UndrainRequest>,
    ) -> Answer<v1::DrainResponse> {
        Ok(Response::new(
            self.0.undrain_listener(request.into_inner()).await?,
        ))
    }

    async fn list_connections(
        &self,
        request: Request<v1::ListConnections>,
    ) -> Answer<v1::ConnectionList> {
        Ok(Response::new(
            self.0.list_connections(request.into_inner()).await?,
        ))
    }

    async fn get_connection(
        &self,
        request: Request<v1::GetConnectionRequest>,
    ) -> Answer<v1::Connection> {
        Ok(Response::new(
            self.0.connection(&request.into_inner().id).await?,
        ))
    }

    async fn close_connection(&self, request: Request<v1::CloseConnection>) -> Answer<v1::Closed> {
        Ok(Response::new(
            self.0.close_connection(request.into_inner()).await?,
        ))
    }

    async fn close_connections(&self, request: Request<v1::CloseSelected>) -> Answer<v1::Closed> {
        Ok(Response::new(
            self.0.close_connections(request.into_inner()).await?,
        ))
    }

    async fn capture_qlog(&self, request: Request<v1::CaptureQlogRequest>) -> Answer<Captured> {
        Ok(captured(self.0.capture_qlog(request.into_inner()).await?))
    }

    async fn capture_next_qlog(
        &self,
        request: Request<v1::CaptureNextQlogRequest>,
    ) -> Answer<Captured> {
        let capture = self.0.capture_next_qlog(request.into_inner());
        Ok(captured(capture.await?))
    }

    async fn capture_key_log(
        &self,
        request: Request<v1::CaptureKeyLogRequest>,
    ) -> Answer<Captured> {
        let capture = self.0.capture_key_log(request.into_inner());
        Ok(captured(capture.await?))
    }

    async fn list_audit(
        &self,
        request: Request<v1::ListAuditRequest>,
    ) -> Answer<v1::ListAuditResponse> {
        Ok(Response::new(
            self.0.list_audit(request.into_inner()).await?,
        ))
    }

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Answer<Self::WatchEventsStream> {
        let watched = self.0.watch_events(request.into_inner())?;
        let events = stream::unfold(watched, async |mut watched| {
            let event = watched.next().await?;
            Some((Ok(v1::Event::clone(&event)), watched))
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn get_config(
        &self,
        request: Request<v1::GetConfigRequest>,
    ) -> Answer<v1::GetConfigResponse> {
        Ok(Response::new(self.0.config(&request.into_inner())?))
    }

    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Answer<v1::GetStatusResponse> {
        Ok(Response::new(self.0.status()))
    }
}

fn captured(capture: Capture) -> Response<Captured> {
    let pieces = stream::unfold(capture, async |mut capture| {
        let piece = capture.next().await?;
        let records = piece.map(|data| v1::CapturedRecords { data });
        Some((records.map_err(Status::from), capture))
    });
    Response::new(Box::pin(pieces))
}
