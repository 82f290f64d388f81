//! Listeners that cannot be told apart.

use std::collections::{BTreeMap, BTreeSet};

use super::Fault;
use crate::gateway_api::Listener;

/// The listeners of one Gateway, by index, that conflict with another. None of them wins:
/// which was meant cannot be known.
pub(super) fn conflicts(listeners: &[Listener]) -> BTreeMap<usize, Fault> {
    let mut by_port: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for (index, listener) in listeners.iter().enumerate() {
        if matches!(listener.protocol.as_str(), "HTTP" | "HTTPS") {
            by_port.entry(listener.port).or_default().push(index);
        }
    }
    let mut faults = BTreeMap::new();
    for (port, indices) in by_port {
        let protocols: BTreeSet<_> = indices.iter().map(|i| &listeners[*i].protocol).collect();
        for &index in &indices {
            let listener = &listeners[index];
            let hostname = listener.hostname.as_deref().unwrap_or_default();
            let rivals = |alike: &dyn Fn(&Listener) -> bool| {
                let names = indices
                    .iter()
                    .filter(|other| **other != index && alike(&listeners[**other]));
                names
                    .map(|other| listeners[*other].name.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let fault = if protocols.len() > 1 {
                let rivals = rivals(&|other| other.protocol != listener.protocol);
                Fault::new(
                    "ProtocolConflict",
                    format!(
                        "spec.listeners[{index}].protocol: port {port} has another protocol in {rivals}; use one protocol for a port"
                    ),
                )
            } else {
                let rivals =
                    rivals(&|other| other.hostname.as_deref().unwrap_or_default() == hostname);
                if rivals.is_empty() {
                    continue;
                }
                Fault::new(
                    "HostnameConflict",
                    format!(
                        "spec.listeners[{index}].hostname: `{hostname}` on port {port} is also that of {rivals}; give each its own"
                    ),
                )
            };
            faults.insert(index, fault);
        }
    }
    faults
}
