//! What has to be done, from what there should be and what there is.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Rendered, label};
use crate::resources::ObjectKey;

/// Gateways that cannot be provisioned, and why.
pub type Failures = BTreeMap<ObjectKey, String>;

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) kind: Kind,
    pub(super) key: ObjectKey,
}

impl Id {
    pub(super) fn of(rendered: &Rendered) -> Self {
        Self {
            kind: rendered.kind,
            key: ObjectKey::new(&rendered.namespace, &rendered.name),
        }
    }
}

/// An object of ours that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Present {
    pub(super) uid: String,
    /// Name of the Gateway that owns it.
    pub(super) gateway: String,
    /// Its class, in the form of a label.
    pub(super) class: String,
    /// Of what was last applied.
    pub(super) hash: String,
}

/// What is to be done for one Gateway.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Work<'a> {
    pub(super) apply: Vec<&'a Rendered>,
    /// With the uid, so that only that one is deleted.
    pub(super) delete: Vec<(Id, String)>,
}

/// What `wanted` needs that is not `present`, by Gateway. With `anew`, everything that is
/// wanted is applied again, because somebody may have changed it.
pub(super) fn work<'a>(
    wanted: &'a BTreeMap<ObjectKey, Vec<Rendered>>,
    present: &BTreeMap<Id, Present>,
    anew: bool,
) -> BTreeMap<ObjectKey, Work<'a>> {
    let mut all = BTreeMap::<_, Work<'a>>::new();
    for (gateway, objects) in wanted {
        let apply: Vec<_> = objects
            .iter()
            .filter(|object| {
                let found = present.get(&Id::of(object));
                anew || found
                    .is_none_or(|found| found.hash != object.hash || found.gateway != gateway.name)
            })
            .collect();
        if !apply.is_empty() {
            all.entry(gateway.clone()).or_default().apply = apply;
        }
    }
    for (id, found) in present {
        let gateway = ObjectKey::new(&id.key.namespace, &found.gateway);
        let Some(objects) = wanted.get(&gateway) else {
            continue;
        };
        // Without a port there is no Service to be made, but the address is kept.
        let is_kept = |object: &Rendered| {
            object.name == id.key.name && (object.kind == id.kind || id.kind == Kind::Service)
        };
        if !objects.iter().any(is_kept) {
            let work = all.entry(gateway).or_default();
            work.delete.push((id.clone(), found.uid.clone()));
        }
    }
    all
}

/// Gateways that own something and are not wanted.
pub(super) fn orphans(
    wanted: &BTreeMap<ObjectKey, Vec<Rendered>>,
    present: &BTreeMap<Id, Present>,
) -> BTreeSet<ObjectKey> {
    present
        .iter()
        .map(|(id, found)| ObjectKey::new(&id.key.namespace, &found.gateway))
        .filter(|gateway| !wanted.contains_key(gateway))
        .collect()
}

/// What an orphan owns no longer, now that its class is `class`. A Gateway that is only
/// refused is of the same class, and its data planes serve on.
pub(super) fn abandoned(
    gateway: &ObjectKey,
    class: &str,
    present: &BTreeMap<Id, Present>,
) -> Vec<(Id, String)> {
    let class = label(class);
    present
        .iter()
        .filter(|(id, found)| {
            id.key.namespace == gateway.namespace
                && found.gateway == gateway.name
                && found.class != class
        })
        .map(|(id, found)| (id.clone(), found.uid.clone()))
        .collect()
}
