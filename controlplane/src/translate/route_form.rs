//! HTTPRoutes and GRPCRoutes in the one form that is planned.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::created_at;
use crate::{
    gateway_api::{
        GRPCRoute, GrpcRouteMatch, HTTPRoute, HttpBackendRef, HttpRouteFilter, HttpRouteMatch,
        HttpRouteRetry, HttpRouteTimeouts, ParentReference,
    },
    resources::{Entry, ObjectKey},
};

/// Kinds of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RouteKind {
    Http,
    Grpc,
}

impl RouteKind {
    /// As manifests spell it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
        }
    }
}

/// What there is to a route of either kind.
pub(super) struct RouteForm<'a> {
    pub kind: RouteKind,
    pub key: &'a ObjectKey,
    pub metadata: &'a ObjectMeta,
    /// File that it was read from; empty from Kubernetes.
    pub source: &'a str,
    pub parents: &'a [ParentReference],
    pub hostnames: &'a [String],
    pub rules: Vec<RuleForm<'a>>,
}

/// One rule of it.
#[derive(Default)]
pub(super) struct RuleForm<'a> {
    pub name: Option<&'a str>,
    pub matches: MatchForms<'a>,
    pub filters: &'a [HttpRouteFilter],
    pub backends: &'a [HttpBackendRef],
    pub timeouts: Option<&'a HttpRouteTimeouts>,
    pub retry: Option<&'a HttpRouteRetry>,
    /// `sessionPersistence` is given.
    pub persists_sessions: bool,
}

/// Its matches. None: everything.
pub(super) enum MatchForms<'a> {
    Http(&'a [HttpRouteMatch]),
    Grpc(&'a [GrpcRouteMatch]),
}

impl Default for MatchForms<'_> {
    fn default() -> Self {
        Self::Http(&[])
    }
}

impl<'a> RouteForm<'a> {
    pub(super) fn of_http(key: &'a ObjectKey, entry: &'a Entry<HTTPRoute>) -> Self {
        let route = &*entry.object;
        let rules = match &route.spec.rules {
            // One rule for everything, as the API server would fill in.
            None => vec![RuleForm::default()],
            Some(rules) => rules
                .iter()
                .map(|rule| RuleForm {
                    name: rule.name.as_deref(),
                    matches: MatchForms::Http(&rule.matches),
                    filters: &rule.filters,
                    backends: &rule.backend_refs,
                    timeouts: rule.timeouts.as_ref(),
                    retry: rule.retry.as_ref(),
                    persists_sessions: rule.session_persistence.is_some(),
                })
                .collect(),
        };
        Self {
            kind: RouteKind::Http,
            key,
            metadata: &route.metadata,
            source: &entry.source,
            parents: &route.spec.parent_refs,
            hostnames: &route.spec.hostnames,
            rules,
        }
    }

    pub(super) fn of_grpc(key: &'a ObjectKey, entry: &'a Entry<GRPCRoute>) -> Self {
        let route = &*entry.object;
        let rules = route.spec.rules.iter().map(|rule| RuleForm {
            name: rule.name.as_deref(),
            matches: MatchForms::Grpc(&rule.matches),
            filters: &rule.filters,
            backends: &rule.backend_refs,
            timeouts: None,
            retry: None,
            persists_sessions: rule.session_persistence.is_some(),
        });
        Self {
            kind: RouteKind::Grpc,
            key,
            metadata: &route.metadata,
            source: &entry.source,
            parents: &route.spec.parent_refs,
            hostnames: &route.spec.hostnames,
            rules: rules.collect(),
        }
    }

    /// For precedence: the older route first.
    pub(super) fn age(&self) -> (i64, &'a ObjectKey, RouteKind) {
        (created_at(self.metadata), self.key, self.kind)
    }

    /// `Kind namespace/name`.
    pub(super) fn label(&self) -> String {
        format!("{} {}", self.kind.name(), self.key)
    }
}
