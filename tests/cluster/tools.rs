//! `kubectl` and `helm`, as a user would type them.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

/// What a command printed.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a program to its end, with `input` on its standard input.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str) -> Printed {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    let text = input.to_owned();
    // On a thread of its own: a child that prints before it reads would wait for ever.
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("it was started");
    let _ = writer.join();
    Printed {
        ok: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// `kubectl`, which must succeed.
#[track_caller]
pub(crate) fn kubectl(arguments: &[&str]) -> String {
    let printed = run("kubectl", arguments, "");
    assert!(printed.ok, "kubectl {arguments:?}: {}", printed.err);
    printed.out
}

/// `kubectl get … --output json`.
#[track_caller]
pub(crate) fn get(arguments: &[&str]) -> Value {
    let mut all = vec!["get", "--output", "json"];
    all.extend(arguments);
    serde_json::from_str(&kubectl(&all)).expect("kubectl prints JSON")
}

/// `kubectl apply --server-side` of manifests, which must be taken.
#[track_caller]
pub(crate) fn apply(manifests: &str) {
    let printed = try_apply(manifests);
    assert!(printed.ok, "{}\n{manifests}", printed.err);
}

/// `kubectl apply --server-side` of manifests.
pub(crate) fn try_apply(manifests: &str) -> Printed {
    let arguments = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--filename",
        "-",
    ];
    run("kubectl", &arguments, manifests)
}

/// `helm`, which must succeed.
#[track_caller]
pub(crate) fn helm(arguments: &[&str]) -> String {
    let printed = run("helm", arguments, "");
    assert!(
        printed.ok,
        "helm {arguments:?}: {} {}",
        printed.out, printed.err
    );
    printed.out
}
