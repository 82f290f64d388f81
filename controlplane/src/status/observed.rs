//! The statuses as the API server has them, for who compares them with what they should be.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio::sync::watch;

use crate::resources::ObjectKey;

/// What the API server has of an object's status.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    pub uid: String,
    /// Of the object as it was seen: a write that names it fails if it is another by now.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// As it came, with what others wrote there. Null: there is none.
    pub status: Value,
}

/// Kind and key of an object.
pub type Place = (&'static str, ObjectKey);

/// The statuses of all objects whose status is ours to write.
#[derive(Default)]
pub struct ObservedStatuses {
    places: Mutex<BTreeMap<Place, Observed>>,
    changes: watch::Sender<u64>,
}

impl ObservedStatuses {
    /// A wake-up whenever one changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes what was seen. Older than what is known, it is passed over.
    pub fn saw(&self, place: Place, observed: Observed) {
        let mut places = self.locked();
        let version =
            |observed: &Observed| observed.resource_version.parse::<u64>().unwrap_or(u64::MAX);
        if let Some(known) = places.get(&place)
            && (known == &observed
                || (known.uid == observed.uid && version(known) > version(&observed)))
        {
            return;
        }
        places.insert(place, observed);
        drop(places);
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The object is gone.
    pub fn gone(&self, place: &Place) {
        self.locked().remove(place);
    }

    /// All of them, at this moment.
    pub fn with<T>(&self, look: impl FnOnce(&BTreeMap<Place, Observed>) -> T) -> T {
        look(&self.locked())
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<Place, Observed>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
