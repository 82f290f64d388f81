//! `tests/INTEROP.md`, which is made of the tables that the tests run by: what is said to pass
//! is a test that must pass, and what is said to fail is one that must fail in that way.

use std::{fmt::Write, path::Path};

use crate::{
    cases::{CASES, NOT_SERVED, not_asked},
    client::STACKS,
    h3spec,
};

/// With this set the file is written, not compared.
const UPDATE: &str = "UPDATE";

pub(crate) fn holds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("INTEROP.md");
    let text = text();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, text).expect("the file can be written");
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "tests/INTEROP.md is not what the tests run: \
         {UPDATE}=1 cargo test -p tidegate-tests --test interop scorecard"
    );
}

fn text() -> String {
    let mut text = INTRODUCTION.to_owned();
    interop(&mut text);
    text.push_str(H3SPEC);
    conformance(&mut text);
    text
}

fn interop(text: &mut String) {
    let mut notes = Notes::default();
    let columns = STACKS.len();
    line(text, format_args!("| case | {} |", STACKS.join(" | ")));
    line(text, format_args!("|---{}|", "|---".repeat(columns)));
    for case in CASES {
        let cells = STACKS.map(|stack| match not_asked(case.name, stack) {
            None => "yes".to_owned(),
            Some(reason) => format!("– [{}]", notes.number(reason)),
        });
        line(
            text,
            format_args!("| {} | {} |", case.name, cells.join(" | ")),
        );
    }
    for (case, reason) in NOT_SERVED {
        let cells = format!(" – [{}] |", notes.number(reason)).repeat(columns);
        line(text, format_args!("| {case} |{cells}"));
    }
    notes.write(text);
}

fn conformance(text: &mut String) {
    let all = h3spec::cases().count();
    line(text, format_args!("All {all} pass.\n"));
    for case in h3spec::cases() {
        line(text, format_args!("- {}", case.name));
    }
}

/// Reasons, numbered in the order in which they came up.
#[derive(Default)]
struct Notes(Vec<&'static str>);

impl Notes {
    fn number(&mut self, reason: &'static str) -> usize {
        let known = self.0.iter().position(|one| *one == reason);
        known.unwrap_or_else(|| {
            self.0.push(reason);
            self.0.len() - 1
        }) + 1
    }

    fn write(self, text: &mut String) {
        text.push('\n');
        for (index, reason) in self.0.iter().enumerate() {
            line(text, format_args!("{}. {reason}.", index + 1));
        }
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes all");
}

const INTRODUCTION: &str = "\
# Interop and conformance of the protocol

This file is made of the tables in `tests/tests/interop`, and a test holds it to them. `make test`
runs the column of quinn and h3spec's cases, `make test-interop` the other columns.

## Cases of the quic-interop-runner

Its cases under its names, over its link (15 ms each way, 10 Mbit/s, a queue of 25 packets, or
what a case has instead), with Tidegate as the server and HTTP/3 on top. Clients' word and the
gateway's own audit record are both asked; what shows on the wire is looked at there.

";

const H3SPEC: &str = "
## Cases of h3spec

Those of version 0.1.13, under its names and with the answers that it takes.

";
