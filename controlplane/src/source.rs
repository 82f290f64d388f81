//! Where resources come from.
//!
//! Owned here: what every source hands on ([`Sourced`]). A source pushes the whole input
//! with each change through a watch channel; the fleet translates what it finds there.
//! Never here: judgement of a resource that an API server lets pass, which is
//! [`crate::translate`]'s.

pub mod files;
pub mod kubernetes;

use std::fmt;

use crate::resources::Resources;

/// The input of one moment, and what was refused on the way to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sourced {
    pub resources: Resources,
    /// In order of file and document.
    pub problems: Vec<Problem>,
}

/// Something in a file that is not in service as written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// File name within the watched folder; empty: the folder.
    pub file: String,
    /// Document in the file, from 1. 0: the file itself.
    pub document: usize,
    /// `Kind namespace/name`, as far as it could be read.
    pub object: String,
    /// Path of the field; empty: none in particular.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
    pub effect: Effect,
}

/// What a [`Problem`] keeps out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing of the file as it is now; its last good content serves on, if there is one.
    FileRefused,
    /// This object; the rest of the file is in service.
    ObjectIgnored,
    /// This field; the rest of the object is in service.
    FieldIgnored,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut place = Vec::new();
        if !self.file.is_empty() {
            place.push(self.file.clone());
        }
        if self.document > 0 {
            place.push(format!("document {}", self.document));
        }
        if !self.object.is_empty() {
            place.push(self.object.clone());
        }
        if !self.field.is_empty() {
            place.push(self.field.clone());
        }
        if !place.is_empty() {
            write!(f, "{}: ", place.join(", "))?;
        }
        write!(f, "{}; {}", self.message, self.remedy)
    }
}
