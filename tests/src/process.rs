//! A dataplane in a process of its own, so that its memory and its CPU time are nobody else's.

use std::{
    io::Read,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tidegate_dataplane::{Config, Dataplane};

/// Says to the test program that it is to be a dataplane, and how.
const CONFIG: &str = "TIDEGATE_TEST_DATAPLANE";

/// A running process; dropped, it is ended.
pub struct Process {
    child: Child,
}

impl Process {
    /// Runs this test program again, with nothing but the test `entry` in it, which has to
    /// call [`serve`](Self::serve).
    pub(crate) fn start(entry: &str, config: &Config) -> Self {
        let text = json!({
            "id": config.id,
            "control": config.control,
            "shards": config.shards,
            "admin": config.admin_listen,
            "state": config.state_dir,
            "spool": config.spool_records,
        });
        let program = std::env::current_exe().expect("a test program is a file");
        let child = Command::new(program)
            .args(["--exact", entry, "--ignored", "--nocapture"])
            .env(CONFIG, text.to_string())
            // It ends when this end of the pipe does, whatever becomes of the test.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the test program can be run");
        Self { child }
    }

    /// Is the dataplane of a [`Process`], until the test that started it ends. In a test run
    /// of its own there is nothing to be.
    pub fn serve() {
        let Ok(text) = std::env::var(CONFIG) else {
            return;
        };
        let value: Value = serde_json::from_str(&text).expect("the parent writes JSON");
        let text = |field: &str| value[field].as_str().expect("a string").to_owned();
        let number = |field: &str| value[field].as_u64().expect("a number") as usize;
        let admin: SocketAddr = text("admin").parse().expect("an address");
        let control = value["control"].as_array().expect("an array");
        let control = control.iter().filter_map(|url| url.as_str());
        let config = Config {
            id: text("id"),
            control: control.map(str::to_owned).collect(),
            shards: number("shards"),
            admin_listen: Some(admin),
            state_dir: Some(PathBuf::from(text("state"))),
            spool_records: number("spool"),
            ..Config::default()
        };
        let dataplane = Dataplane::start(config).expect("the dataplane starts");
        let _ended = std::io::stdin().read_to_end(&mut Vec::new());
        dataplane.kill();
    }

    /// Resident memory, bytes.
    pub fn memory(&self) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|rest| rest.split_whitespace().next());
        let kibibytes: u64 = kibibytes
            .and_then(|number| number.parse().ok())
            .expect("Linux says how much memory a process has");
        kibibytes * 1024
    }

    /// CPU time of all its threads so far, in the hundredths of a second that Linux counts in.
    pub fn cpu(&self) -> Duration {
        let stat = self.read("stat");
        let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
        // User and system time are the fields 14 and 15; the third follows the name.
        let ticks: u64 = (fields.split_whitespace().skip(11).take(2))
            .map(|field| field.parse::<u64>().expect("a number"))
            .sum();
        Duration::from_millis(ticks * 10)
    }

    /// Whether it is still there.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }

    fn read(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.child.id());
        std::fs::read_to_string(path).expect("the process is there")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
