//! Listeners that cannot be told apart.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fault, listener::ListenerPlan};
use crate::gateway_api::Listener;

/// The listeners of one list, by index, that conflict with another of it. None of them
/// wins: which was meant cannot be known. Those that `out` says are out already, and harm
/// no other.
pub(super) fn conflicts(
    listeners: &[Listener],
    out: impl Fn(usize) -> bool,
) -> BTreeMap<usize, Fault> {
    let mut by_port: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for (index, listener) in listeners.iter().enumerate() {
        if is_served(listener) && !out(index) {
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
                protocol_conflict(
                    index,
                    port,
                    &format!("has another protocol in {rivals}; use one protocol for a port"),
                )
            } else {
                let rivals =
                    rivals(&|other| other.hostname.as_deref().unwrap_or_default() == hostname);
                if rivals.is_empty() {
                    continue;
                }
                hostname_conflict(index, listener, &rivals)
            };
            faults.insert(index, fault);
        }
    }
    faults
}

/// What the listeners that go first have taken: those of the Gateway, then those of its
/// ListenerSets, the older first.
#[derive(Default)]
pub(super) struct Claims {
    by_port: BTreeMap<i32, Claim>,
}

#[derive(Default)]
struct Claim {
    protocols: BTreeSet<String>,
    /// With whose they are.
    hostnames: BTreeMap<String, &'static str>,
}

impl Claims {
    pub(super) fn add(&mut self, listener: &Listener, owner: &'static str) {
        if !is_served(listener) {
            return;
        }
        let claim = self.by_port.entry(listener.port).or_default();
        claim.protocols.insert(listener.protocol.clone());
        let hostname = listener.hostname.clone().unwrap_or_default();
        claim.hostnames.entry(hostname).or_insert(owner);
    }

    /// Why a listener of a ListenerSet cannot have what it asks for. Whose it is instead is
    /// told in general only: the owner of the one need not see into the other.
    pub(super) fn conflict(&self, index: usize, listener: &Listener) -> Option<Fault> {
        if !is_served(listener) {
            return None;
        }
        let claim = self.by_port.get(&listener.port)?;
        let other = claim
            .protocols
            .iter()
            .find(|protocol| **protocol != listener.protocol);
        if let Some(other) = other {
            let problem = format!("is one for {other} at this Gateway; use another port");
            return Some(protocol_conflict(index, listener.port, &problem));
        }
        let owner = claim
            .hostnames
            .get(listener.hostname.as_deref().unwrap_or_default())?;
        Some(hostname_conflict(index, listener, owner))
    }
}

/// Marks the TCP and UDP listeners whose port is taken by one that is served. They are not
/// served anyway; but whoever wrote them should know that support would not help.
pub(super) fn mark_collisions(listeners: &mut [ListenerPlan<'_>]) {
    // By port, whether UDP is taken as well.
    let mut taken: BTreeMap<i32, bool> = BTreeMap::new();
    for plan in listeners.iter().filter(|plan| plan.refused.is_none()) {
        let http3 = plan
            .config
            .as_ref()
            .is_some_and(|config| config.http3.is_some());
        *taken.entry(plan.spec.port).or_default() |= http3;
    }
    for plan in listeners {
        let Some(http3) = taken.get(&plan.spec.port) else {
            continue;
        };
        let by = match plan.spec.protocol.as_str() {
            "TCP" => "HTTP",
            "UDP" if *http3 => "HTTP/3",
            _ => continue,
        };
        let problem = format!("is taken by {by}; use another port");
        let fault = protocol_conflict(plan.index, plan.spec.port, &problem);
        match &mut plan.refused {
            Some(refused) if plan.set.is_none() => {
                refused.message = format!("{}; {}", refused.message, fault.message);
            }
            refused => *refused = Some(fault.clone()),
        }
        plan.conflict = Some(fault);
    }
}

fn is_served(listener: &Listener) -> bool {
    matches!(listener.protocol.as_str(), "HTTP" | "HTTPS")
}

fn protocol_conflict(index: usize, port: i32, problem: &str) -> Fault {
    Fault::new(
        "ProtocolConflict",
        format!("spec.listeners[{index}].protocol: port {port} {problem}"),
    )
}

fn hostname_conflict(index: usize, listener: &Listener, rivals: &str) -> Fault {
    let hostname = listener.hostname.as_deref().unwrap_or_default();
    Fault::new(
        "HostnameConflict",
        format!(
            "spec.listeners[{index}].hostname: `{hostname}` on port {} is also that of {rivals}; give each its own",
            listener.port
        ),
    )
}
