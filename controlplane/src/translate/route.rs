//! Routes: which listeners they attach to, and their rules.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_proto::v1;

use super::{
    Fault,
    backend::{Backends, Referrer},
    claims::Claims,
    created_at,
    gateway::GatewayPlan,
    hostname,
    listener::ListenerPlan,
    parent::{self, Child, Parent},
    route_form::RouteForm,
    rule,
};
use crate::{
    gateway_api::ParentReference,
    resources::{ObjectKey, Resources},
};

/// What became of a route.
pub(super) struct RoutePlan<'a> {
    pub form: RouteForm<'a>,
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
    /// Why it is not attached to some of the listeners there.
    pub partial: Vec<String>,
}

/// Judges a route and counts it at the listeners that it attaches to. Older routes come
/// first, for they claim host names.
pub(super) fn plan<'a>(
    resources: &Resources,
    gateways: &mut BTreeMap<ObjectKey, GatewayPlan<'_>>,
    backends: &mut Backends<'_>,
    claims: &mut Claims,
    form: RouteForm<'a>,
) -> RoutePlan<'a> {
    let mut plan = RoutePlan {
        form,
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
        kind: plan.form.kind.name(),
        namespace: &plan.form.key.namespace,
        from_file: !plan.form.source.is_empty(),
    };
    // A route of other controllers' Gateways is not looked at further.
    let references: &'a [ParentReference] = plan.form.parents;
    let parents: Vec<_> = references
        .iter()
        .enumerate()
        .filter(|(_, reference)| parent::judges(resources, gateways, child, reference))
        .collect();
    if parents.is_empty() {
        return plan;
    }
    plan.read_rules(backends);
    plan.check_hostnames();
    let mut counted = BTreeSet::new();
    for (index, reference) in parents {
        let found = parent::find(resources, gateways, child, reference, index);
        let gateway = found.as_ref().ok().map(|parent| parent.gateway.clone());
        let mut partial = Vec::new();
        let refused = found
            .and_then(|parent| {
                let listeners = gateways.get_mut(&parent.gateway);
                let listeners = listeners.into_iter().flat_map(|one| &mut one.listeners);
                partial = plan.attach(listeners, claims, &parent, index, &mut counted)?;
                Ok(())
            })
            .err();
        plan.parents.push(ParentPlan {
            reference,
            gateway,
            refused,
            partial,
        });
    }
    plan
}

impl RoutePlan<'_> {
    fn read_rules(&mut self, backends: &mut Backends<'_>) {
        let referrer = Referrer {
            kind: self.form.kind,
            namespace: &self.form.key.namespace,
        };
        let mut sound = 0;
        for (index, form) in self.form.rules.iter().enumerate() {
            let rule = rule::plan(backends, referrer, form, &format!("spec.rules[{index}]"));
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

    fn check_hostnames(&mut self) {
        if self.refused.is_some() {
            return;
        }
        let mut named = self.form.hostnames.iter().enumerate();
        let problem = named.find_map(|(index, name)| Some((index, hostname::check(name).err()?)));
        if let Some((index, problem)) = problem {
            let field = format_args!("spec.hostnames[{index}]");
            self.refused = Some(Fault::unsupported(field, problem));
            self.rules.clear();
        }
    }

    /// Attaches the route to those of `listeners` that a parent reference leads to, and
    /// tells which of them a route of another kind has.
    fn attach<'l, 'r: 'l>(
        &mut self,
        listeners: impl Iterator<Item = &'l mut ListenerPlan<'r>>,
        claims: &mut Claims,
        parent: &Parent,
        index: usize,
        counted: &mut BTreeSet<String>,
    ) -> Result<Vec<String>, Fault> {
        let listeners = listeners.enumerate();
        let selected = listeners.filter(|(at, _)| parent.listeners.binary_search(at).is_ok());
        let mut attached = false;
        let mut taken = Vec::new();
        for (_, listener) in selected {
            let names = hostnames(listener.hostname(), self.form.hostnames);
            if names.is_empty() {
                continue;
            }
            if let Some(holder) = claims.holder(&listener.id, self.form.kind, &names) {
                taken.push(format!(
                    "listener {}: the older {holder} has a host name of this route there; give one of the \
                     two another host name or listener",
                    listener.spec.name
                ));
                continue;
            }
            attached = true;
            if self.refused.is_none() {
                claims.claim(&listener.id, self.form.kind, &names, &self.form.label());
                if counted.insert(listener.id.clone()) {
                    listener.attached += 1;
                }
            }
            if listener.config.is_some() {
                self.attachments
                    .entry(listener.id.clone())
                    .or_default()
                    .extend(names);
            }
        }
        match (attached, taken.is_empty()) {
            (true, _) => Ok(taken),
            (false, false) => Err(Fault::new("HostnameConflict", taken.join("; "))),
            (false, true) => Err(Fault::new(
                "NoMatchingListenerHostname",
                format!(
                    "spec.hostnames: none is a host name of the listeners of {} that \
                     spec.parentRefs[{index}] selects; change either",
                    parent.label
                ),
            )),
        }
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
            id: format!("{}/{}", self.form.kind.name(), self.form.key),
            created_at_seconds: created_at(self.form.metadata),
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
