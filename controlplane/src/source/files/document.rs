//! A file's text, taken apart into objects.

use serde::Deserialize;
use serde_norway::Value;

use super::{
    decode::{self, Outcome},
    schema::Violation,
};
use crate::{
    resources::{Object, ObjectKey},
    source::{Effect, Problem},
};

/// What a file holds.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Content {
    pub objects: Vec<Located>,
    /// What is left out of it.
    pub notices: Vec<Problem>,
}

/// An object and its place in the file.
#[derive(Clone, PartialEq)]
pub(super) struct Located {
    /// From 1.
    pub document: usize,
    pub object: Object,
}

impl Content {
    pub(super) fn find(&self, kind: &str, key: &ObjectKey) -> Option<&Located> {
        self.objects
            .iter()
            .find(|located| located.object.kind() == kind && located.object.key() == *key)
    }
}

/// Finds what the values of an object of a kind may not be.
pub(super) type Schema = fn(&str, &Value) -> Vec<Violation>;

/// Reads the documents of a file. Every object that is broken is named, not just the first.
pub(super) fn read(file: &str, text: &str, schema: Schema) -> Result<Content, Vec<Problem>> {
    let mut content = Content::default();
    let mut refused = Vec::new();
    if is_nested_absurdly(text) {
        let place = Place { file, document: 0 };
        let message = format!("opens more than {DEEPEST} brackets at once");
        return Err(vec![place.problem("", "", message, "nest less deeply")]);
    }
    for (index, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let place = Place {
            file,
            document: index + 1,
        };
        let value = match Value::deserialize(document) {
            Ok(value) => value,
            Err(error) => {
                // The reader has lost its way: what follows cannot be told.
                refused.push(place.problem(
                    "",
                    "",
                    format!("no YAML: {error}"),
                    "correct the syntax",
                ));
                break;
            }
        };
        for (item, value) in items(value) {
            let outcome = decode::object(value, schema);
            take(&place, item.as_deref(), outcome, &mut content, &mut refused);
        }
    }
    if refused.is_empty() {
        Ok(content)
    } else {
        Err(refused)
    }
}

/// The reader's time grows with the square of the depth, and its own limit comes after.
fn is_nested_absurdly(text: &str) -> bool {
    let mut depth = 0_usize;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEEPEST
    })
}

/// No resource comes near; brackets within texts count too, as they are not told apart.
const DEEPEST: usize = 1_000;

/// A `List` stands for its items, an empty document for nothing.
fn items(value: Value) -> Vec<(Option<String>, Value)> {
    let is_list = value.get("kind").and_then(Value::as_str) == Some("List");
    match value {
        Value::Null => Vec::new(),
        Value::Mapping(mut list) if is_list => match list.remove("items") {
            Some(Value::Sequence(items)) => {
                let named = |(index, item)| (Some(format!("items[{index}].")), item);
                items.into_iter().enumerate().map(named).collect()
            }
            _ => Vec::new(),
        },
        value => vec![(None, value)],
    }
}

fn take(
    place: &Place<'_>,
    item: Option<&str>,
    outcome: Outcome,
    content: &mut Content,
    refused: &mut Vec<Problem>,
) {
    let item = item.unwrap_or_default();
    match outcome {
        Outcome::Object { object, unknown } => {
            let name = object.label();
            if let Some(earlier) = content.find(object.kind(), &object.key()) {
                let message = format!("the same object is in document {}", earlier.document);
                refused.push(place.problem(
                    &name,
                    &format!("{item}metadata.name"),
                    message,
                    "keep one of them",
                ));
                return;
            }
            for field in unknown {
                let problem = place.problem(
                    &name,
                    &format!("{item}{field}"),
                    "is not a field that Tidegate reads".to_owned(),
                    "correct its name, or remove it",
                );
                content.notices.push(Problem {
                    effect: Effect::FieldIgnored,
                    ..problem
                });
            }
            content.objects.push(Located {
                document: place.document,
                object,
            });
        }
        Outcome::Foreign { name, message } => {
            let problem = place.problem(
                &name,
                &format!("{item}kind"),
                message,
                "remove it, or leave it for others to read",
            );
            content.notices.push(Problem {
                effect: Effect::ObjectIgnored,
                ..problem
            });
        }
        Outcome::Unfit { name, violations } => {
            refused.extend(violations.into_iter().map(|violation| {
                let Violation {
                    field,
                    message,
                    remedy,
                } = violation;
                place.problem(&name, &format!("{item}{field}"), message, &remedy)
            }));
        }
        Outcome::Broken {
            name,
            field,
            message,
            remedy,
        } => {
            let field = if field.is_empty() {
                item.trim_end_matches('.').to_owned()
            } else {
                format!("{item}{field}")
            };
            refused.push(place.problem(&name, &field, message, remedy));
        }
    }
}

struct Place<'a> {
    file: &'a str,
    document: usize,
}

impl Place<'_> {
    fn problem(&self, object: &str, field: &str, message: String, remedy: &str) -> Problem {
        Problem {
            file: self.file.to_owned(),
            document: self.document,
            object: object.to_owned(),
            field: field.to_owned(),
            message,
            remedy: remedy.to_owned(),
            effect: Effect::FileRefused,
        }
    }
}
