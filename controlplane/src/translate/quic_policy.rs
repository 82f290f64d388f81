//! QUICPolicies: which listeners each is for, and which one is in force where several are.
//!
//! A policy for one listener goes before one for its ListenerSet, and that before one for
//! the Gateway; of those for the same thing, the older is in force. Retry is a port's
//! ([`retry`]): of the policies on a port's listeners, the first in that order that says
//! something of it has the say for all of them.

mod retry;
mod settings;

use std::collections::BTreeMap;

use tidegate_proto::v1;

use self::settings::Settings;
use super::{Fault, created_at, gateway::GatewayPlan, listener::ListenerPlan};
use crate::{
    gateway_api::{GROUP, Listener, ParentReference},
    policy::{QUICPolicy, QuicPolicyTarget},
    resources::{Entry, ObjectKey, Resources},
};

/// What became of a policy.
pub(super) struct QuicPolicyPlan<'a> {
    pub key: ObjectKey,
    pub entry: &'a Entry<QUICPolicy>,
    /// What it is attached to, each with why it is not in force there.
    pub targets: Vec<(ParentReference, Option<Fault>)>,
}

/// A Gateway, a ListenerSet, or one listener of either. In order of precedence from the
/// last to the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Gateway(ObjectKey),
    ListenerSet(ObjectKey),
    GatewayListener(ObjectKey, String),
    SetListener(ObjectKey, String),
}

/// The policy that is in force on a target.
struct Claim {
    /// Index in order of age.
    policy: usize,
    /// Index in the policy's targets.
    target: usize,
}

/// Puts the policies into the listeners of `gateways`.
pub(super) fn apply<'a>(
    resources: &'a Resources,
    gateways: &mut BTreeMap<ObjectKey, GatewayPlan<'_>>,
) -> Vec<QuicPolicyPlan<'a>> {
    let mut by_age: Vec<_> = resources.quic_policies.iter().collect();
    by_age.sort_by_key(|(key, entry)| (created_at(&entry.object.metadata), *key));
    let mut plans: Vec<QuicPolicyPlan<'a>> = Vec::new();
    let mut in_force: Vec<Settings> = Vec::new();
    let mut claims = BTreeMap::<Target, Claim>::new();
    for (policy, (key, entry)) in by_age.into_iter().enumerate() {
        let mut plan = QuicPolicyPlan {
            key: key.clone(),
            entry,
            targets: Vec::new(),
        };
        let settings = settings::read(&entry.object.spec);
        for (index, reference) in entry.object.spec.target_refs.iter().enumerate() {
            let field = format!("spec.targetRefs[{index}]");
            let target = match find(resources, gateways, key, reference, &field) {
                Ok(Some(target)) => Ok(target),
                Ok(None) => continue,
                Err(fault) => Err(fault),
            };
            let fault = match (target, &settings) {
                (Err(fault), _) => Some(fault),
                (Ok(_), Err(fault)) => Some(fault.clone()),
                (Ok(target), Ok(_)) => match claims.get(&target) {
                    Some(claim) if claim.policy != policy => {
                        let older = &plans[claim.policy].key;
                        Some(Fault::new(
                            "Conflicted",
                            format!(
                                "{field}: the older QUICPolicy {older} has the same target; remove one of the two"
                            ),
                        ))
                    }
                    Some(_) => None,
                    None => {
                        let claim = Claim {
                            policy,
                            target: plan.targets.len(),
                        };
                        claims.insert(target, claim);
                        None
                    }
                },
            };
            plan.targets.push((ancestor(key, reference), fault));
        }
        in_force.push(settings.unwrap_or_default());
        plans.push(plan);
    }
    for gateway in gateways.values_mut() {
        let outvoted = apply_to(gateway, &claims, &in_force);
        for (loser, winner, port) in outvoted {
            let claim = &claims[&loser];
            let message = format!(
                "spec.targetRefs[{}]: a Retry is sent before it is known which listener a client means; on port \
                 {port}, which its listener shares, the older QUICPolicy {} has the say; remove retry from one of \
                 the two, or use another port",
                claim.target, plans[claims[&winner].policy].key
            );
            let fault = &mut plans[claim.policy].targets[claim.target].1;
            match fault {
                Some(fault) => fault.message = format!("{}; {message}", fault.message),
                none => *none = Some(Fault::new("Conflicted", message)),
            }
        }
    }
    plans
}

/// The target that is meant; none if it is not Tidegate's.
fn find(
    resources: &Resources,
    gateways: &BTreeMap<ObjectKey, GatewayPlan<'_>>,
    policy: &ObjectKey,
    reference: &QuicPolicyTarget,
    field: &str,
) -> Result<Option<Target>, Fault> {
    let QuicPolicyTarget {
        group,
        kind,
        name,
        section_name,
    } = reference;
    let key = ObjectKey::new(&policy.namespace, name);
    let not_found = |problem: String| Fault::new("TargetNotFound", format!("{field}{problem}"));
    let listeners: Option<(&[Listener], bool)> = match (group.as_str(), kind.as_str()) {
        (GROUP, "Gateway") => resources.gateways.get(&key).map(|entry| {
            (
                entry.object.spec.listeners.as_slice(),
                gateways.contains_key(&key),
            )
        }),
        (GROUP, "ListenerSet") => resources.listener_sets.get(&key).map(|entry| {
            let parent = &entry.object.spec.parent_ref;
            let namespace = parent.namespace.as_ref().unwrap_or(&key.namespace);
            let ours = gateways.contains_key(&ObjectKey::new(namespace, &parent.name));
            (entry.object.spec.listeners.as_slice(), ours)
        }),
        _ => {
            return Err(Fault::new(
                "Invalid",
                format!(
                    "{field}: kind {kind} of group `{group}` is not supported; refer to a Gateway or a ListenerSet \
                     of {GROUP}"
                ),
            ));
        }
    };
    let Some((listeners, ours)) = listeners else {
        return Err(not_found(format!(
            ".name: there is no {kind} {key}; create it, or correct the name"
        )));
    };
    if !ours {
        return Ok(None);
    }
    let is_gateway = kind == "Gateway";
    Ok(Some(
        match section_name.clone().filter(|name| !name.is_empty()) {
            None if is_gateway => Target::Gateway(key),
            None => Target::ListenerSet(key),
            Some(section) if !listeners.iter().any(|listener| listener.name == section) => {
                return Err(not_found(format!(
                    ".sectionName: {kind} {key} has no listener {section}; correct the name"
                )));
            }
            Some(section) if is_gateway => Target::GatewayListener(key, section),
            Some(section) => Target::SetListener(key, section),
        },
    ))
}

fn ancestor(policy: &ObjectKey, reference: &QuicPolicyTarget) -> ParentReference {
    ParentReference {
        group: Some(reference.group.clone()),
        kind: Some(reference.kind.clone()),
        namespace: Some(policy.namespace.clone()),
        name: reference.name.clone(),
        section_name: reference.section_name.clone(),
        port: None,
    }
}

/// A target, the one that has the say instead, and the port.
type Outvoted = (Target, Target, u32);

fn apply_to(
    gateway: &mut GatewayPlan<'_>,
    claims: &BTreeMap<Target, Claim>,
    in_force: &[Settings],
) -> Vec<Outvoted> {
    let key = gateway.key.clone();
    let settings = |target: &Target| &in_force[claims[target].policy];
    // By port, the targets of policies on listeners with HTTP/3.
    let mut ports = BTreeMap::<u32, Vec<Target>>::new();
    for plan in &mut gateway.listeners {
        let target = targets(&key, plan)
            .into_iter()
            .find(|target| claims.contains_key(target));
        let Some(config) = plan.config.as_mut() else {
            continue;
        };
        if config.protocol() != v1::Protocol::Https {
            continue;
        }
        if let Some(target) = &target {
            settings(target).put_http3(config);
        }
        if config.http3.is_some() {
            let targets = ports.entry(config.port).or_default();
            if let Some(target) = target {
                settings(&target).put_transport(config.quic.get_or_insert_default());
                targets.push(target);
            }
        }
    }
    let breadth = |target: &Target| match target {
        Target::Gateway(_) => 2,
        Target::ListenerSet(_) => 1,
        Target::GatewayListener(..) | Target::SetListener(..) => 0,
    };
    let mut outvoted = Vec::new();
    for (port, mut targets) in ports {
        targets.sort_by_key(|target| (breadth(target), claims[target].policy));
        targets.dedup();
        let said = targets
            .iter()
            .filter_map(|target| Some((target, settings(target).retry?)));
        let said = retry::Claims(said.collect());
        let lost = said.outvoted(breadth).into_iter();
        outvoted.extend(lost.map(|(loser, winner)| (loser, winner, port)));
        let mut configs: Vec<_> = gateway
            .listeners
            .iter_mut()
            .filter_map(|plan| plan.config.as_mut())
            .filter(|config| config.port == port && config.http3.is_some())
            .collect();
        let options = configs
            .iter()
            .filter_map(|config| Some(config.quic.as_ref()?.retry()));
        let chosen = said.chosen().unwrap_or(retry::of_options(options));
        for config in &mut configs {
            if chosen != v1::RetryMode::Unspecified || config.quic.is_some() {
                config.quic.get_or_insert_default().set_retry(chosen);
            }
        }
    }
    outvoted
}

/// What a policy for this listener may be attached to, the first to be preferred.
fn targets(gateway: &ObjectKey, plan: &ListenerPlan<'_>) -> Vec<Target> {
    let section = plan.spec.name.clone();
    let mut targets = match plan.set.clone() {
        Some(set) => vec![
            Target::SetListener(set.clone(), section),
            Target::ListenerSet(set),
        ],
        None => vec![Target::GatewayListener(gateway.clone(), section)],
    };
    targets.push(Target::Gateway(gateway.clone()));
    targets
}
