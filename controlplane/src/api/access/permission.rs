//! What a request needs, in the words of Kubernetes' access control. Pure.
//!
//! The resources are virtual: no API server stores them. They exist so that a
//! ClusterRole can say who may do what with live connections.

use std::fmt;

/// Group of the virtual resources.
pub(crate) const GROUP: &str = "tidegate.dev";

/// A verb on a virtual resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Permission {
    pub(crate) verb: &'static str,
    pub(crate) resource: &'static str,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` on `{}.{GROUP}`", self.verb, self.resource)
    }
}

impl Permission {
    /// Of an operation by its name in REST's description and in gRPC. `None`: there is no
    /// such operation, so nobody may.
    pub(crate) fn of_operation(name: &str) -> Option<Self> {
        let (verb, resource) = match name {
            "ListDataplanes" => ("list", "dataplanes"),
            "DrainDataplane" | "UndrainDataplane" => ("update", "dataplanes"),
            "ListListeners" => ("list", "listeners"),
            "DrainListener" | "UndrainListener" => ("update", "listeners"),
            "ListConnections" => ("list", "connections"),
            "GetConnection" => ("get", "connections"),
            "WatchEvents" => ("watch", "connections"),
            "CloseConnection" => ("delete", "connections"),
            "CloseConnections" => ("deletecollection", "connections"),
            "CaptureQlog" | "CaptureNextQlog" => ("create", "qlog"),
            "CaptureKeyLog" => ("create", "keylog"),
            "ListAudit" => ("list", "audit"),
            "GetConfig" => ("get", "config"),
            "GetStatus" => ("get", "status"),
            "RotateKeys" => ("update", "keys"),
            _ => return None,
        };
        Some(Self { verb, resource })
    }

    /// Of a REST request by its route, as it is mounted.
    pub(crate) fn of_route(method: &http::Method, route: &str) -> Option<Self> {
        let post = method == http::Method::POST;
        // What answers to GET answers to HEAD.
        let get = method == http::Method::GET || method == http::Method::HEAD;
        Self::of_operation(match route {
            "/v1/dataplanes" if get => "ListDataplanes",
            "/v1/dataplanes/{id}/drain" if post => "DrainDataplane",
            "/v1/dataplanes/{id}/undrain" if post => "UndrainDataplane",
            "/v1/listeners" if get => "ListListeners",
            "/v1/listeners/{id}/drain" if post => "DrainListener",
            "/v1/listeners/{id}/undrain" if post => "UndrainListener",
            "/v1/connections" if get => "ListConnections",
            "/v1/connections/{id}" if get => "GetConnection",
            "/v1/connections/{id}/close" if post => "CloseConnection",
            "/v1/connections/close" if post => "CloseConnections",
            "/v1/connections/{id}/qlog" if post => "CaptureQlog",
            "/v1/connections/next/qlog" if post => "CaptureNextQlog",
            "/v1/connections/next/keylog" if post => "CaptureKeyLog",
            "/v1/events" if get => "WatchEvents",
            "/v1/audit" if get => "ListAudit",
            "/v1/config" if get => "GetConfig",
            "/v1/status" if get => "GetStatus",
            "/v1/keys/rotate" if post => "RotateKeys",
            _ => return None,
        })
    }

    /// Whether it changes anything.
    pub(crate) fn is_command(self) -> bool {
        !["get", "list", "watch"].contains(&self.verb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_description_needs_a_permission() {
        let (_, description) = crate::api::rest::router();
        let mut seen = 0;
        for (path, item) in &description.paths.paths {
            for (method, operation) in [
                (http::Method::GET, &item.get),
                (http::Method::POST, &item.post),
                (http::Method::PUT, &item.put),
                (http::Method::PATCH, &item.patch),
                (http::Method::DELETE, &item.delete),
            ] {
                if operation.is_some() {
                    seen += 1;
                    assert!(
                        Permission::of_route(&method, path).is_some(),
                        "{method} {path}"
                    );
                }
            }
        }
        assert!(seen >= 15);
    }

    #[test]
    fn every_method_of_the_service_needs_a_permission() {
        let service = include_str!("../../../../proto/tidegate/v1/admin.proto");
        let methods = service.lines().filter_map(|line| {
            let rest = line.trim().strip_prefix("rpc ")?;
            rest.split('(').next()
        });
        let methods: Vec<_> = methods.collect();
        assert!(methods.len() >= 14);
        for method in methods {
            assert!(Permission::of_operation(method).is_some(), "{method}");
        }
    }

    #[test]
    fn reading_is_no_command() {
        let of = |name| Permission::of_operation(name).unwrap();
        assert!(!of("WatchEvents").is_command());
        assert!(of("CloseConnections").is_command());
        assert_eq!(
            of("CloseConnection").to_string(),
            "`delete` on `connections.tidegate.dev`"
        );
    }
}
