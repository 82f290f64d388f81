//! `Programmed`: what dataplanes made of the configuration.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use tidegate_proto::v1;

use super::{Condition, ConditionStatus, ObjectStatus, Scope};
use crate::translate::{Translation, Unreachable};

/// What dataplanes answered to one snapshot version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acknowledgement {
    /// Ids of dataplanes that serve it.
    pub acked: BTreeSet<String>,
    /// By id, the dataplanes that refused it, and why.
    pub nacked: BTreeMap<String, Vec<v1::Rejection>>,
}

/// The statuses of `translation`, with `Programmed` where dataplanes have the say.
///
/// `answers` is keyed by snapshot version; versions that are not in `translation` say
/// nothing of it. A listener is programmed where a dataplane serves a snapshot that has
/// it and none refused one; a Gateway, where one of its listeners is and it can be reached.
pub fn programmed(
    translation: &Translation,
    answers: &BTreeMap<String, Acknowledgement>,
) -> Vec<ObjectStatus> {
    let answers = Answers {
        translation,
        answers,
    };
    translation
        .statuses
        .iter()
        .map(|status| {
            let mut status = status.clone();
            let accepted = status.condition("Accepted").filter(|accepted| {
                // Unknown: not a Gateway of Tidegate's.
                ["Gateway", "ListenerSet"].contains(&status.kind)
                    && accepted.status != ConditionStatus::Unknown
            });
            if let Some(generation) = accepted.map(|accepted| accepted.observed_generation)
                && status.condition("Programmed").is_none()
            {
                let unreachable = answers.unreachable(&status);
                let (truth, reason, message) = match (answers.verdict(&status), unreachable) {
                    (Verdict::Refused(why), _) => (ConditionStatus::False, "Invalid", why),
                    (Verdict::Serving, None) => {
                        (ConditionStatus::True, "Programmed", String::new())
                    }
                    (Verdict::Serving, Some(why)) => {
                        (ConditionStatus::False, why.reason, why.message.clone())
                    }
                    // An address may come while data planes do; what is asked for in vain
                    // never does.
                    (Verdict::Waiting(_), Some(why)) if why.reason != "AddressNotAssigned" => {
                        (ConditionStatus::False, why.reason, why.message.clone())
                    }
                    (Verdict::Waiting(why), _) => (ConditionStatus::False, "Pending", why),
                };
                status.conditions.push(Condition::new(
                    "Programmed",
                    truth,
                    reason,
                    message,
                    generation,
                ));
            }
            status
        })
        .collect()
}

/// Said where no dataplane has answered, as opposed to one that refused something.
pub(super) const AWAITED: &str = "no dataplane serves this configuration yet";

enum Verdict {
    Serving,
    Refused(String),
    Waiting(String),
}

struct Answers<'a> {
    translation: &'a Translation,
    answers: &'a BTreeMap<String, Acknowledgement>,
}

impl Answers<'_> {
    /// Why clients cannot reach what serves. Of Gateways alone: listeners have no address.
    fn unreachable(&self, status: &ObjectStatus) -> Option<&Unreachable> {
        let unreachable = self.translation.unreachable.get(&status.key);
        unreachable.filter(|_| matches!(status.scope, Scope::Gateway { .. }))
    }

    fn verdict(&self, status: &ObjectStatus) -> Verdict {
        let set = self.translation.listener_sets.get(&status.key);
        let set = set.filter(|_| status.kind == "ListenerSet");
        let gateway = set.unwrap_or(&status.key).to_string();
        // What the ids of the object's listeners begin with.
        let prefix = match set {
            Some(_) => format!("{gateway}/{}:{}:", status.key.namespace, status.key.name),
            None => format!("{gateway}/"),
        };
        let listener = match &status.scope {
            Scope::Listener { name, .. } => Some(format!("{prefix}{name}")),
            Scope::Object | Scope::Gateway { .. } | Scope::Parent(_) => None,
        };
        let concerns = |id: &str| {
            listener
                .as_ref()
                .map_or(id.starts_with(&prefix), |listener| id == listener)
        };
        let mut serving = false;
        let mut waiting = None;
        let mut shadowed = None;
        for name in [gateway.as_str(), ""] {
            let Some(snapshot) = self.translation.snapshots.get(name) else {
                continue;
            };
            let Some(answer) = self.answers.get(&snapshot.version) else {
                continue;
            };
            if !snapshot
                .listeners
                .iter()
                .any(|listener| concerns(&listener.id))
            {
                let answered = !(answer.acked.is_empty() && answer.nacked.is_empty());
                let reason = self
                    .translation
                    .shadowed
                    .iter()
                    .find(|(id, _)| concerns(id));
                shadowed = reason
                    .filter(|_| answered)
                    .map(|(_, reason)| reason.clone())
                    .or(shadowed);
                continue;
            }
            if let Some((dataplane, rejections)) = answer.nacked.first_key_value() {
                let named = rejections
                    .iter()
                    .find(|rejection| concerns(&rejection.object));
                if let Some(rejection) = named {
                    return Verdict::Refused(told(dataplane, rejection));
                }
                let why = rejections.first().map_or_else(
                    || format!("dataplane {dataplane} refused the configuration"),
                    |rejection| told(dataplane, rejection),
                );
                waiting = Some(why);
            }
            serving |= !answer.acked.is_empty();
        }
        match (waiting, serving, shadowed) {
            (Some(why), ..) => Verdict::Waiting(why),
            (None, true, _) => Verdict::Serving,
            (None, false, Some(why)) => Verdict::Refused(why),
            (None, false, None) => Verdict::Waiting(AWAITED.to_owned()),
        }
    }
}

fn told(dataplane: &str, rejection: &v1::Rejection) -> String {
    let v1::Rejection {
        object,
        field,
        message,
    } = rejection;
    format!("dataplane {dataplane} refused {object} {field}: {message}")
}
