//! The operator's commands: each asks the admin API and prints what it said, as a table
//! for people or as the JSON that came.

pub mod audit;
pub mod config;
pub mod connections;
pub mod drain;
pub mod fleet;
pub mod selector;
pub mod status;
pub mod table;
pub mod top;

pub use crate::admin::Output;

use serde_json::Value;

/// JSON as `-o json` prints it.
fn print_json(value: &Value) {
    print(&format!("{value:#}\n"));
}

/// To standard output. Who closes it early, as `head` does, has read enough.
fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if out
        .write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}
