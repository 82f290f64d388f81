//! A client that is a program.

use std::process::Stdio;

use tokio::{io::AsyncWriteExt, process::Command};

use crate::task::{Report, Task};

pub(crate) async fn run(command: &[String], task: &Task) -> Report {
    let (program, arguments) = command.split_first().expect("a command has a program");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    let mut input = child.stdin.take().expect("it is piped");
    let json = serde_json::to_vec(task).expect("a task is JSON");
    // A program that ends before it has read says why on standard error.
    let _ = input.write_all(&json).await;
    drop(input);
    let output = child
        .wait_with_output()
        .await
        .expect("it can be waited for");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program}: {}: {errors}",
        output.status
    );
    match serde_json::from_slice(&output.stdout) {
        Ok(report) => report,
        Err(error) => {
            let said = String::from_utf8_lossy(&output.stdout);
            panic!("{program} wrote no report ({error}): {said}\n{errors}")
        }
    }
}
