//! The kinds of the Gateway API v1.6 that Tidegate reads, as plain serde types.
//!
//! Owned here: the shape of the objects, decoded leniently. A word that this version does
//! not know (a filter type, a protocol) decodes to its text, so that one strange object
//! never hides the others; [`crate::translate`] judges it and says so in a status.
//! Never here: defaults, validation or any decision. Sources decode into these types.

mod backend_tls_policy;
mod gateway;
mod gateway_class;
mod grpc_route;
mod http_route;
mod listener_set;
mod reference;
mod reference_grant;

pub use backend_tls_policy::{
    BackendTLSPolicy, BackendTLSPolicySpec, BackendTLSPolicyValidation, PolicyAncestorStatus,
    PolicyStatus, PolicyTargetReference, SubjectAltName,
};
pub use gateway::{
    AllowedListeners, AllowedRoutes, FrontendTlsConfig, FrontendTlsValidation, Gateway,
    GatewayAddress, GatewayBackendTls, GatewayInfrastructure, GatewaySpec, GatewayStatus,
    GatewayTlsConfig, Listener, ListenerStatus, ListenerTlsConfig, RouteGroupKind, RouteNamespaces,
    TlsConfig, TlsPortConfig,
};
pub use gateway_class::{
    GatewayClass, GatewayClassSpec, GatewayClassStatus, ParametersReference, SupportedFeature,
};
pub use grpc_route::{GRPCRoute, GRPCRouteSpec, GrpcMethodMatch, GrpcRouteMatch, GrpcRouteRule};
pub use http_route::{
    Fraction, HTTPRoute, HTTPRouteSpec, HttpBackendRef, HttpCors, HttpHeader, HttpHeaderFilter,
    HttpPathMatch, HttpPathModifier, HttpRequestMirror, HttpRequestRedirect, HttpRouteFilter,
    HttpRouteMatch, HttpRouteRetry, HttpRouteRule, HttpRouteTimeouts, HttpUrlRewrite,
    HttpValueMatch, RouteParentStatus, RouteStatus,
};
pub use listener_set::{ListenerSet, ListenerSetSpec, ListenerSetStatus, ParentGatewayReference};
pub use reference::{
    BackendObjectReference, LocalObjectReference, ObjectReference, ParentReference,
    SecretObjectReference,
};
pub use reference_grant::{
    ReferenceGrant, ReferenceGrantFrom, ReferenceGrantSpec, ReferenceGrantTo,
};

/// The API group of every kind in this module.
pub const GROUP: &str = "gateway.networking.k8s.io";
