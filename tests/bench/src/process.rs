//! Processes on one core each: started, measured, ended.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

/// The core of the server that is measured.
pub const SERVER_CORE: usize = 0;
/// The core of everything else.
pub const LOAD_CORE: usize = 1;

/// A child process on one core. Dropped, it is ended.
pub struct Process {
    child: Child,
    name: String,
}

/// `program` on one core.
pub fn pinned(core: usize, program: impl AsRef<Path>) -> Command {
    // It becomes the program, so that the process id is the program's.
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(core.to_string());
    command.arg(program.as_ref());
    command
}

impl Process {
    /// Starts a command with what it says in `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let out = fs::File::create(log).with_context(|| format!("cannot write {log:?}"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self {
            child,
            name: name.to_owned(),
        })
    }

    /// CPU time that it has taken, in user and kernel, all threads.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let clock = clock_getcpuclockid(self.pid())?;
        Ok(Duration::from(clock_gettime(clock)?))
    }

    /// Memory that is resident, in bytes.
    pub fn resident(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line
            .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            .context("no VmRSS")?;
        Ok(kib * 1024)
    }

    /// Fails if the process has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended: {status}", self.name);
        }
        Ok(())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = kill(self.pid(), Signal::SIGTERM);
        let patience = Instant::now() + Duration::from_secs(2);
        while Instant::now() < patience {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
