//! `/v1/connections`.

use axum::extract::State;
use serde::Deserialize;
use tidegate_proto::v1;
use utoipa::IntoParams;

use crate::api::{
    operations::Operations,
    respond::{Answer, Id, JsonBody, Outcome, Params},
    types::{CloseBehaviour, CloseSelected, Closed, Connection, ConnectionList, Problem, Selector},
};

/// RFC 9114 8.1: what an application close says if its caller does not.
const H3_NO_ERROR: u64 = 0x100;

/// Which connections, and which page of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Exact server name.
    server_name: String,
    /// CIDR range of the peer's address, or one address.
    peer: String,
    /// Listener id.
    listener: String,
    /// Least milliseconds since the connection began.
    min_age_ms: u64,
    /// Most milliseconds since the connection began.
    max_age_ms: u64,
    /// `h3`, `h2` or `http/1.1`.
    alpn: String,
    /// 1 to 1000. Default 100.
    limit: u32,
    /// `next` of the page before.
    after: String,
}

/// List live connections
///
/// Asks every dataplane; in order of id, page by page.
#[utoipa::path(
    get, path = "/v1/connections", tag = "connections", operation_id = "listConnections",
    params(ListParams),
    responses(
        (status = 200, body = ConnectionList),
        (status = 400, description = "The selector or the page makes no sense", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "A dataplane does not answer", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(operations): State<Operations>,
    Params(params): Params<ListParams>,
) -> Outcome<ConnectionList> {
    let ListParams {
        server_name,
        peer,
        listener,
        min_age_ms,
        max_age_ms,
        alpn,
        limit,
        after,
    } = params;
    let selector = Some(v1::Selector {
        server_name,
        peer,
        listener,
        min_age_ms,
        max_age_ms,
        alpn,
    });
    let request = v1::ListConnections {
        selector,
        limit,
        after,
    };
    Ok(Answer::of(operations.list_connections(request).await?))
}

/// Look into a connection
///
/// Its handshake, TLS facts, round-trip time, loss, congestion window and requests, as
/// they are now.
#[utoipa::path(
    get, path = "/v1/connections/{id}", tag = "connections", operation_id = "getConnection",
    params(("id" = String, Path, description = "Connection id")),
    responses(
        (status = 200, body = Connection),
        (status = 400, description = "No connection id", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "It has ended, or its dataplane is not connected", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The dataplane does not answer", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn show(State(operations): State<Operations>, Id(id): Id) -> Outcome<Connection> {
    Ok(Answer::of(operations.connection(&id).await?))
}

/// Close a connection
///
/// The client sees the error code and the reason that are given here.
#[utoipa::path(
    post, path = "/v1/connections/{id}/close", tag = "connections", operation_id = "closeConnection",
    params(("id" = String, Path, description = "Connection id")),
    request_body = Option<CloseBehaviour>,
    responses(
        (status = 200, body = Closed),
        (status = 400, description = "No connection id, or no such close", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "It has ended, or its dataplane is not connected", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The dataplane does not answer", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn close(
    State(operations): State<Operations>,
    Id(connection_id): Id,
    JsonBody(behaviour): JsonBody<CloseBehaviour>,
) -> Outcome<Closed> {
    let behaviour = Some(wire_behaviour(behaviour));
    let request = v1::CloseConnection {
        connection_id,
        behaviour,
    };
    Ok(Answer::of(operations.close_connection(request).await?))
}

/// Close all connections that a selector matches
#[utoipa::path(
    post, path = "/v1/connections/close", tag = "connections", operation_id = "closeConnections",
    request_body = CloseSelected,
    responses(
        (status = 200, body = Closed),
        (status = 400, description = "The selector is empty or makes no sense", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "A dataplane does not answer", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn close_selected(
    State(operations): State<Operations>,
    JsonBody(CloseSelected {
        selector,
        behaviour,
    }): JsonBody<CloseSelected>,
) -> Outcome<Closed> {
    let Selector {
        server_name,
        peer,
        listener,
        min_age_ms,
        max_age_ms,
        alpn,
    } = selector;
    let selector = Some(v1::Selector {
        server_name,
        peer,
        listener,
        min_age_ms,
        max_age_ms,
        alpn,
    });
    let behaviour = Some(wire_behaviour(behaviour));
    let request = v1::CloseSelected {
        selector,
        behaviour,
    };
    Ok(Answer::of(operations.close_connections(request).await?))
}

fn wire_behaviour(behaviour: CloseBehaviour) -> v1::ConnectionShutdownBehaviour {
    let CloseBehaviour {
        send_application_close,
        error_code,
        reason,
    } = behaviour;
    let unsaid = if send_application_close {
        H3_NO_ERROR
    } else {
        0
    };
    v1::ConnectionShutdownBehaviour {
        send_application_close,
        error_code: error_code.unwrap_or(unsaid),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_without_a_code_says_that_nothing_is_wrong() {
        let code = |send_application_close, error_code| {
            let reason = String::new();
            wire_behaviour(CloseBehaviour {
                send_application_close,
                error_code,
                reason,
            })
            .error_code
        };
        assert_eq!(code(true, None), 0x100);
        assert_eq!(code(false, None), 0);
        assert_eq!(code(true, Some(0)), 0);
    }
}
