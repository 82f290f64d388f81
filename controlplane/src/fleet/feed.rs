//! What a dataplane is to be sent next. Pure: `control` asks after every change.
//!
//! A snapshot is in flight until it is answered, and meanwhile newer ones are passed
//! over, so a slow dataplane goes from the one that it has to the newest. Addresses of
//! backends follow the snapshot that names them, and then come one backend at a time as
//! they change.

use std::collections::BTreeMap;

use tidegate_proto::v1::{self, session_down::Message};

use super::publish::Published;

/// What one dataplane was sent.
#[derive(Default)]
pub(super) struct Feed {
    gateway: String,
    version: Option<String>,
    in_flight: bool,
    /// The snapshot was not taken, so who knows what became of the addresses after it.
    distrusted: bool,
    endpoints: BTreeMap<String, v1::Endpoints>,
}

impl Feed {
    /// For a dataplane that serves `gateway`; empty: all Gateways.
    pub(super) fn new(gateway: String) -> Self {
        Self {
            gateway,
            ..Self::default()
        }
    }

    /// Messages to send now, in order. They count as sent.
    pub(super) fn advance(&mut self, published: &Published) -> Vec<Message> {
        let Some(snapshot) = published.snapshot(&self.gateway) else {
            return vec![];
        };
        let mut messages = Vec::new();
        if self.version.as_ref() != Some(&snapshot.version) {
            if self.in_flight {
                return messages;
            }
            self.version = Some(snapshot.version.clone());
            self.in_flight = true;
            // A backend that is named again later is sent again.
            let trusted = !std::mem::take(&mut self.distrusted);
            self.endpoints.retain(|id, _| {
                trusted && snapshot.backends.iter().any(|backend| backend.id == *id)
            });
            messages.push(Message::Snapshot(snapshot.clone()));
        }
        for endpoints in published.endpoints_of(snapshot) {
            if self.endpoints.get(&endpoints.backend_id) != Some(&endpoints) {
                self.endpoints
                    .insert(endpoints.backend_id.clone(), endpoints.clone());
                messages.push(Message::Endpoints(endpoints));
            }
        }
        messages
    }

    /// The version in flight, if one is.
    pub(super) fn in_flight(&self) -> Option<&str> {
        self.version.as_deref().filter(|_| self.in_flight)
    }

    /// A version was taken, or refused.
    pub(super) fn answered(&mut self, version: &str, taken: bool) {
        if self.version.as_deref() == Some(version) {
            self.in_flight = false;
            self.distrusted = !taken;
        }
    }

    /// No answer to what is in flight is awaited any more.
    pub(super) fn give_up(&mut self) {
        self.in_flight = false;
        self.distrusted = true;
    }
}

#[cfg(test)]
mod tests;
