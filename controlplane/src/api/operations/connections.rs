//! Live connections: listed, looked into, closed. Each is asked of the dataplane that
//! its id names; there is no table of connections here.

use futures_util::future::join_all;
use tidegate_proto::{
    ConnectionId,
    v1::{self, command::Kind as Command, command_reply::Kind as Reply},
};

use super::{Operations, page_size};
use crate::{api::failure::Failure, fleet::CommandFailure, selector::Selector};

/// Longest reason phrase of a close, bytes.
const LONGEST_REASON: usize = 256;
/// Largest error code: a QUIC variable-length integer (RFC 9000 16).
const LARGEST_CODE: u64 = (1 << 62) - 1;
/// RFC 9114 8.1.
const H3_NO_ERROR: u64 = 0x100;

impl Operations {
    /// A page of the live connections of all dataplanes, in order of id.
    ///
    /// Ids sort by dataplane first, so those before the one in `after` are not asked.
    pub(crate) async fn list_connections(
        &self,
        request: v1::ListConnections,
    ) -> Result<v1::ConnectionList, Failure> {
        let selector = Selector::parse(request.selector.unwrap_or_default())?.to_wire();
        let limit = page_size(request.limit)?;
        let after = match &request.after[..] {
            "" => None,
            after => Some(parse_id(after)?),
        };
        let first = after.as_ref().map_or("", |after| &after.dataplane);
        let asked = self
            .dataplane_ids()
            .into_iter()
            .filter(|id| &id[..] >= first);
        let pages = join_all(asked.map(|id| {
            let after = if id == first {
                request.after.clone()
            } else {
                String::new()
            };
            let list = v1::ListConnections {
                selector: Some(selector.clone()),
                limit,
                after,
            };
            async move { self.fleet.command(&id, Command::List(list)).await }
        }));
        let (mut connections, mut more) = (Vec::new(), false);
        for page in pages.await {
            match page {
                Ok(Reply::Connections(page)) => {
                    more |= !page.next.is_empty();
                    connections.extend(page.connections);
                }
                Ok(_) => return Err(unexpected()),
                // Its connections are gone with it.
                Err(CommandFailure::UnknownDataplane(_)) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        connections.sort_by_cached_key(|connection| connection.id.parse::<ConnectionId>().ok());
        more |= connections.len() > limit as usize;
        connections.truncate(limit as usize);
        let last = connections.last().filter(|_| more);
        Ok(v1::ConnectionList {
            next: last.map_or_else(String::new, |c| c.id.clone()),
            connections,
        })
    }

    /// One connection, whole, as it is now.
    pub(crate) async fn connection(&self, id: &str) -> Result<v1::Connection, Failure> {
        let dataplane = parse_id(id)?.dataplane;
        match self
            .fleet
            .command(&dataplane, Command::Show(id.to_owned()))
            .await?
        {
            Reply::Connection(connection) => Ok(connection),
            _ => Err(unexpected()),
        }
    }

    /// Closes one connection; one that has ended already is not found.
    pub(crate) async fn close_connection(
        &self,
        request: v1::CloseConnection,
    ) -> Result<v1::Closed, Failure> {
        let id = request.connection_id;
        let dataplane = parse_id(&id)?.dataplane;
        let behaviour = Some(checked(request.behaviour)?);
        let close = v1::CloseConnection {
            connection_id: id.clone(),
            behaviour,
        };
        match self
            .fleet
            .command(&dataplane, Command::Close(close))
            .await?
        {
            Reply::Closed(v1::Closed { count: 0 }) => {
                Err(Failure::NotFound(format!("connection `{id}` has ended")))
            }
            Reply::Closed(closed) => Ok(closed),
            _ => Err(unexpected()),
        }
    }

    /// Closes every connection that the selector means, on all dataplanes.
    pub(crate) async fn close_connections(
        &self,
        request: v1::CloseSelected,
    ) -> Result<v1::Closed, Failure> {
        let selector = Selector::parse(request.selector.unwrap_or_default())?;
        if selector.is_empty() {
            let detail = "selector: at least one field must be set; to end all connections, \
                          drain the dataplane";
            return Err(Failure::Invalid(detail.into()));
        }
        let behaviour = Some(checked(request.behaviour)?);
        let replies = join_all(self.dataplane_ids().into_iter().map(|id| {
            let selector = Some(selector.to_wire());
            let close = v1::CloseSelected {
                selector,
                behaviour: behaviour.clone(),
            };
            async move { self.fleet.command(&id, Command::CloseSelected(close)).await }
        }));
        let (mut count, mut failed) = (0, None);
        for reply in replies.await {
            match reply {
                Ok(Reply::Closed(closed)) => count += closed.count,
                Ok(_) => failed = Some(unexpected()),
                Err(CommandFailure::UnknownDataplane(_)) => {}
                Err(failure) => failed = Some(failure.into()),
            }
        }
        match failed {
            None => Ok(v1::Closed { count }),
            Some(Failure::Timeout(detail)) => Err(Failure::Timeout(format!(
                "{detail}; {count} connections were closed on the other dataplanes"
            ))),
            Some(failure) => Err(failure),
        }
    }

    pub(super) fn dataplane_ids(&self) -> Vec<String> {
        let hellos = self
            .fleet
            .dataplanes()
            .into_iter()
            .filter_map(|dataplane| dataplane.hello);
        hellos.map(|hello| hello.dataplane_id).collect()
    }
}

/// Without a behaviour, an HTTP/3 connection is told that nothing is wrong.
fn checked(
    behaviour: Option<v1::ConnectionShutdownBehaviour>,
) -> Result<v1::ConnectionShutdownBehaviour, Failure> {
    let behaviour = behaviour.unwrap_or(v1::ConnectionShutdownBehaviour {
        send_application_close: true,
        error_code: H3_NO_ERROR,
        reason: String::new(),
    });
    if behaviour.error_code > LARGEST_CODE {
        return Err(Failure::Invalid(format!(
            "error_code: at most {LARGEST_CODE}"
        )));
    }
    if behaviour.reason.len() > LONGEST_REASON {
        return Err(Failure::Invalid(format!(
            "reason: at most {LONGEST_REASON} bytes"
        )));
    }
    Ok(behaviour)
}

pub(super) fn parse_id(id: &str) -> Result<ConnectionId, Failure> {
    id.parse::<ConnectionId>()
        .map_err(|invalid| Failure::Invalid(invalid.to_string()))
}

pub(super) fn unexpected() -> Failure {
    Failure::BadReply("a dataplane answered something else than was asked".into())
}
