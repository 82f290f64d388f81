//! Dataplanes, their listeners, and the status of the resources that they serve.

use serde::{Deserialize, Serialize};
use tidegate_proto::v1;
use utoipa::ToSchema;

use super::{Protocol, wire::mirror};

mirror! {
    /// The dataplanes that hold a session.
    DataplaneList = v1::ListDataplanesResponse {
        /// In order of id.
        dataplanes: Vec<Dataplane>,
    }

    /// A dataplane that holds a session.
    Dataplane = v1::Dataplane {
        /// Who it is.
        hello: Option<Hello>,
        /// UNIX milliseconds.
        connected_at_ms: i64,
        /// The last version that it acknowledged; empty: none yet.
        acked_version: String,
        /// The last version that it refused, if none was acknowledged since.
        nack: Option<Nack>,
        /// What it last said of itself.
        state: Option<DataplaneState>,
    }

    /// A dataplane's introduction.
    Hello = v1::Hello {
        /// Stable name: the pod's, or the host's.
        #[schema(example = "edge")]
        dataplane_id: String,
        /// New at each start of the process.
        instance_id: String,
        /// `namespace/name` of the Gateway that it serves. Empty: all of them.
        gateway: String,
        /// Version of the binary.
        build_version: String,
        /// Snapshot that it served when it connected.
        serving_version: String,
        /// Worker threads.
        shards: u32,
        /// UNIX milliseconds.
        started_at_ms: i64,
        /// Where it takes packets of its connections from other dataplanes. Empty: nowhere.
        relay_address: String,
    }

    /// A refused snapshot. The one before serves on.
    Nack = v1::Nack {
        /// Version that is refused.
        version: String,
        /// Why.
        rejections: Vec<Rejection>,
    }

    /// One reason.
    Rejection = v1::Rejection {
        /// Id of what is refused: a listener, certificate, route or backend.
        object: String,
        /// Field of it.
        field: String,
        /// What is wrong, and what to do.
        message: String,
    }

    /// What a dataplane says of itself.
    DataplaneState = v1::DataplaneState {
        /// Version that every shard serves.
        serving_version: String,
        /// The whole dataplane drains.
        draining: bool,
        /// Its listeners.
        listeners: Vec<ListenerState>,
        /// Live connections.
        connections: u64,
        /// Audit records that wait for acknowledgement.
        spooled_records: u64,
        /// Audit records lost to a full spool.
        dropped_records: u64,
    }

    /// A listener on one dataplane.
    ListenerState = v1::ListenerState {
        /// `namespace/gateway/listener`.
        id: String,
        /// The TCP port is bound.
        tcp_up: bool,
        /// The UDP port is bound and HTTP/3 is served.
        quic_up: bool,
        /// Its connections, new ones too, are drained.
        draining: bool,
        /// Live connections.
        connections: u64,
        /// Port in use.
        port: u32,
    }

    /// The listeners of all Gateways.
    ListenerList = v1::ListListenersResponse {
        /// In order of id.
        listeners: Vec<ListenerSummary>,
    }

    /// A listener on all dataplanes.
    ListenerSummary = v1::ListenerSummary {
        /// `namespace/gateway/listener`.
        #[schema(example = "default/edge/https")]
        id: String,
        /// TCP port, and UDP port where HTTP/3 is on.
        port: u32,
        /// Host name that requests must have; empty: any.
        hostname: String,
        /// What is spoken.
        protocol: Protocol,
        /// HTTP/3 is on.
        http3: bool,
        /// Live connections, over all dataplanes.
        connections: u64,
        /// True when every dataplane drains it.
        draining: bool,
    }

    /// Who began to drain, or to take connections again.
    Drained = v1::DrainResponse {
        /// Dataplane ids.
        dataplanes: Vec<String>,
    }

    /// The status of every resource that was read.
    StatusList = v1::GetStatusResponse {
        /// Resources, then files with something wrong.
        objects: Vec<ObjectStatus>,
    }

    /// The status of one resource, of one listener of a Gateway, or of one parent of a route.
    ObjectStatus = v1::ObjectStatus {
        /// Kind of the resource; `File` for a file that cannot be read as resources.
        #[schema(example = "HTTPRoute")]
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// File that it was read from.
        source: String,
        /// Listener of a Gateway, or parent of a route; empty: the object itself.
        scope: String,
        /// Of a listener: routes attached to it.
        attached_routes: Option<u32>,
        /// As in `metav1.Condition`.
        conditions: Vec<Condition>,
    }

    /// One condition.
    Condition = v1::Condition {
        /// What it is about.
        #[schema(example = "Accepted")]
        r#type: String,
        /// `True`, `False` or `Unknown`.
        #[schema(example = "True")]
        status: String,
        /// Why, as one word.
        reason: String,
        /// Why, for people.
        message: String,
        /// Generation of the resource that this was said of.
        observed_generation: i64,
    }
}

/// How to drain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DrainBody {
    /// Milliseconds until what is left is closed. 0: 30000.
    #[schema(example = 30000)]
    pub deadline_ms: u64,
}

/// New keys are in use. Their ids are shown, never what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeysRotated {
    /// UNIX milliseconds.
    pub rotated_at_ms: i64,
    /// Id of the newest session ticket key.
    pub ticket: u32,
    /// Id of the newest Retry token key.
    pub retry: u32,
    /// Id of the newest stateless reset key.
    pub reset: u32,
    /// Id of the newest connection ID key.
    pub cid: u32,
}
