//! A gateway of a test: both planes in this process, their folder and their ports.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_controlplane::{ControlPlane, Source, Tuning};
use tidegate_dataplane::Dataplane;
use tokio::net::UdpSocket;

use crate::{
    Admin, Authority, Folder, H3, OtlpSink, Process, Samples, Target, Tcp, Upstream, Wire,
    eventually, listeners, ports::free_port,
};

/// Server name of the default certificate and listeners.
const SERVER_NAME: &str = "site.test";
const DATAPLANE_ID: &str = "edge";
/// Of a control plane whose own one cannot be asked for.
const PROCESS_TOKEN: &str = "token-of-a-test";

/// A running gateway; dropped, it is killed.
pub struct Gateway {
    pub folder: Folder,
    pub authority: Authority,
    /// HTTPS and HTTP/3.
    pub https: SocketAddr,
    /// Cleartext HTTP.
    pub http: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    control: Option<ControlPlane>,
    dataplane: Option<Dataplane>,
    process: Option<Process>,
    control_process: Option<Process>,
    admin: Admin,
    session_address: SocketAddr,
    dataplane_admin: SocketAddr,
    relay: Option<SocketAddr>,
    builder: Builder,
    home: TempDir,
}

/// What a gateway starts with.
#[derive(Clone, Debug)]
pub struct Builder {
    shards: usize,
    drain_deadline: Duration,
    spool_records: usize,
    tls_options: Value,
    hostname: Option<String>,
    otlp: Option<String>,
    relaying: bool,
    absence: Duration,
    process: Option<&'static str>,
    control_process: Option<&'static str>,
    address: IpAddr,
    /// Host names of the certificate beside the usual ones.
    more_names: Vec<String>,
    packets_per_key: u64,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            shards: 2,
            drain_deadline: Duration::from_secs(30),
            spool_records: 65_536,
            tls_options: json!({}),
            hostname: None,
            otlp: None,
            relaying: false,
            absence: Duration::from_secs(60),
            process: None,
            control_process: None,
            address: Ipv4Addr::LOCALHOST.into(),
            more_names: Vec::new(),
            packets_per_key: tidegate_dataplane::quic::CONFIDENTIALITY_LIMIT,
        }
    }
}

impl Builder {
    pub fn shards(self, shards: usize) -> Self {
        Self { shards, ..self }
    }

    /// `tls.options` of the HTTPS listener.
    pub fn tls_option(mut self, name: &str, value: &str) -> Self {
        self.tls_options[name] = value.into();
        self
    }

    /// `hostname` of both listeners.
    pub fn hostname(self, hostname: &str) -> Self {
        Self {
            hostname: Some(hostname.to_owned()),
            ..self
        }
    }

    /// Dataplanes relay packets to each other.
    pub fn relaying(self) -> Self {
        Self {
            relaying: true,
            ..self
        }
    }

    /// After which a dataplane without a session is gone.
    pub fn absence(self, absence: Duration) -> Self {
        Self { absence, ..self }
    }

    /// The dataplane is a process of its own: the ignored test `entry`, which calls
    /// [`Process::serve`].
    pub fn process(self, entry: &'static str) -> Self {
        Self {
            process: Some(entry),
            ..self
        }
    }

    /// Each plane is a process of its own, by the same entry.
    pub fn processes(self, entry: &'static str) -> Self {
        Self {
            control_process: Some(entry),
            ..self.process(entry)
        }
    }

    /// Listens on the IPv6 loopback address instead.
    pub fn ipv6(self) -> Self {
        Self {
            address: Ipv6Addr::LOCALHOST.into(),
            ..self
        }
    }

    /// Makes the certificate larger by so many host names.
    pub fn more_names(self, count: usize) -> Self {
        let name = |index| format!("one-of-many-names-{index}.site.test");
        Self {
            more_names: (0..count).map(name).collect(),
            ..self
        }
    }

    /// Packets that one connection may seal with AES-GCM.
    pub fn packets_per_key(self, packets_per_key: u64) -> Self {
        Self {
            packets_per_key,
            ..self
        }
    }

    /// Metrics and traces of the dataplane go to this collector.
    pub fn otlp(self, sink: &OtlpSink) -> Self {
        Self {
            otlp: Some(sink.endpoint()),
            ..self
        }
    }

    /// Starts both planes with one route of everything to this upstream, and waits until
    /// traffic flows.
    pub async fn start(self, upstream: &Upstream) -> Gateway {
        self.start_with(|folder| {
            folder.service("app", &[upstream.address]);
            folder.route(
                "app",
                &[],
                &json!([{"backendRefs": [{"name": "app", "port": 80}]}]),
            );
        })
        .await
    }

    /// Starts both planes with the services and routes that `fill` writes.
    pub async fn start_with(self, fill: impl FnOnce(&Folder)) -> Gateway {
        // Output of a failed test is shown; RUST_LOG chooses how much there is.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let home = tempfile::tempdir().expect("the system has a folder for temporary files");
        let folder = Folder::new(&home.path().join("resources")).expect("the folder is ours");
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (https, http) = (free_port(), free_port());
        let authority = Authority::new();
        folder.gateway_class();
        let mut names = vec![SERVER_NAME, "*.site.test", "other.test"];
        names.extend(self.more_names.iter().map(String::as_str));
        folder.secret("site", &authority.issue(&names));
        folder.gateway_at(self.address, &self.listeners(https, http));
        fill(&folder);

        let any = loopback(0);
        let (mut control, mut control_process) = (None, None);
        let (session_address, admin) = match self.control_process {
            Some(entry) => {
                let (session, admin) = (loopback(free_port()), loopback(free_port()));
                let mut config = control_config(&home, &folder, session, admin);
                config.admin_token = Some(PROCESS_TOKEN.to_owned());
                control_process = Some(Process::controlplane(entry, &config));
                (session, Admin::new(admin, PROCESS_TOKEN))
            }
            None => {
                let started = start_control(&home, &folder, any, any, self.absence).await;
                let admin = Admin::new(started.admin_addr(), started.admin_token());
                let session = started.session_addr();
                control = Some(started);
                (session, admin)
            }
        };
        let relay = self.relaying.then(|| loopback(free_port()));
        let start = |admin| self.config(&home, DATAPLANE_ID, session_address, admin, relay);
        let (mut dataplane, mut process) = (None, None);
        let dataplane_admin = match self.process {
            Some(entry) => {
                let admin = loopback(free_port());
                process = Some(Process::dataplane(entry, &start(admin)));
                admin
            }
            None => {
                let started = Dataplane::start(start(any)).expect("the dataplane starts");
                let admin = started.admin_addr().expect("an admin port was asked for");
                dataplane = Some(started);
                admin
            }
        };
        let gateway = Gateway {
            folder,
            tls: authority.client(&["h3"]),
            authority,
            https: (self.address, https).into(),
            http: (self.address, http).into(),
            control,
            dataplane,
            process,
            control_process,
            admin,
            session_address,
            dataplane_admin,
            relay,
            builder: self,
            home,
        };
        gateway.ready().await;
        gateway
    }

    fn listeners(&self, https: u16, http: u16) -> Value {
        let hostname = self.hostname.as_deref();
        let mut https = listeners::https("https", https, hostname);
        https["tls"]["options"] = json!(self.tls_options);
        let mut http = listeners::http(http);
        if let Some(hostname) = hostname {
            http["hostname"] = hostname.into();
        }
        json!([https, http])
    }

    fn start_dataplane(
        &self,
        home: &TempDir,
        id: &str,
        session: SocketAddr,
        admin: SocketAddr,
        relay: Option<SocketAddr>,
    ) -> Dataplane {
        let config = self.config(home, id, session, admin, relay);
        Dataplane::start(config).expect("the dataplane starts")
    }

    fn config(
        &self,
        home: &TempDir,
        id: &str,
        session: SocketAddr,
        admin: SocketAddr,
        relay: Option<SocketAddr>,
    ) -> tidegate_dataplane::Config {
        tidegate_dataplane::Config {
            id: id.to_owned(),
            control: vec![format!("http://{session}")],
            control_ca: None,
            token_file: None,
            gateway: String::new(),
            shards: self.shards,
            admin_listen: Some(admin),
            state_dir: Some(home.path().join(format!("dataplane-{id}"))),
            spool_records: self.spool_records,
            drain_deadline: self.drain_deadline,
            relay: relay.map(|address| tidegate_dataplane::Relay {
                listen: address,
                address,
            }),
            stay_ready: false,
            packets_per_key: self.packets_per_key,
            otlp_endpoint: self.otlp.clone(),
        }
    }
}

async fn start_control(
    home: &TempDir,
    folder: &Folder,
    session: SocketAddr,
    admin: SocketAddr,
    absence: Duration,
) -> ControlPlane {
    let config = control_config(home, folder, session, admin);
    let mut tuning = Tuning::default();
    tuning.patience.absence = absence;
    ControlPlane::start_tuned(config, tuning)
        .await
        .expect("the control plane starts")
}

fn control_config(
    home: &TempDir,
    folder: &Folder,
    session: SocketAddr,
    admin: SocketAddr,
) -> tidegate_controlplane::Config {
    tidegate_controlplane::Config {
        source: Source::Files(folder.path().to_owned()),
        session_listen: session,
        admin_listen: admin,
        state_dir: home.path().join("controlplane"),
        admin_token: None,
        extra_metrics: None,
        metrics_listen: None,
        session_token_file: None,
        tls_names: vec![],
    }
}

impl Gateway {
    /// Both planes with defaults, and one route of everything to this upstream.
    pub async fn start(upstream: &Upstream) -> Self {
        Builder::default().start(upstream).await
    }

    pub fn builder() -> Builder {
        Builder::default()
    }

    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// HTTPS and HTTP/3. Clients of one gateway share session tickets through this.
    pub fn target(&self) -> Target {
        Target {
            address: self.https,
            server_name: SERVER_NAME.to_owned(),
            tls: Some(self.tls.clone()),
        }
    }

    pub fn cleartext(&self) -> Target {
        Target {
            address: self.http,
            server_name: SERVER_NAME.to_owned(),
            tls: None,
        }
    }

    #[track_caller]
    pub fn h3(&self) -> impl Future<Output = H3> {
        H3::connect(&self.target())
    }

    #[track_caller]
    pub fn h2(&self) -> impl Future<Output = Tcp> {
        Tcp::connect(&self.target(), Wire::H2)
    }

    #[track_caller]
    pub fn h1(&self) -> impl Future<Output = Tcp> {
        Tcp::connect(&self.target(), Wire::H1)
    }

    /// Somebody who has sent these datagrams, and says no more.
    pub async fn stranger(&self, datagrams: &[Vec<u8>]) -> UdpSocket {
        let bound = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let socket = bound.expect("loopback binds");
        for datagram in datagrams {
            let sent = socket.send_to(datagram, self.https).await;
            sent.expect("loopback takes it");
        }
        socket
    }

    /// Metrics of the dataplane.
    pub async fn dataplane_metrics(&self) -> Samples {
        Samples::fetch(self.dataplane_admin).await
    }

    /// The same, without a request to its admin port.
    pub fn dataplane_samples(&self) -> Samples {
        let dataplane = self.dataplane.as_ref().expect("the dataplane is up");
        Samples::parse(&dataplane.metrics_text())
    }

    /// The dataplane's process, if it has one of its own.
    pub fn dataplane_process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it was asked for")
    }

    /// The control plane's process, if it has one of its own.
    pub fn control_process(&mut self) -> &mut Process {
        self.control_process.as_mut().expect("it was asked for")
    }

    /// Metrics of the control plane.
    pub async fn control_metrics(&self) -> Samples {
        Samples::fetch(self.admin.address).await
    }

    /// Waits until every plane that is up says that traffic flows.
    pub async fn ready(&self) {
        let mut ports = vec![self.dataplane_admin];
        let control = self.control.is_some() || self.control_process.is_some();
        ports.extend(control.then_some(self.admin.address));
        for port in ports {
            ready_at(port).await;
        }
        if control {
            eventually("the control plane sees the dataplane serve", || async {
                let fleet = self.admin.read("/v1/dataplanes").await;
                let acked = fleet["dataplanes"][0]["acked_version"].as_str()?.to_owned();
                (!acked.is_empty()).then_some(())
            })
            .await;
        }
    }

    /// Stops the control plane; the dataplane serves on.
    pub async fn stop_control(&mut self) {
        if let Some(control) = self.control.take() {
            control.shutdown().await;
        }
    }

    /// Starts the control plane again on its ports and its state.
    pub async fn start_control(&mut self) {
        assert!(self.control.is_none(), "the control plane is up");
        let control = start_control(
            &self.home,
            &self.folder,
            self.session_address,
            self.admin.address,
            self.builder.absence,
        )
        .await;
        assert_eq!(
            control.admin_token(),
            self.admin.token,
            "the token outlives a restart"
        );
        self.control = Some(control);
    }

    /// Drains and stops the dataplane.
    pub async fn stop_dataplane(&mut self) {
        if let Some(dataplane) = self.dataplane.take() {
            dataplane.shutdown().await;
        }
    }

    /// Ends the dataplane without a drain, as a crash would.
    pub fn kill_dataplane(&mut self) {
        if let Some(dataplane) = self.dataplane.take() {
            dataplane.kill();
        }
    }

    /// Starts the dataplane again on its ports and its state.
    pub async fn start_dataplane(&mut self) {
        assert!(self.dataplane.is_none(), "the dataplane is up");
        let dataplane = self.builder.start_dataplane(
            &self.home,
            DATAPLANE_ID,
            self.session_address,
            self.dataplane_admin,
            self.relay,
        );
        self.dataplane = Some(dataplane);
        self.ready().await;
    }

    /// Has the next dataplane start with other settings.
    pub fn change(&mut self, change: impl FnOnce(Builder) -> Builder) {
        self.builder = change(self.builder.clone());
    }

    /// Starts another dataplane on the same ports, and waits until it serves.
    pub async fn another_dataplane(&self, id: &str) -> Dataplane {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let relay = self.relay.map(|_| loopback(free_port()));
        let (session, admin) = (self.session_address, loopback(0));
        let dataplane = self
            .builder
            .start_dataplane(&self.home, id, session, admin, relay);
        let admin = dataplane.admin_addr().expect("an admin port was asked for");
        ready_at(admin).await;
        dataplane
    }

    /// Where other dataplanes reach this one.
    #[track_caller]
    pub fn relay_address(&self) -> SocketAddr {
        self.relay.expect("it relays")
    }

    /// Writes the Gateway again with other `tls.options` of its HTTPS listener.
    pub fn rewrite_gateway(&self, builder: &Builder) {
        self.folder.gateway_at(
            builder.address,
            &builder.listeners(self.https.port(), self.http.port()),
        );
    }
}

async fn ready_at(port: SocketAddr) {
    let probe = Admin::new(port, "");
    eventually("/readyz turns 200", || async {
        let answer = probe
            .bare(reqwest::Method::GET, "/readyz")
            .send()
            .await
            .ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill_dataplane();
    }
}
