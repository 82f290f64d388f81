//! What other implementations and the standards ask of the connection layer: the cases of the
//! quic-interop-runner with clients of other stacks, and the cases of h3spec. The table of
//! both is `tests/INTEROP.md`.
//!
//! quinn runs here as it is; `make test-interop` builds the clients that are programs.

#![forbid(unsafe_code)]

mod cases;
mod client;
mod h3spec;
mod scene;
mod scorecard;
mod task;
mod trial;

use std::process::ExitCode;

use cases::{CASES, not_asked};
use client::Client;
use trial::{Trial, conduct};

fn main() -> ExitCode {
    let mut trials = Vec::new();
    let clients = Client::all();
    for client in &clients {
        let asked = CASES
            .iter()
            .filter(|case| not_asked(case.name, client.stack()).is_none());
        trials.extend(asked.map(|case| {
            let client = client.clone();
            Trial {
                name: format!("interop::{}::{}", case.name, client.stack()),
                run: Box::new(move || Box::pin(async move { (case.run)(&client).await })),
            }
        }));
    }
    // Once, however many clients there are.
    if clients.iter().any(|client| matches!(client, Client::Quinn)) {
        trials.push(Trial {
            name: "scorecard".to_owned(),
            run: Box::new(|| Box::pin(async { scorecard::holds() })),
        });
        let shared = h3spec::Shared::default();
        trials.extend(h3spec::cases().map(|case| {
            let shared = shared.clone();
            Trial {
                name: format!("h3spec::{}", case.name),
                run: Box::new(move || Box::pin(async move { case.run(&shared).await })),
            }
        }));
    }
    conduct(trials)
}
