//! The doors of the fuzz targets (`tests/fuzz`) to what is private. Only in builds with debug
//! assertions, so in no binary that is shipped.

use std::sync::{Arc, LazyLock};

use axum::extract::Query;
use futures_util::FutureExt as _;
use http::Uri;
use serde_json::Value;
use tidegate_proto::v1;

use crate::{
    api::{
        rest::{audit::AuditParams, connections::ListParams, events::WatchParams},
        types::{self, FromWire as _},
    },
    clock::unix_millis,
    resources::Resources,
    selector::{InvalidSelector, Selector},
    source::{Problem, files, kubernetes},
    translate,
    trust::{Authority, Identity, Kept, Vault, VaultError},
};

/// The resources of a file. With `schema` it is judged as an API server would.
pub fn file(text: &str, schema: bool) -> Result<Resources, Vec<Problem>> {
    files::resources("fuzz.yaml", text, schema)
}

/// Adds an object as an API server sends it. `None` if it is of a kind that is not read.
pub fn object(kind: &str, object: Value, resources: &mut Resources) -> Option<Result<(), Problem>> {
    let kind = kubernetes::kind::Kind::named(kind)?;
    let read = kubernetes::read::read(kind, serde_json::from_value(object).ok()?);
    Some(read.object.map(|object| {
        resources.insert(object, "");
    }))
}

/// Whether a Secret's texts are a chain and its key.
pub fn is_key_pair(chain: &[u8], key: &[u8]) -> bool {
    translate::check_key_pair(chain, key).is_ok()
}

/// The certificate, DER, for a request that a data plane enrols with.
pub fn enroll(request: &[u8], gateway: &str, dataplane: &str) -> Option<Vec<u8>> {
    static AUTHORITY: LazyLock<Option<Arc<Authority>>> =
        LazyLock::new(|| Authority::open(Arc::new(NoVault)).now_or_never()?.ok());
    let identity = Identity::new(gateway, dataplane).ok()?;
    assert_eq!(
        Identity::from_uri(&identity.to_uri()),
        Some(identity.clone())
    );
    let authority = AUTHORITY.as_ref().expect("roots can be made");
    let issued = authority.issue_client(request, &identity, unix_millis());
    Some(issued.ok()?.certificate.to_vec())
}

/// Keeps nothing.
struct NoVault;

#[tonic::async_trait]
impl Vault for NoVault {
    async fn read(&self) -> Result<Option<Kept>, VaultError> {
        Ok(None)
    }

    async fn write(&self, _: &str, _: &str, _: Option<&Kept>) -> Result<bool, VaultError> {
        Ok(true)
    }

    fn name(&self) -> String {
        "no vault".to_owned()
    }
}

/// Reads the query of a list of connections, of the history, and of a watch.
pub fn query(query: &str) -> Option<[bool; 3]> {
    let uri: Uri = format!("/v1?{query}").parse().ok()?;
    Some([
        Query::<ListParams>::try_from_uri(&uri).is_ok(),
        Query::<AuditParams>::try_from_uri(&uri).is_ok(),
        Query::<WatchParams>::try_from_uri(&uri).is_ok(),
    ])
}

/// The selector in the body of a request to close connections.
pub fn selector_of_body(body: &[u8]) -> Option<Result<Selector, InvalidSelector>> {
    let body: types::CloseSelected = serde_json::from_slice(body).ok()?;
    let types::Selector {
        server_name,
        peer,
        listener,
        min_age_ms,
        max_age_ms,
        alpn,
    } = body.selector;
    Some(Selector::parse(v1::Selector {
        server_name,
        peer,
        listener,
        min_age_ms,
        max_age_ms,
        alpn,
    }))
}

/// Reads the bodies of requests for captures.
pub fn capture(body: &[u8]) -> [bool; 3] {
    [
        serde_json::from_slice::<types::CaptureQlog>(body).is_ok(),
        serde_json::from_slice::<types::CaptureNextQlog>(body).is_ok(),
        serde_json::from_slice::<types::CaptureKeyLog>(body).is_ok(),
    ]
}

/// What the REST API shows of a connection.
pub fn shown_connection(connection: v1::Connection) -> Value {
    json(types::Connection::from_wire(connection))
}

/// What the REST API shows of a configuration.
pub fn shown_snapshot(snapshot: v1::Snapshot) -> Value {
    json(types::Snapshot::from_wire(snapshot))
}

fn json(shown: impl serde::Serialize) -> Value {
    serde_json::to_value(shown).expect("every value has a JSON form")
}
