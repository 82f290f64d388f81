//! Statuses as the admin API shows them.

use std::fmt;

use tidegate_proto::v1;

use super::{Condition, ConditionStatus, ObjectStatus, Scope};
use crate::source::{Effect, Problem};

impl From<&ObjectStatus> for v1::ObjectStatus {
    fn from(status: &ObjectStatus) -> Self {
        Self {
            kind: status.kind.to_owned(),
            namespace: status.key.namespace.clone(),
            name: status.key.name.clone(),
            source: status.source.clone(),
            scope: status.scope.to_string(),
            conditions: status.conditions.iter().map(Into::into).collect(),
            attached_routes: match &status.scope {
                Scope::Listener {
                    attached_routes, ..
                } => Some(*attached_routes),
                Scope::Object | Scope::Gateway { .. } | Scope::Parent(_) => None,
            },
        }
    }
}

impl From<&Condition> for v1::Condition {
    fn from(condition: &Condition) -> Self {
        Self {
            r#type: condition.type_.to_owned(),
            status: condition.status.as_str().to_owned(),
            reason: condition.reason.to_owned(),
            message: condition.message.clone(),
            observed_generation: condition.observed_generation,
        }
    }
}

/// Empty, the listener's name, or the parent as `namespace/name/section:port`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object | Self::Gateway { .. } => Ok(()),
            Self::Listener { name, .. } => f.write_str(name),
            Self::Parent(parent) => {
                if let Some(namespace) = &parent.namespace {
                    write!(f, "{namespace}/")?;
                }
                f.write_str(&parent.name)?;
                if let Some(section) = &parent.section_name {
                    write!(f, "/{section}")?;
                }
                parent.port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

/// A problem of a source, as an entry beside the statuses of objects: `Accepted` False. One
/// of a file has kind `File` and the place in it as scope.
pub fn of_problem(problem: &Problem) -> v1::ObjectStatus {
    // Of the API server's, not of a file.
    if problem.file.is_empty()
        && let Some((kind, key)) = problem.object.split_once(' ')
    {
        return of_object(problem, kind, key);
    }
    let mut scope = Vec::new();
    if problem.document > 0 {
        scope.push(format!("document {}", problem.document));
    }
    scope.extend(
        [&problem.object, &problem.field]
            .into_iter()
            .filter(|s| !s.is_empty())
            .cloned(),
    );
    let (reason, outcome) = match problem.effect {
        Effect::FileRefused => ("FileRefused", "Its last good content, if any, serves on."),
        Effect::ObjectIgnored => ("ObjectIgnored", "The rest of the file is in service."),
        Effect::FieldIgnored => ("FieldIgnored", "The rest of the object is in service."),
    };
    let message = format!("{}; {}. {outcome}", problem.message, problem.remedy);
    v1::ObjectStatus {
        kind: "File".to_owned(),
        name: problem.file.clone(),
        source: problem.file.clone(),
        scope: scope.join(", "),
        conditions: vec![
            (&Condition::new("Accepted", ConditionStatus::False, reason, message, 0)).into(),
        ],
        ..Default::default()
    }
}

/// An object that is left out, in its own place.
fn of_object(problem: &Problem, kind: &str, key: &str) -> v1::ObjectStatus {
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    let message = format!("{}; {}", problem.message, problem.remedy);
    let condition = Condition::new(
        "Accepted",
        ConditionStatus::False,
        "ObjectIgnored",
        message,
        0,
    );
    v1::ObjectStatus {
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        scope: problem.field.clone(),
        conditions: vec![(&condition).into()],
        ..Default::default()
    }
}
