//! Clients of other stacks: quinn in this process, the others as programs that read a
//! [`Task`] and write a [`Report`].

use crate::task::{Report, Task};

mod program;
mod quinn;

/// All stacks, in the order of the table.
pub(crate) const STACKS: [&str; 4] = ["quinn", "s2n-quic", "quic-go", "aioquic"];
/// `NAME=COMMAND` lines of the clients that are programs.
const PROGRAMS: &str = "TIDEGATE_INTEROP_CLIENTS";

#[derive(Clone, Debug)]
pub(crate) enum Client {
    Quinn,
    Program {
        stack: &'static str,
        command: Vec<String>,
    },
}

impl Client {
    /// quinn, or where programs were named, those.
    pub(crate) fn all() -> Vec<Self> {
        let Ok(programs) = std::env::var(PROGRAMS) else {
            return vec![Self::Quinn];
        };
        (programs.lines())
            .filter_map(|line| line.split_once('='))
            .map(|(name, command)| Self::Program {
                stack: STACKS
                    .into_iter()
                    .find(|stack| *stack == name.trim())
                    .unwrap_or_else(|| {
                        panic!("{PROGRAMS} names {name}, which is none of {STACKS:?}")
                    }),
                command: command.split_whitespace().map(str::to_owned).collect(),
            })
            .collect()
    }

    pub(crate) fn stack(&self) -> &'static str {
        match self {
            Self::Quinn => "quinn",
            Self::Program { stack, .. } => stack,
        }
    }

    pub(crate) async fn run(&self, task: &Task) -> Report {
        match self {
            Self::Quinn => quinn::run(task).await,
            Self::Program { command, .. } => program::run(command, task).await,
        }
    }
}
