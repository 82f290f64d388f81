//! The built binary from start to end: `tidegate up` with the demo, its commands against
//! it, a restart, a folder of one's own, and signals.

use std::{
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// More than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port that is free over TCP and UDP, IPv4 and IPv6.
fn free_port() -> u16 {
    loop {
        let held = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
        let port = held.local_addr().expect("address").port();
        // Where there is no IPv6, IPv4 decides alone.
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let taken = |error: std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
        if UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
            && !TcpListener::bind(v6).is_err_and(taken)
            && !UdpSocket::bind(v6).is_err_and(taken)
        {
            return port;
        }
    }
}

fn tidegate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for name in ["TIDEGATE_ADMIN", "TIDEGATE_TOKEN", "TIDEGATE_STATE"] {
        command.env_remove(name);
    }
    command
}

/// A running `tidegate up`, killed at the end of the test if it still runs.
struct Up {
    child: Child,
    /// What it printed until it was ready.
    welcome: String,
    admin: String,
}

impl Up {
    fn start(state: &Path, drain_deadline: &str, more: &[&str]) -> Self {
        let mut child = tidegate()
            .args(["up", "--shards", "2", "--state"])
            .arg(state)
            .args(["--drain-deadline", drain_deadline])
            .args(["--admin", "127.0.0.1:0", "--session", "127.0.0.1:0"])
            .args(["--dataplane-admin", "127.0.0.1:0"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("spawned");
        let lines = lines(child.stdout.take().expect("piped"));
        let mut up = Self {
            child,
            welcome: String::new(),
            admin: String::new(),
        };
        let deadline = Instant::now() + PATIENCE;
        while !up.welcome.contains("/v1/connections") {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = lines
                .recv_timeout(left)
                .expect("ready in time, and not ended");
            up.welcome += &line;
        }
        let admin = up.welcome.split("TIDEGATE_ADMIN=").nth(1);
        let admin = admin.and_then(|rest| rest.split_whitespace().next());
        up.admin = admin.expect("the admin API's address").to_owned();
        up
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([name, &id])
            .status()
            .expect("kill");
        assert!(sent.success());
    }

    /// An operator's command against it.
    fn command(&self, state: &Path, args: &[&str]) -> Output {
        tidegate()
            .args(args)
            .args(["--admin", &self.admin, "--state"])
            .arg(state)
            .output()
            .expect("run")
    }

    fn json(&self, state: &Path, args: &[&str]) -> Value {
        let output = self.command(state, &[args, &["-o", "json"]].concat());
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).expect("json")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines as they come.
fn lines(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::sync_channel(1_000);
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            if sender.send(line + "\n").is_err() {
                return;
            }
        }
    });
    lines
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return status;
        }
        assert!(Instant::now() < deadline, "it does not end");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Tries until it works or patience ends.
fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn get(state: &Path, args: &[&str]) -> Output {
    let mut command = tidegate();
    command.arg("get").args(args).arg("--state").arg(state);
    command.output().expect("run")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_demo_serves_is_commanded_and_survives_a_restart() {
    let folder = tempfile::tempdir().expect("temp dir");
    let state = folder.path();
    let (https, http) = (free_port().to_string(), free_port().to_string());
    let ports = ["--https-port", &https, "--http-port", &http];
    let mut up = Up::start(state, "5s", &ports);
    let at = |path: &str| format!("https://localhost:{https}{path}");

    every_protocol_gets_through(state, &https, &http);
    let problems = up.command(state, &["status", "--problems"]);
    assert_eq!(text(&problems.stdout), "no problems\n", "{problems:?}");
    for table in [
        "dataplanes",
        "listeners",
        "config",
        "audit",
        "connections list",
        "top --count 1",
    ] {
        let args: Vec<_> = table.split(' ').collect();
        let output = up.command(state, &args);
        assert!(
            output.status.success() && !output.stdout.is_empty(),
            "{output:?}"
        );
    }

    // A connection is held, seen, and closed with a code and a reason.
    let mut held = tidegate()
        .args(["get", &at("/tagged"), "--every", "100ms", "-v", "--state"])
        .arg(state)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawned");
    let printed = lines(held.stdout.take().expect("piped"));
    let said = lines(held.stderr.take().expect("piped"));
    let tide = |wanted: &str| {
        eventually(wanted, || {
            printed.try_iter().find(|line| line == wanted).map(drop)
        });
    };
    tide("x-tide: high\n");
    let list = ["connections", "list", "--alpn", "h3"];
    let live = eventually("a live connection", || {
        let list = up.json(state, &list);
        let live = list["connections"].as_array().expect("a list").clone();
        (live.len() == 1 && live[0]["stats"]["rtt_us"].as_i64() > Some(0)).then(|| live[0].clone())
    });
    let id = live["id"].as_str().expect("an id");
    let shown = up.command(state, &["connections", "show", id]);
    assert!(
        text(&shown.stdout).contains("congestion window"),
        "{shown:?}"
    );

    // An edited route reaches the same connection.
    let route = state.join("demo/site.yaml");
    let edited = std::fs::read_to_string(&route)
        .expect("route")
        .replace("high", "low");
    std::fs::write(&route, edited).expect("written");
    tide("x-tide: low\n");
    assert_eq!(
        up.json(state, &["connections", "show", id])["id"],
        live["id"]
    );

    let close = [
        "connections",
        "close",
        id,
        "--code",
        "0x1f4",
        "--reason",
        "by the test",
    ];
    let closed = up.command(state, &close);
    assert_eq!(text(&closed.stdout), "closed 1 connection\n", "{closed:?}");
    assert!(!wait(&mut held).success());
    let said: String = said.iter().collect();
    assert!(
        said.contains("application code 0x1f4: by the test"),
        "{said}"
    );
    eventually("the audit record", || {
        let audit = up.json(state, &["audit", "--connection-id", id]);
        let ended = audit["records"][0]["connection"]["audit"].clone();
        (ended["closed_by"] == "command" && ended["connection_close_reason"] == "by the test")
            .then_some(())
    });

    let gone = up.command(state, &close);
    assert!(
        !gone.status.success() && !gone.stderr.is_empty(),
        "{gone:?}"
    );

    // The second life has the same authority, and keeps the edit.
    let authority = std::fs::read(state.join("ca.crt")).expect("authority");
    up.signal("-TERM");
    assert_eq!(wait(&mut up.child).code(), Some(0));
    let mut up = Up::start(state, "5s", &ports);
    assert_eq!(
        std::fs::read(state.join("ca.crt")).expect("authority"),
        authority
    );
    let tagged = get(state, &[&at("/tagged")]);
    assert!(
        text(&tagged.stdout).contains("\nx-tide: low\n"),
        "{tagged:?}"
    );
    up.signal("-INT");
    assert_eq!(wait(&mut up.child).code(), Some(0));

    let nobody = up.command(state, &["status"]);
    assert!(!nobody.status.success());
    assert!(text(&nobody.stderr).contains("tidegate up"), "{nobody:?}");
}

fn every_protocol_gets_through(state: &Path, https: &str, http: &str) {
    for (args, version) in [
        (vec!["--http3"], "HTTP/3"),
        (vec!["--http2"], "HTTP/2"),
        (vec!["--http1.1"], "HTTP/1.1"),
    ] {
        let url = format!("https://demo.localhost:{https}/echo");
        let pin = format!("demo.localhost:{https}:127.0.0.1");
        let output = get(
            state,
            &[
                &args[..],
                &[&url, "--resolve", &pin, "-d", "hello", "-H", "x-a: b"],
            ]
            .concat(),
        );
        let answer = text(&output.stdout);
        assert!(
            answer.starts_with(&format!("{version} 200")),
            "{version}: {output:?}"
        );
        let body = answer.split("\n\n").nth(1).expect("a body");
        let echo: Value = serde_json::from_str(body).expect("json");
        assert_eq!(
            (&echo["method"], &echo["body"], &echo["headers"]["x-a"]),
            (&"POST".into(), &"hello".into(), &"b".into()),
            "{version}"
        );
    }
    let size = 3_000_000_usize;
    let url = format!("https://localhost:{https}/bytes/{size}");
    assert_eq!(get(state, &[&url, "--body"]).stdout.len(), size);
    // A body that comes back while it is sent.
    let file = state.join("blob");
    let blob: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
    std::fs::write(&file, &blob).expect("written");
    let data = format!("@{}", file.display());
    for protocol in ["--http3", "--http2", "--http1.1"] {
        let url = format!("https://localhost:{https}/mirror");
        let mirrored = get(state, &[&url, protocol, "--body", "--data", &data]);
        assert!(mirrored.stdout == blob, "{protocol}: {:?}", mirrored.status);
    }
    let url = format!("http://localhost:{http}/old/path?q=1");
    let redirect = get(state, &[&url]);
    let location = format!("\nlocation: http://localhost:{http}/echo/path?q=1\n");
    assert!(text(&redirect.stdout).contains(&location), "{redirect:?}");
    let url = format!("https://localhost:{https}/status/503");
    assert!(!get(state, &[&url, "--fail"]).status.success());
}

#[test]
fn a_wrong_token_is_refused_with_the_file_that_it_came_from() {
    let folder = tempfile::tempdir().expect("temp dir");
    let state = folder.path();
    let ports = [
        "--https-port".to_owned(),
        free_port().to_string(),
        "--http-port".into(),
        free_port().to_string(),
    ];
    let up = Up::start(state, "5s", &ports.each_ref().map(String::as_str));
    let wrong = state.join("wrong.token");
    std::fs::write(&wrong, "wrong").expect("written");
    let file = wrong.to_str().expect("text");
    let refused = up.command(state, &["dataplanes", "--token-file", file]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains(file), "{refused:?}");
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().expect("temp dir");
    let state = folder.path();
    let https = free_port().to_string();
    let http = free_port().to_string();
    let ports = ["--https-port", &https, "--http-port", &http];
    let mut up = Up::start(state, "5m", &ports);
    // A response that does not end keeps the drain waiting.
    let mut endless = tidegate()
        .args(["get", &format!("https://localhost:{https}/sse"), "--state"])
        .arg(state)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("spawned");
    let events = lines(endless.stdout.take().expect("piped"));
    eventually("an event", || {
        events
            .try_iter()
            .find(|line| line == "event: tick\n")
            .map(drop)
    });
    up.signal("-TERM");
    thread::sleep(Duration::from_millis(500));
    assert!(
        up.child.try_wait().expect("wait").is_none(),
        "it waits for the response"
    );
    let again = Instant::now();
    up.signal("-TERM");
    assert_eq!(wait(&mut up.child).code(), Some(1));
    assert!(again.elapsed() < Duration::from_secs(20));
    let _ = endless.kill();
    let _ = endless.wait();
}
