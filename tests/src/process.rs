//! A plane in a process of its own, so that its memory and its CPU time are nobody else's.

use std::{
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tidegate_controlplane::{ControlPlane, Source};
use tidegate_dataplane::Dataplane;

/// Says to the test program that it is to be a plane, and how.
const DATAPLANE: &str = "TIDEGATE_TEST_DATAPLANE";
const CONTROLPLANE: &str = "TIDEGATE_TEST_CONTROLPLANE";

/// A running process; dropped, it is ended.
pub struct Process {
    child: Child,
}

impl Process {
    /// Runs this test program again, with nothing but the test `entry` in it, which has to
    /// call [`serve`](Self::serve). It is a dataplane then.
    pub(crate) fn dataplane(entry: &str, config: &tidegate_dataplane::Config) -> Self {
        let text = json!({
            "id": config.id,
            "control": config.control,
            "shards": config.shards,
            "admin": config.admin_listen,
            "state": config.state_dir,
            "spool": config.spool_records,
        });
        Self::start(entry, DATAPLANE, &text)
    }

    /// The same for a control plane whose resources are a folder.
    pub(crate) fn controlplane(entry: &str, config: &tidegate_controlplane::Config) -> Self {
        let Source::Files(folder) = &config.source else {
            panic!("tests have no other source")
        };
        let text = json!({
            "folder": folder,
            "session": config.session_listen,
            "admin": config.admin_listen,
            "state": config.state_dir,
            "token": config.admin_token,
        });
        Self::start(entry, CONTROLPLANE, &text)
    }

    fn start(entry: &str, role: &str, config: &Value) -> Self {
        let program = std::env::current_exe().expect("a test program is a file");
        let child = Command::new(program)
            .args(["--exact", entry, "--ignored", "--nocapture"])
            .env(role, config.to_string())
            // It ends when this end of the pipe does, whatever becomes of the test.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the test program can be run");
        Self { child }
    }

    /// Is the plane of a [`Process`], until the test that started it ends. In a test run of
    /// its own there is nothing to be.
    pub fn serve() {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_writer(std::io::stderr)
            .try_init();
        let role = |name| {
            let text = std::env::var(name).ok()?;
            let value: Value = serde_json::from_str(&text).expect("the parent writes JSON");
            Some(value)
        };
        if let Some(config) = role(DATAPLANE) {
            serve_data(&config);
        } else if let Some(config) = role(CONTROLPLANE) {
            serve_control(&config);
        }
    }

    /// Resident memory, bytes.
    pub fn memory(&self) -> u64 {
        self.bytes("VmRSS:")
    }

    /// The most that it had since [`forget_peak`](Self::forget_peak), or ever.
    pub fn peak(&self) -> u64 {
        self.bytes("VmHWM:")
    }

    /// What it has now is the most from here on (proc_pid_clear_refs(5)).
    pub fn forget_peak(&self) {
        std::fs::write(self.path("clear_refs"), "5").expect("the process is ours");
    }

    fn bytes(&self, field: &str) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kibibytes = line.and_then(|rest| rest.split_whitespace().next());
        let kibibytes: u64 = kibibytes
            .and_then(|number| number.parse().ok())
            .expect("Linux says how much memory a process has");
        kibibytes * 1024
    }

    /// CPU time of all its threads so far, in the hundredths of a second that Linux counts in.
    pub fn cpu(&self) -> Duration {
        cpu(&self.read("stat"))
    }

    /// CPU time of the test program itself.
    pub fn own_cpu() -> Duration {
        let stat = std::fs::read_to_string("/proc/self/stat");
        cpu(&stat.expect("the process is there"))
    }

    /// File descriptors that it has open.
    pub fn descriptors(&self) -> usize {
        self.count("fd")
    }

    /// Threads that it has.
    pub fn threads(&self) -> usize {
        self.count("task")
    }

    /// Whether it is still there.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path(file)).expect("the process is there")
    }

    fn count(&self, folder: &str) -> usize {
        let entries = std::fs::read_dir(self.path(folder));
        entries.expect("the process is there").count()
    }

    fn path(&self, file: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.child.id().to_string())
            .join(file)
    }
}

fn cpu(stat: &str) -> Duration {
    let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
    // User and system time are the fields 14 and 15; the third follows the name.
    let ticks: u64 = (fields.split_whitespace().skip(11).take(2))
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum();
    Duration::from_millis(ticks * 10)
}

fn serve_data(config: &Value) {
    let control = config["control"].as_array().expect("an array");
    let control = control.iter().filter_map(|url| url.as_str());
    let number = |field: &str| config[field].as_u64().expect("a number") as usize;
    let config = tidegate_dataplane::Config {
        id: text(config, "id"),
        control: control.map(str::to_owned).collect(),
        shards: number("shards"),
        admin_listen: Some(address(config, "admin")),
        state_dir: Some(text(config, "state").into()),
        spool_records: number("spool"),
        ..tidegate_dataplane::Config::default()
    };
    let dataplane = Dataplane::start(config).expect("the dataplane starts");
    until_the_parent_ends();
    dataplane.kill();
}

fn serve_control(config: &Value) {
    let config = tidegate_controlplane::Config {
        source: Source::Files(text(config, "folder").into()),
        session_listen: address(config, "session"),
        admin_listen: address(config, "admin"),
        state_dir: text(config, "state").into(),
        admin_token: Some(text(config, "token")),
        extra_metrics: None,
        metrics_listen: None,
        session_token_file: None,
        tls_names: vec![],
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let control = runtime.block_on(ControlPlane::start(config));
    let control = control.expect("the control plane starts");
    until_the_parent_ends();
    runtime.block_on(control.shutdown());
}

fn text(config: &Value, field: &str) -> String {
    config[field].as_str().expect("a string").to_owned()
}

fn address(config: &Value, field: &str) -> SocketAddr {
    text(config, field).parse().expect("an address")
}

fn until_the_parent_ends() {
    let _ended = std::io::stdin().read_to_end(&mut Vec::new());
}
