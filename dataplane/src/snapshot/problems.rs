//! Collects what is wrong with a snapshot, so that an operator sees all of it at once.

use std::fmt::Display;

use tidegate_proto::v1::Rejection;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Rejection>);

/// Reports what is wrong with one object.
#[derive(Debug)]
pub(super) struct Object<'a> {
    problems: &'a mut Problems,
    id: &'a str,
}

impl Problems {
    pub(super) fn of<'a>(&'a mut self, id: &'a str) -> Object<'a> {
        Object { problems: self, id }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_rejections(self) -> Vec<Rejection> {
        self.0
    }
}

impl Object<'_> {
    /// `message` says what is wrong and what to do.
    pub(super) fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.0.push(Rejection {
            object: self.id.to_owned(),
            field: field.into(),
            message: message.into(),
        });
    }

    /// The value of a result whose error is the message, or `None` and a rejection.
    pub(super) fn accept<T, E: Display>(
        &mut self,
        field: impl Into<String>,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(field, error.to_string());
                None
            }
        }
    }
}
