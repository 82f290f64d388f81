//! The servers that are compared: how each is configured and started.

mod caddy;
mod envoy;
mod static_quiche;
mod tidegate;
mod traefik;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{
    load,
    process::{LOAD_CORE, Process, pinned},
};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    Tidegate,
    Envoy,
    Caddy,
    Traefik,
    /// Answers by itself: no proxy.
    TokioQuiche,
}

/// Where programs are.
pub struct Tools {
    /// Tidegate's planes.
    pub tidegate: PathBuf,
    /// Envoy, Caddy and Traefik.
    pub peers: PathBuf,
    /// The programs of this package.
    pub own: PathBuf,
    /// oha.
    pub load: PathBuf,
    /// tquic_client.
    pub tquic: PathBuf,
}

/// A folder with what a server needs, and the addresses that it is to use.
pub struct Site {
    pub folder: PathBuf,
    pub origin: SocketAddr,
    /// HTTPS over TCP, and HTTP/3 over UDP.
    pub listen: SocketAddr,
    /// Seconds after which a server ends a connection that does nothing. oha ends only when
    /// its last connection is closed, which most servers do not do until then.
    pub idle_timeout: u32,
    spare: [SocketAddr; 3],
}

impl Site {
    fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {path:?}"))?;
        Ok(path)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }
}

/// A server that answers.
pub struct Server {
    pub kind: Kind,
    pub address: SocketAddr,
    /// The one that is measured.
    pub process: Process,
    _others: Vec<Process>,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Tidegate,
        Self::Envoy,
        Self::Caddy,
        Self::Traefik,
        Self::TokioQuiche,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Tidegate => "Tidegate",
            Self::Envoy => "Envoy",
            Self::Caddy => "Caddy",
            Self::Traefik => "Traefik",
            Self::TokioQuiche => "tokio-quiche",
        }
    }

    /// Whether it has an answer of its own for [`OWN`].
    pub fn answers_itself(self) -> bool {
        matches!(self, Self::Tidegate | Self::TokioQuiche)
    }

    /// Whether it speaks HTTP over TCP as well.
    pub fn has_tcp(self) -> bool {
        self != Self::TokioQuiche
    }

    pub fn version(self, tools: &Tools) -> anyhow::Result<String> {
        let (program, arguments): (PathBuf, &[&str]) = match self {
            Self::Tidegate => (tools.tidegate.join("tidegate-dataplane"), &["--version"]),
            Self::Envoy => (tools.peers.join("envoy"), &["--version"]),
            Self::Caddy => (tools.peers.join("caddy"), &["version"]),
            Self::Traefik => (tools.peers.join("traefik"), &["version"]),
            Self::TokioQuiche => return Ok(static_quiche::VERSION.to_owned()),
        };
        let output = Command::new(&program).args(arguments).output();
        let output = output.with_context(|| format!("cannot run {program:?}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = |word: &&str| word.split('.').count() >= 3 && word.contains(char::is_numeric);
        let mut words = text.split([' ', '\n', '/', '\t']).map(str::trim);
        Ok(words.find(version).unwrap_or("unknown").to_owned())
    }

    /// Starts it and waits until it answers.
    pub fn start(self, tools: &Tools, site: &Site) -> anyhow::Result<Server> {
        let (process, others) = match self {
            Self::Tidegate => tidegate::start(tools, site)?,
            Self::Envoy => envoy::start(tools, site)?,
            Self::Caddy => caddy::start(tools, site)?,
            Self::Traefik => traefik::start(tools, site)?,
            Self::TokioQuiche => static_quiche::start(tools, site)?,
        };
        let mut server = Server {
            kind: self,
            address: site.listen,
            process,
            _others: others,
        };
        let patience = Instant::now() + Duration::from_secs(30);
        while let Err(error) = load::handshakes(tools, &server, 1, &["--patience", "500"]) {
            server.process.check()?;
            if Instant::now() > patience {
                return Err(error.context(format!("{} does not answer", self.name())));
            }
            sleep(Duration::from_millis(200));
        }
        if self.has_tcp() {
            std::net::TcpStream::connect(site.listen)
                .with_context(|| format!("{} has no TCP port", self.name()))?;
        }
        Ok(server)
    }
}

/// What is answered without an upstream and without content: by Tidegate with a redirect.
pub const OWN: &str = "/bytes/0";

/// Starts the upstream.
pub fn origin(tools: &Tools, folder: &Path) -> anyhow::Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let mut command = pinned(LOAD_CORE, tools.own.join("origin"));
    command.arg(address.to_string());
    let mut process = Process::start("origin", &mut command, &folder.join("origin.log"))?;
    for _ in 0..100 {
        process.check()?;
        if std::net::TcpStream::connect(address).is_ok() {
            return Ok((process, address));
        }
        sleep(Duration::from_millis(50));
    }
    bail!("the upstream does not answer")
}

/// A folder with a certificate, and free ports.
pub fn site(folder: &Path, origin: SocketAddr) -> anyhow::Result<Site> {
    fs::create_dir_all(folder)?;
    let site = Site {
        folder: folder.to_owned(),
        origin,
        listen: free_address()?,
        idle_timeout: 1,
        spare: [free_address()?, free_address()?, free_address()?],
    };
    let key = rcgen::KeyPair::generate()?;
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
    site.write("cert.pem", &certificate.pem())?;
    site.write("key.pem", &key.serialize_pem())?;
    Ok(site)
}

/// A port that neither TCP nor UDP has.
fn free_address() -> anyhow::Result<SocketAddr> {
    for _ in 0..64 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = tcp.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port is free")
}
