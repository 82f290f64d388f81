//! HTTPRoutes: which listeners they attach to, and their rules.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_proto::v1;

use super::{
    Fault,
    backend::Backends,
    created_at,
    gateway::GatewayPlan,
    hostname,
    parent::{self, Child, Parent},
    rule,
};
use crate::{
    gateway_api::{HTTPRoute, ParentReference},
    resources::{Entry, ObjectKey, Resources},
};

/// What became of a route.
pub(super) struct RoutePlan<'a> {
    pub key: ObjectKey,
    pub entry: &'a Entry<HTTPRoute>,
    /// One for each parent that is Tidegate's to judge, in the route's order.
    pub parents: Vec<ParentPlan<'a>>,
    /// Why none of it is accepted.
    pub refused: Option<Fault>,
    /// Why some of its rules are not in service as written.
    pub partial: Vec<Fault>,
    pub unresolved: Vec<Fault>,
    pub ignored: Vec<String>,
    /// Listeners in service that it serves, with host names.
    pub attachments: BTreeMap<String, BTreeSet<String>>,
    pub rules: Vec<v1::Rule>,
    /// Services that it refers to.
    pub services: BTreeSet<ObjectKey>,
}

/// What became of one `parentRef`.
pub(super) struct ParentPlan<'a> {
    pub reference: &'a ParentReference,
    /// The Gateway that it leads to, if any.
    pub gateway: Option<ObjectKey>,
    /// Why it is not attached there.
    pub refused: Option<Fault>,
}

/// Judges a route and counts it at the listeners that it attaches to.
pub(super) fn plan<'a>(
    resources: &Resources,
    gateways: &mut BTreeMap<ObjectKey, GatewayPlan<'_>>,
    backends: &mut Backends<'_>,
    key: &ObjectKey,
    entry: &'a Entry<HTTPRoute>,
) -> RoutePlan<'a> {
    let spec = &entry.object.spec;
    let mut plan = RoutePlan {
        key: key.clone(),
        entry,
        parents: Vec::new(),
        refused: None,
        partial: Vec::new(),
        unresolved: Vec::new(),
        ignored: Vec::new(),
        attachments: BTreeMap::new(),
        rules: Vec::new(),
        services: BTreeSet::new(),
    };
    let child = Child {
        kind: "HTTPRoute",
        namespace: &key.namespace,
        from_file: !entry.source.is_empty(),
    };
    // A route of other controllers' Gateways is not looked at further.
    let parents: Vec<_> = spec
        .parent_refs
        .iter()
        .enumerate()
        .filter(|(_, reference)| parent::judges(resources, gateways, child, reference))
        .collect();
    if parents.is_empty() {
        return plan;
    }
    plan.read_rules(backends);
    if plan.refused.is_none() {
        let named = spec.hostnames.iter().enumerate();
        plan.refused = named
            .filter_map(|(index, name)| hostname::check(name).err().map(|problem| (index, problem)))
            .map(|(index, problem)| {
                Fault::unsupported(format_args!("spec.hostnames[{index}]"), problem)
            })
            .next();
        if plan.refused.is_some() {
            plan.rules.clear();
        }
    }
    let mut counted = BTreeSet::new();
    for (index, reference) in parents {
        let found = parent::find(resources, gateways, child, reference, index);
        let gateway = found.as_ref().ok().map(|parent| parent.gateway.clone());
        let refused = found
            .and_then(|parent| plan.attach(gateways, &parent, index, &mut counted))
            .err();
        plan.parents.push(ParentPlan {
            reference,
            gateway,
            refused,
        });
    }
    plan
}

impl RoutePlan<'_> {
    fn read_rules(&mut self, backends: &mut Backends<'_>) {
        let default = [Default::default()];
        let rules = self.entry.object.spec.rules.as_deref().unwrap_or(&default);
        let mut sound = 0;
        for (index, spec) in rules.iter().enumerate() {
            let rule = rule::plan(
                backends,
                &self.key.namespace,
                spec,
                &format!("spec.rules[{index}]"),
            );
            self.unresolved.extend(rule.unresolved);
            self.ignored.extend(rule.ignored);
            self.services.extend(rule.services);
            let outcome = if rule.rule.is_some() {
                "its requests get 500"
            } else {
                "the rule matches nothing"
            };
            if let Some(fault) = rule.refused {
                let message = format!("{} ({outcome})", fault.message);
                self.partial.push(Fault { message, ..fault });
            } else {
                sound += 1;
            }
            let shares = rule.partial.into_iter();
            self.partial.extend(shares.map(|fault| Fault {
                message: format!("{} (its share of requests gets 500)", fault.message),
                ..fault
            }));
            self.rules.extend(rule.rule);
        }
        if sound == 0
            && let Some(first) = self.partial.first()
        {
            let message = super::fault::summary(&self.partial);
            self.refused = Some(Fault::new(first.reason, message));
            self.partial.clear();
        }
    }

    /// Attaches the route to the listeners that a parent reference leads to.
    fn attach(
        &mut self,
        gateways: &mut BTreeMap<ObjectKey, GatewayPlan<'_>>,
        parent: &Parent,
        index: usize,
        counted: &mut BTreeSet<String>,
    ) -> Result<(), Fault> {
        let listeners = gateways
            .get_mut(&parent.gateway)
            .map(|one| &mut one.listeners);
        let mut attached = false;
        for (_, listener) in listeners
            .into_iter()
            .flatten()
            .enumerate()
            .filter(|(at, _)| parent.listeners.contains(at))
        {
            let names = hostnames(listener.hostname(), &self.entry.object.spec.hostnames);
            if names.is_empty() {
                continue;
            }
            attached = true;
            if self.refused.is_none() && counted.insert(listener.id.clone()) {
                listener.attached += 1;
            }
            if listener.config.is_some() {
                self.attachments
                    .entry(listener.id.clone())
                    .or_default()
                    .extend(names);
            }
        }
        if attached {
            return Ok(());
        }
        Err(Fault::new(
            "NoMatchingListenerHostname",
            format!(
                "spec.hostnames: none is a host name of the listeners of {} that spec.parentRefs[{index}] \
                 selects; change either",
                parent.label
            ),
        ))
    }

    /// The route in the dataplane's form, with those attachments that `keep` says.
    pub(super) fn message(&self, keep: impl Fn(&str) -> bool) -> Option<v1::Route> {
        let kept = self
            .attachments
            .iter()
            .filter(|(listener, _)| keep(listener));
        let attachments: Vec<_> = kept
            .map(|(listener_id, names)| v1::Attachment {
                listener_id: listener_id.clone(),
                hostnames: names.iter().cloned().collect(),
            })
            .collect();
        (!attachments.is_empty() && !self.rules.is_empty()).then(|| v1::Route {
            id: format!("HTTPRoute/{}", self.key),
            created_at_seconds: created_at(&self.entry.object.metadata),
            attachments,
            rules: self.rules.clone(),
        })
    }
}

/// The names that a listener and a route share; `*` for any.
fn hostnames(listener: &str, route: &[String]) -> BTreeSet<String> {
    if route.is_empty() {
        let any = if listener.is_empty() { "*" } else { listener };
        return BTreeSet::from([any.to_owned()]);
    }
    route
        .iter()
        .filter_map(|name| hostname::intersection(listener, name))
        .collect()
}
