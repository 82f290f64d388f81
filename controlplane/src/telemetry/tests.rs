use std::sync::{Arc, Mutex};

use http::{HeaderMap, Method, StatusCode};
use opentelemetry_proto::tonic::collector::{
    metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use super::*;

#[tokio::test]
async fn what_is_counted_is_in_the_prometheus_text() {
    let telemetry = Telemetry::new(None).unwrap();
    telemetry.instruments().snapshots_published.add(3, &[]);
    let text = telemetry.prometheus_text();
    assert!(
        text.contains("tidegate_controlplane_snapshots_published_total 3"),
        "{text}"
    );
    assert!(telemetry.tracer().is_none(), "no collector, no spans");
}

#[tokio::test]
async fn two_control_planes_in_one_process_count_apart() {
    let (one, two) = (Telemetry::new(None).unwrap(), Telemetry::new(None).unwrap());
    one.instruments().snapshots_published.add(3, &[]);
    two.instruments().snapshots_published.add(5, &[]);
    assert!(one.prometheus_text().contains("published_total 3"));
    assert!(two.prometheus_text().contains("published_total 5"));
}

#[tokio::test]
async fn a_useless_endpoint_is_refused_by_name() {
    let Err(error) = Telemetry::new(Some("not a url")) else {
        panic!("it was taken")
    };
    assert!(error.to_string().contains(ENDPOINT_VARIABLE), "{error}");
}

/// An OpenTelemetry collector that keeps the names of what it is sent.
#[derive(Clone, Default)]
struct Collector {
    metrics: Arc<Mutex<Vec<String>>>,
    spans: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let resources = request.into_inner().resource_metrics.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_metrics);
        let names = scopes
            .flat_map(|scope| scope.metrics)
            .map(|metric| metric.name);
        self.metrics.lock().unwrap().extend(names);
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        let names = scopes.flat_map(|scope| scope.spans).map(|span| span.name);
        self.spans.lock().unwrap().extend(names);
        Ok(Response::new(Default::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_and_spans_reach_the_collector() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let collector = Collector::default();
    let server = tonic::transport::Server::builder()
        .add_service(MetricsServiceServer::new(collector.clone()))
        .add_service(TraceServiceServer::new(collector.clone()))
        .serve_with_incoming(TcpIncoming::from(listener));
    let server = tokio::spawn(server);

    let telemetry = Telemetry::new(Some(&endpoint)).unwrap();
    telemetry.instruments().snapshots_published.add(1, &[]);
    let tracer = telemetry.tracer().expect("there is a collector");
    RequestTrace::start(Some(&tracer), &Method::GET, "/v1/status", &HeaderMap::new())
        .finish(StatusCode::OK);
    tokio::task::spawn_blocking(move || telemetry.flush())
        .await
        .unwrap();

    let metrics = collector.metrics.lock().unwrap();
    assert!(
        metrics
            .iter()
            .any(|name| name == "tidegate.controlplane.snapshots.published")
    );
    assert_eq!(*collector.spans.lock().unwrap(), ["GET /v1/status"]);
    server.abort();
}
