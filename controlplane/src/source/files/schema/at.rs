//! A place in an object: the value there, its path, and the rules that values are put to.

use std::{cell::RefCell, collections::BTreeSet, ops::RangeInclusive};

use serde_norway::Value;

use super::{MOST, Violation, form::Form};

/// A value of an object, and where it is.
pub(super) struct At<'a> {
    value: &'a Value,
    path: String,
    found: &'a RefCell<Vec<Violation>>,
}

impl<'a> At<'a> {
    pub(super) fn root(value: &'a Value, found: &'a RefCell<Vec<Violation>>) -> Self {
        let path = String::new();
        Self { value, path, found }
    }

    /// The field `name`, unless it is absent or null, which the API server drops.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Self {
            value,
            path: self.path_of(name),
            found: self.found,
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// The elements of the list `name`; none if it is absent.
    pub(super) fn items(&self, name: &str) -> Vec<Self> {
        let list = self.value.get(name).and_then(Value::as_sequence);
        let elements = list.into_iter().flatten().enumerate();
        elements
            .map(|(index, value)| Self {
                value,
                path: format!("{}[{index}]", self.path_of(name)),
                found: self.found,
            })
            .collect()
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.value.get(name).and_then(Value::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.value.get(name).and_then(Value::as_i64)
    }

    /// This value as text.
    pub(super) fn own_text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// Whether this is a mapping with something in it.
    pub(super) fn is_filled(&self) -> bool {
        self.value.as_mapping().is_some_and(|map| !map.is_empty())
    }

    /// Says what is wrong with the field `name`; empty: with this value.
    pub(super) fn refuse(&self, name: &str, message: impl Into<String>, remedy: impl Into<String>) {
        let mut found = self.found.borrow_mut();
        if found.len() < MOST {
            found.push(Violation {
                field: self.path_of(name),
                message: message.into(),
                remedy: remedy.into(),
            });
        }
    }

    /// The field must be there.
    pub(super) fn needs(&self, name: &str) {
        if !self.has(name) {
            self.refuse(name, "is missing", "write it");
        }
    }

    /// A text in the field must be of the form.
    pub(super) fn form(&self, name: &str, form: &Form) {
        if let Some(text) = self.text(name) {
            self.judge(name, text, form);
        }
    }

    /// This value must be of the form.
    pub(super) fn own_form(&self, form: &Form) {
        if let Some(text) = self.own_text() {
            self.judge("", text, form);
        }
    }

    fn judge(&self, name: &str, text: &str, form: &Form) {
        if let Err(message) = form.check(text) {
            self.refuse(name, message, form.remedy);
        }
    }

    /// A text in the field must be one of the words.
    pub(super) fn one_of(&self, name: &str, words: &[&str]) {
        if let Some(text) = self.text(name)
            && !words.contains(&text)
        {
            let message = format!("`{}` is not allowed here", shown(text));
            self.refuse(name, message, format!("write one of {}", words.join(", ")));
        }
    }

    /// A number in the field must be within the range.
    pub(super) fn range(&self, name: &str, range: RangeInclusive<i64>) {
        if let Some(number) = self.number(name) {
            self.judge_range(name, number, range);
        }
    }

    /// This value must be within the range.
    pub(super) fn own_range(&self, range: RangeInclusive<i64>) {
        if let Some(number) = self.value.as_i64() {
            self.judge_range("", number, range);
        }
    }

    fn judge_range(&self, name: &str, number: i64, range: RangeInclusive<i64>) {
        if !range.contains(&number) {
            let (least, most) = range.into_inner();
            let message = format!("{number} is out of range");
            let remedy = format!("write a number from {least} to {most}");
            self.refuse(name, message, remedy);
        }
    }

    pub(super) fn port(&self, name: &str) {
        self.range(name, 1..=65_535);
    }

    /// A list that must not be empty where it is given.
    pub(super) fn not_empty(&self, name: &str) {
        if self.has(name) && self.items(name).is_empty() {
            self.refuse(name, "is an empty list", "write an element");
        }
    }

    /// No two elements of the list may have the same text in `key`.
    pub(super) fn unique(&self, name: &str, key: &str) {
        let mut seen = BTreeSet::new();
        for item in self.items(name) {
            if let Some(text) = item.text(key)
                && !seen.insert(text)
            {
                let message = format!("`{}` is there twice in the list", shown(text));
                item.refuse(key, message, "keep one of them");
            }
        }
    }

    /// Of the members of a union exactly the one that `type` names must be set. A type
    /// that is none of the words is for [`At::one_of`] to refuse.
    pub(super) fn union(&self, members: &[(&str, &str)]) {
        let Some(type_) = self.text("type") else {
            return;
        };
        for (word, member) in members {
            if *word == type_ && !self.has(member) {
                let message = format!("is missing, and the type is {word}");
                self.refuse(member, message, format!("write {member}"));
            }
            if *word != type_ && self.has(member) {
                let message = format!("belongs to the type {word}, not to `{}`", shown(type_));
                self.refuse(member, message, "remove it, or correct the type");
            }
        }
    }

    fn path_of(&self, name: &str) -> String {
        match (self.path.as_str(), name) {
            (path, "") => path.to_owned(),
            ("", name) => name.to_owned(),
            (path, name) => format!("{path}.{name}"),
        }
    }
}

/// A text for a message: on one line, and not all of it if it is long.
pub(super) fn shown(text: &str) -> String {
    let beginning: String = text.chars().take(LONGEST_SHOWN).collect();
    let rest = if beginning.len() < text.len() {
        "…"
    } else {
        ""
    };
    format!("{}{rest}", beginning.escape_debug())
}

/// Characters.
const LONGEST_SHOWN: usize = 80;
