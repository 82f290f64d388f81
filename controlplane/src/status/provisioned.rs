//! What keeps a Gateway's data planes from being there.

use super::{ConditionStatus, ObjectStatus, Scope};
use crate::provision::Failures;

/// Puts the reason in `Programmed` of Gateways that wait for data planes which cannot be
/// made. One that is served all the same, by pods that are there, stays programmed.
pub fn provisioned(statuses: &mut [ObjectStatus], failures: &Failures) {
    for status in statuses {
        let Some(why) = failures.get(&status.key) else {
            continue;
        };
        if status.kind != "Gateway" || !matches!(status.scope, Scope::Gateway { .. }) {
            continue;
        }
        let waiting = status.conditions.iter_mut().find(|condition| {
            condition.type_ == "Programmed"
                && condition.status == ConditionStatus::False
                && ["Pending", "AddressNotAssigned"].contains(&condition.reason)
        });
        if let Some(condition) = waiting {
            condition.reason = "NoResources";
            condition.message.clone_from(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{resources::ObjectKey, status::Condition};

    fn gateway(status: ConditionStatus, reason: &'static str) -> ObjectStatus {
        ObjectStatus {
            kind: "Gateway",
            key: ObjectKey::new("shop", "edge"),
            source: String::new(),
            scope: Scope::Gateway {
                addresses: vec![],
                attached_listener_sets: None,
            },
            conditions: vec![Condition::new("Programmed", status, reason, "", 1)],
        }
    }

    #[test]
    fn who_waits_for_data_planes_learns_why_there_are_none() {
        let failures = Failures::from([(ObjectKey::new("shop", "edge"), "quota".to_owned())]);
        for (status, reason, expected) in [
            (ConditionStatus::False, "Pending", "NoResources"),
            (ConditionStatus::False, "Invalid", "Invalid"),
            (ConditionStatus::True, "Programmed", "Programmed"),
        ] {
            let mut statuses = [gateway(status, reason)];
            provisioned(&mut statuses, &failures);
            assert_eq!(statuses[0].conditions[0].reason, expected);
        }
    }
}
