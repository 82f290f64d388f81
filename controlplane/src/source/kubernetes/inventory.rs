//! Everything that watches have brought, and what of it is still to be fetched. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{kind::Kind, read::Read, references::Reference};
use crate::{
    resources::{ObjectKey, Resources},
    source::{Problem, Sourced},
    status::ObservedStatuses,
};

/// What a watch says.
pub(super) enum Change {
    /// Everything of a kind that there is where it is watched.
    Listed(Watch, Vec<Read>),
    Applied(&'static Kind, Box<Read>),
    Deleted(&'static Kind, ObjectKey),
    /// Of a kind that is read on reference: the keys of all that there are.
    Present(Watch, BTreeSet<ObjectKey>),
    /// Of such a kind: an object is another one now.
    Touched(&'static Kind, ObjectKey),
}

/// A kind in one namespace; none: in all of them.
#[derive(Clone)]
pub(super) struct Watch {
    pub kind: &'static Kind,
    pub namespace: Option<Arc<str>>,
}

impl Watch {
    fn covers(&self, key: &ObjectKey) -> bool {
        self.namespace
            .as_deref()
            .is_none_or(|namespace| key.namespace == namespace)
    }

    fn name(&self) -> (&'static str, Option<Arc<str>>) {
        (self.kind.name, self.namespace.clone())
    }
}

#[derive(Default)]
pub(super) struct Inventory {
    resources: Resources,
    problems: BTreeMap<Reference, Problem>,
    /// By object, what it refers to.
    references: BTreeMap<Reference, BTreeSet<Reference>>,
    /// By what is referred to, by how many.
    wanted: BTreeMap<Reference, usize>,
    /// What is to be read, again or for the first time.
    unread: BTreeSet<Reference>,
    /// Watches that have not listed yet.
    awaited: BTreeSet<(&'static str, Option<Arc<str>>)>,
    observed: Arc<ObservedStatuses>,
    changed: bool,
}

impl Inventory {
    pub(super) fn new(watches: &[Watch], observed: Arc<ObservedStatuses>) -> Self {
        Self {
            awaited: watches.iter().map(Watch::name).collect(),
            observed,
            ..Self::default()
        }
    }

    /// Watches without which the whole is not known.
    pub(super) fn awaited(&self) -> impl Iterator<Item = &'static str> {
        self.awaited.iter().map(|(kind, _)| *kind)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Whether there is something to publish that was not taken.
    pub(super) fn has_changed(&self) -> bool {
        self.changed
    }

    /// What is to be published.
    pub(super) fn take(&mut self) -> Sourced {
        self.changed = false;
        Sourced {
            resources: self.resources.clone(),
            problems: self.problems.values().cloned().collect(),
        }
    }

    /// One reference that is to be read.
    pub(super) fn next_unread(&mut self) -> Option<Reference> {
        self.unread.pop_first()
    }

    pub(super) fn count(&self, kind: &str) -> usize {
        self.resources.count(kind)
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Listed(watch, objects) => {
                let listed: BTreeSet<_> = objects.iter().map(|read| read.key.clone()).collect();
                for key in self.known(&watch) {
                    if !listed.contains(&key) {
                        self.forget(watch.kind, &key);
                    }
                }
                for read in objects {
                    self.put(watch.kind, read);
                }
                self.complete(&watch);
            }
            Change::Applied(kind, read) => self.put(kind, *read),
            Change::Deleted(kind, key) => self.forget(kind, &key),
            Change::Present(watch, keys) => {
                let wanted: Vec<_> = self.wanted.keys().cloned().collect();
                for reference in wanted {
                    let (kind, key) = &reference;
                    if *kind != watch.kind.name || !watch.covers(key) {
                        continue;
                    }
                    if keys.contains(key) {
                        self.unread.insert(reference);
                    } else {
                        self.forget(watch.kind, key);
                    }
                }
                self.complete(&watch);
            }
            Change::Touched(kind, key) => {
                let reference = (kind.name, key);
                if self.wanted.contains_key(&reference) {
                    self.unread.insert(reference);
                }
            }
        }
    }

    /// What was read of a reference; none: it is not there.
    pub(super) fn fetched(&mut self, kind: &'static Kind, key: ObjectKey, read: Option<Read>) {
        match read {
            // It may have lost its last reference meanwhile.
            Some(read) if self.wanted.contains_key(&(kind.name, key.clone())) => {
                self.put(kind, read)
            }
            _ => self.forget(kind, &key),
        }
    }

    /// It could not be read.
    pub(super) fn read_again(&mut self, reference: Reference) {
        if self.wanted.contains_key(&reference) {
            self.unread.insert(reference);
        }
    }

    fn complete(&mut self, watch: &Watch) {
        // Also where nothing was found: an empty configuration is one.
        self.changed |= self.awaited.remove(&watch.name());
    }

    /// All of a watch's objects, decoded or not.
    fn known(&self, watch: &Watch) -> BTreeSet<ObjectKey> {
        let mut known: BTreeSet<_> = self.resources.keys(watch.kind.name).into_iter().collect();
        let broken = self
            .problems
            .keys()
            .filter(|(kind, _)| *kind == watch.kind.name);
        known.extend(broken.map(|(_, key)| key.clone()));
        known.retain(|key| watch.covers(key));
        known
    }

    fn put(&mut self, kind: &'static Kind, read: Read) {
        let place = (kind.name, read.key);
        if let Some(observed) = read.observed {
            self.observed.saw(place.clone(), observed);
        }
        self.refer(&place, read.references);
        match read.object {
            Ok(object) => {
                self.changed |= self.resources.insert(object, "");
                self.changed |= self.problems.remove(&place).is_some();
            }
            // The one before would serve on here, and not on a replica that began later.
            Err(problem) => {
                self.changed |= self.resources.remove(place.0, &place.1);
                let known = self.problems.insert(place, problem.clone());
                self.changed |= known.as_ref() != Some(&problem);
            }
        }
    }

    fn forget(&mut self, kind: &'static Kind, key: &ObjectKey) {
        let place = (kind.name, key.clone());
        self.changed |= self.resources.remove(kind.name, key);
        self.changed |= self.problems.remove(&place).is_some();
        self.observed.gone(&place);
        self.refer(&place, BTreeSet::new());
    }

    /// Notes what an object refers to from now on.
    fn refer(&mut self, from: &Reference, to: BTreeSet<Reference>) {
        let before = match to.is_empty() {
            true => self.references.remove(from),
            false => self.references.insert(from.clone(), to.clone()),
        };
        let before = before.unwrap_or_default();
        for reference in to.difference(&before) {
            let count = self.wanted.entry(reference.clone()).or_default();
            *count += 1;
            if *count == 1 {
                self.unread.insert(reference.clone());
            }
        }
        for reference in before.difference(&to) {
            let left = match self.wanted.get_mut(reference) {
                Some(count) => {
                    *count -= 1;
                    *count
                }
                None => continue,
            };
            if left == 0 {
                self.wanted.remove(reference);
                self.unread.remove(reference);
                let (kind, key) = reference;
                self.changed |= self.resources.remove(kind, key);
                self.changed |= self.problems.remove(reference).is_some();
            }
        }
    }
}
