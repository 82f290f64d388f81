//! ListenerSets: whether a Gateway takes them, and in which order.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Fault, allowed, created_at, gateway::GatewayPlan, listener_options::PREFIX};
use crate::{
    gateway_api::{GROUP, ListenerSet, ParentGatewayReference},
    resources::{Entry, ObjectKey, Resources},
};

/// What became of a ListenerSet.
pub(super) struct ListenerSetPlan<'a> {
    pub key: ObjectKey,
    pub entry: &'a Entry<ListenerSet>,
    /// Why it adds nothing to the Gateway.
    pub refused: Option<Fault>,
    /// Where its listeners are among those of the Gateway.
    pub listeners: Range<usize>,
}

/// The ListenerSets by the Gateway that they name, whether it is there or not; those that
/// go first, first.
pub(super) struct ByGateway<'a>(BTreeMap<ObjectKey, Vec<(&'a ObjectKey, &'a Entry<ListenerSet>)>>);

impl<'a> ByGateway<'a> {
    pub(super) fn read(resources: &'a Resources) -> Self {
        let mut sets: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, entry) in &resources.listener_sets {
            if let Some(gateway) = gateway_of(key, &entry.object.spec.parent_ref) {
                sets.entry(gateway).or_default().push((key, entry));
            }
        }
        for sets in sets.values_mut() {
            sets.sort_by_key(|(key, entry)| (created_at(&entry.object.metadata), *key));
        }
        Self(sets)
    }

    /// Those of a Gateway, without their listeners yet.
    pub(super) fn plan(
        &self,
        resources: &Resources,
        gateway: &GatewayPlan<'_>,
    ) -> Vec<ListenerSetPlan<'a>> {
        let named = self.0.get(&gateway.key).map(Vec::as_slice);
        let plans = named.unwrap_or_default().iter().map(|(key, entry)| {
            let refused = check(resources, gateway, key, entry).err();
            ListenerSetPlan {
                key: (*key).clone(),
                entry,
                refused,
                listeners: 0..0,
            }
        });
        plans.collect()
    }
}

/// The Gateway that a ListenerSet names, unless it names another kind.
pub(super) fn gateway_of(set: &ObjectKey, parent: &ParentGatewayReference) -> Option<ObjectKey> {
    let is_gateway = parent.group.as_deref().unwrap_or(GROUP) == GROUP
        && parent.kind.as_deref().unwrap_or("Gateway") == "Gateway";
    let namespace = parent.namespace.as_deref().unwrap_or(&set.namespace);
    is_gateway.then(|| ObjectKey::new(namespace, &parent.name))
}

/// By ListenerSet, the Gateway that takes it.
pub(super) fn attached(
    gateways: &BTreeMap<ObjectKey, GatewayPlan<'_>>,
) -> BTreeMap<ObjectKey, ObjectKey> {
    let mut attached = BTreeMap::new();
    for (key, gateway) in gateways {
        let sets = gateway.sets.iter().filter(|set| set.refused.is_none());
        attached.extend(sets.map(|set| (set.key.clone(), key.clone())));
    }
    attached
}

fn check(
    resources: &Resources,
    gateway: &GatewayPlan<'_>,
    key: &ObjectKey,
    entry: &Entry<ListenerSet>,
) -> Result<(), Fault> {
    let allowed = gateway.spec().allowed_listeners.as_ref();
    if !allowed::admits_set(resources, allowed, &gateway.key.namespace, &key.namespace) {
        let message = format!(
            "spec.parentRef: Gateway {} allows no ListenerSets of namespace {}; widen spec.allowedListeners there",
            gateway.key, key.namespace
        );
        return Err(Fault::new("NotAllowed", message));
    }
    let mut annotations = entry.object.metadata.annotations.iter().flatten();
    if let Some((name, _)) = annotations.find(|(name, _)| name.starts_with(PREFIX)) {
        // What was meant to narrow must not be passed over.
        let message = format!(
            "metadata.annotations[{name}]: is read from Gateways only; write it there, or under tls.options of an HTTPS listener"
        );
        return Err(Fault::new("Invalid", message));
    }
    Ok(())
}
