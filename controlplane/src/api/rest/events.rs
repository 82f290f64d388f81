//! `/v1/events`: server-sent events.

use std::convert::Infallible;

use axum::{
    extract::State,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{Stream, stream};
use serde::Deserialize;
use tidegate_proto::v1;
use utoipa::IntoParams;

use crate::api::{
    failure::Failure,
    operations::Operations,
    respond::Params,
    types::{self, FromWire, Lagged, Problem},
};

/// Which connections.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WatchParams {
    /// Exact server name.
    server_name: String,
    /// CIDR range of the peer's address, or one address.
    peer: String,
    /// Listener id.
    listener: String,
    /// `h3`, `h2` or `http/1.1`.
    alpn: String,
}

/// Watch handshakes and closes as they happen
///
/// Server-sent events `established` and `closed` with the connection as data. A client
/// that reads too slowly gets an event `lagged` with how many it was not sent.
#[utoipa::path(
    get, path = "/v1/events", tag = "history", operation_id = "watchEvents",
    params(WatchParams),
    responses(
        (status = 200, description = "Data of each event", body = types::Connection, content_type = "text/event-stream"),
        (status = 400, description = "The selector makes no sense", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn watch(
    State(operations): State<Operations>,
    Params(params): Params<WatchParams>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let WatchParams {
        server_name,
        peer,
        listener,
        alpn,
    } = params;
    let selector = Some(v1::Selector {
        server_name,
        peer,
        listener,
        alpn,
        ..Default::default()
    });
    let watched = operations.watch_events(v1::WatchEventsRequest { selector })?;
    let events = stream::unfold(watched, async |mut watched| {
        let event = watched.next().await?;
        Some((Ok(shown(&event)), watched))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn shown(event: &v1::Event) -> Event {
    let named = Event::default().event(&event.kind);
    let data = match &event.connection {
        Some(connection) => {
            serde_json::to_string(&types::Connection::from_wire(connection.clone()))
        }
        None => serde_json::to_string(&Lagged { lost: event.lost }),
    };
    // Structs of numbers and text serialize always.
    named.data(data.unwrap_or_default())
}
