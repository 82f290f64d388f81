//! `tidegate status`: what became of each resource.

use tidegate_controlplane::api::types::{Condition, ObjectStatus, StatusList};

use super::{
    Output, print, print_json,
    table::{or_dash, table},
};
use crate::admin::{AdminArgs, AdminClient, AdminError, Query};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Only what is not as it should be
    #[arg(long)]
    pub problems: bool,
}

/// # Errors
/// Any [`AdminError`].
pub async fn run(args: Args) -> Result<(), AdminError> {
    let api = AdminClient::new(&args.admin)?;
    let value = api.fetch_json(&Query::path(&["v1", "status"])).await?;
    if args.admin.output == Output::Json {
        print_json(&value);
    } else {
        print(&render(&api.typed(value)?, args.problems));
    }
    Ok(())
}

/// Conditions whose `True` is bad news.
const BAD_IF_TRUE: [&str; 3] = ["Conflicted", "OverlappingTLSConfig", "PartiallyInvalid"];

fn is_bad(condition: &Condition) -> bool {
    let expected = if BAD_IF_TRUE.contains(&condition.r#type.as_str()) {
        "False"
    } else {
        "True"
    };
    condition.status != expected
}

fn render(list: &StatusList, problems_only: bool) -> String {
    let mut rows = Vec::new();
    for object in &list.objects {
        for condition in &object.conditions {
            let bad = is_bad(condition);
            if bad || !problems_only {
                rows.push(row(object, condition, bad));
            }
        }
    }
    if rows.is_empty() {
        return if problems_only {
            "no problems\n".into()
        } else {
            "no resources\n".into()
        };
    }
    table(
        &[
            "",
            "KIND",
            "OBJECT",
            "SCOPE",
            "CONDITION",
            "REASON",
            "SOURCE",
            "MESSAGE",
        ],
        rows,
    )
}

fn row(object: &ObjectStatus, condition: &Condition, bad: bool) -> Vec<String> {
    let name = if object.namespace.is_empty() {
        object.name.clone()
    } else {
        format!("{}/{}", object.namespace, object.name)
    };
    vec![
        if bad { "!".into() } else { String::new() },
        object.kind.clone(),
        name,
        or_dash(&object.scope),
        format!("{}={}", condition.r#type, condition.status),
        condition.reason.clone(),
        or_dash(&object.source),
        // A row stays a line, whatever the message has in it.
        condition.message.replace(['\n', '\r'], " "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(conditions: &[(&str, &str)]) -> StatusList {
        let conditions = conditions
            .iter()
            .map(|(kind, status)| Condition {
                r#type: kind.to_string(),
                status: status.to_string(),
                reason: "Because".into(),
                message: "line one\nline two".into(),
                ..Default::default()
            })
            .collect();
        let object = ObjectStatus {
            kind: "HTTPRoute".into(),
            namespace: "default".into(),
            name: "site".into(),
            source: "site.yaml".into(),
            conditions,
            ..Default::default()
        };
        StatusList {
            objects: vec![object],
        }
    }

    #[test]
    fn what_is_wrong_is_marked_also_where_true_is_bad() {
        let list = status(&[
            ("Accepted", "True"),
            ("ResolvedRefs", "False"),
            ("Conflicted", "True"),
            ("Conflicted", "False"),
            ("Programmed", "Unknown"),
        ]);
        let text = render(&list, false);
        let marks: Vec<_> = text
            .lines()
            .skip(1)
            .map(|line| line.starts_with('!'))
            .collect();
        assert_eq!(marks, [false, true, true, false, true], "{text}");
        assert_eq!(render(&list, true).lines().count(), 4);
    }

    #[test]
    fn nothing_wrong_says_so() {
        assert_eq!(
            render(&status(&[("Accepted", "True")]), true),
            "no problems\n"
        );
        assert_eq!(render(&StatusList::default(), false), "no resources\n");
    }
}
