//! Which content of each file is in service.
//!
//! A file that is broken, or that has an object of another file, is refused whole; what
//! was last good of it serves on. So the content in service is without contradictions at
//! every moment, whatever the order of edits.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use super::{
    document::{self, Content},
    read::Files,
    schema,
};
use crate::{
    resources::{ObjectKey, Resources},
    source::{Effect, Problem, Sourced},
};

/// The folder as it was last seen.
#[derive(Default)]
pub(super) struct Folder {
    /// In service, by file.
    good: BTreeMap<String, Arc<Content>>,
    /// What `good` was made from; absent: nothing yet, or the folder could not be read.
    seen: Option<Files>,
    sourced: Sourced,
}

impl Folder {
    /// What is in service, and what is not.
    pub(super) fn sourced(&self) -> &Sourced {
        &self.sourced
    }

    /// Takes in what the folder has now. A folder that cannot be read changes nothing.
    pub(super) fn apply(&mut self, files: io::Result<Files>) {
        let files = match files {
            Ok(files) if self.seen.as_ref() == Some(&files) => return,
            Ok(files) => files,
            Err(error) => {
                self.seen = None;
                self.sourced.problems = vec![Problem {
                    file: String::new(),
                    document: 0,
                    object: String::new(),
                    field: String::new(),
                    message: format!("the folder cannot be read: {error}"),
                    remedy: "put it back; what was read before serves on".to_owned(),
                    effect: Effect::FileRefused,
                }];
                return;
            }
        };
        let mut problems = Vec::new();
        let mut candidates = BTreeMap::new();
        for (file, text) in &files {
            let content = match text {
                Ok(text) => document::read(file, text, schema::check),
                Err(error) => Err(vec![unreadable(file, error)]),
            };
            match content {
                Ok(content) => drop(candidates.insert(file.clone(), Arc::new(content))),
                Err(refused) => problems.extend(refused),
            }
        }
        self.good.retain(|file, _| files.contains_key(file));
        self.good = settle(candidates, &self.good, &mut problems);
        self.seen = Some(files);

        let mut resources = Resources::default();
        for (file, content) in &self.good {
            problems.extend(content.notices.iter().cloned());
            for located in &content.objects {
                resources.insert(located.object.clone(), file.clone());
            }
        }
        problems.sort();
        problems.dedup();
        for (file, content) in &self.good {
            let of_file = problems
                .iter()
                .filter(|problem| problem.file == *file && problem.effect == Effect::FileRefused);
            for problem in of_file {
                if let Some(located) = content
                    .objects
                    .iter()
                    .find(|located| located.object.label() == problem.object)
                {
                    let why = format!("{}; {}", problem.message, problem.remedy);
                    resources.hold_back(located.object.kind(), &located.object.key(), why);
                }
            }
        }
        self.sourced = Sourced {
            resources,
            problems,
        };
    }
}

/// Chooses for each file its candidate or, where that contradicts another file, what was
/// good before. What was in service keeps its objects against a newcomer; between two
/// newcomers the first file by name does.
fn settle(
    candidates: BTreeMap<String, Arc<Content>>,
    good: &BTreeMap<String, Arc<Content>>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Arc<Content>> {
    let mut chosen = good.clone();
    chosen.extend(candidates);
    let mut reverted = BTreeSet::new();
    // Each round takes a candidate back, and what was good before has no contradiction.
    while let Some(clash) = first_clash(&chosen) {
        let had = |file: &str| {
            reverted.contains(file)
                || good
                    .get(file)
                    .is_some_and(|content| content.find(clash.kind, &clash.key).is_some())
        };
        let loser = if had(&clash.files[1]) && !had(&clash.files[0]) {
            0
        } else {
            1
        };
        let (file, other) = (&clash.files[loser], &clash.files[1 - loser]);
        problems.push(Problem {
            file: file.clone(),
            document: clash.documents[loser],
            object: format!("{} {}", clash.kind, clash.key),
            field: "metadata.name".to_owned(),
            message: format!(
                "the same object is in {other}, document {}",
                clash.documents[1 - loser]
            ),
            remedy: "keep it in one of the two files".to_owned(),
            effect: Effect::FileRefused,
        });
        match good.get(file).filter(|_| reverted.insert(file.clone())) {
            Some(before) => drop(chosen.insert(file.clone(), before.clone())),
            None => drop(chosen.remove(file)),
        }
    }
    chosen
}

/// One object in two files.
struct Clash {
    kind: &'static str,
    key: ObjectKey,
    files: [String; 2],
    documents: [usize; 2],
}

fn first_clash(chosen: &BTreeMap<String, Arc<Content>>) -> Option<Clash> {
    let mut seen = BTreeMap::new();
    for (file, content) in chosen {
        for located in &content.objects {
            let (kind, key) = (located.object.kind(), located.object.key());
            if let Some((earlier, document)) =
                seen.insert((kind, key.clone()), (file, located.document))
            {
                let files = [earlier.clone(), file.clone()];
                return Some(Clash {
                    kind,
                    key,
                    files,
                    documents: [document, located.document],
                });
            }
        }
    }
    None
}

fn unreadable(file: &str, error: &str) -> Problem {
    Problem {
        file: file.to_owned(),
        document: 0,
        object: String::new(),
        field: String::new(),
        message: format!("the file cannot be read: {error}"),
        remedy: "make it a readable UTF-8 file".to_owned(),
        effect: Effect::FileRefused,
    }
}
