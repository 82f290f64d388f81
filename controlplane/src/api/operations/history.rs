//! Connections that ended, and those that come and go.

use std::sync::Arc;

use tidegate_proto::v1;

use super::{Operations, page_size};
use crate::{
    api::failure::Failure,
    fleet::{EventStream, Seen},
    selector::Selector,
    store::Query,
};

/// Events that one client asked for.
pub(crate) struct Watched {
    events: EventStream,
    selector: Selector,
}

impl Operations {
    /// A page of the history, newest first.
    pub(crate) async fn list_audit(
        &self,
        request: v1::ListAuditRequest,
    ) -> Result<v1::ListAuditResponse, Failure> {
        let query = Query {
            selector: Selector::parse(request.selector.unwrap_or_default())?,
            connection_id: Some(request.connection_id).filter(|id| !id.is_empty()),
            before: request.before,
            limit: page_size(request.limit)?,
        };
        Ok(self.store.page(&query).await?)
    }

    /// Handshakes and closes from now on.
    pub(crate) fn watch_events(&self, request: v1::WatchEventsRequest) -> Result<Watched, Failure> {
        let selector = Selector::parse(request.selector.unwrap_or_default())?;
        Ok(Watched {
            events: self.fleet.events(),
            selector,
        })
    }
}

impl Watched {
    /// The next one that matches, or how many of all were lost. `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Arc<v1::Event>> {
        loop {
            match self.events.next().await? {
                Seen::Lost(lost) => {
                    let event = v1::Event {
                        kind: "lagged".into(),
                        connection: None,
                        lost,
                    };
                    return Some(Arc::new(event));
                }
                Seen::Event(event) => {
                    let matches = |connection| self.selector.matches(connection);
                    if event.connection.as_ref().is_some_and(matches) {
                        return Some(event);
                    }
                }
            }
        }
    }
}
