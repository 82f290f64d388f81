//! A client of the interop tests on s2n-quic: reads a task from standard input, writes a report
//! to standard output. Both are described in tests/tests/interop/task.rs.

#![forbid(unsafe_code)]

mod transport;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use futures_util::{StreamExt, TryStreamExt, future::poll_fn, stream};
use h3::client::SendRequest;
use http::Request;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use s2n_quic::{
    Client,
    client::Connect,
    provider::{limits::Limits, tls},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use transport::{Connection, Opener};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Deserialize)]
struct Task {
    address: SocketAddr,
    server_name: String,
    authority: PathBuf,
    chacha20: bool,
    visits: Vec<Visit>,
}

/// s2n-quic has neither 0-RTT nor a way to ask for a key update.
#[derive(Deserialize)]
struct Visit {
    paths: Vec<String>,
}

#[derive(Serialize)]
struct Report {
    visits: Vec<Visited>,
}

#[derive(Default, Serialize)]
struct Visited {
    files: Vec<File>,
    error: Option<String>,
}

#[derive(Serialize)]
struct File {
    path: String,
    status: u16,
    length: u64,
    sha256: String,
}

const IDLE_TIMEOUT: Duration = Duration::from_secs(180);
/// For the packet that says that the connection is closed.
const GOODBYE: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<(), Error> {
    let task: Task = serde_json::from_reader(io::stdin())?;
    let config = Arc::new(config(&task)?);
    let mut visits = Vec::new();
    for visit in &task.visits {
        let mut visited = Visited::default();
        if let Err(error) = run(&task, visit, config.clone(), &mut visited).await {
            visited.error = Some(error.to_string());
        }
        visits.push(visited);
    }
    serde_json::to_writer(io::stdout(), &Report { visits })?;
    Ok(())
}

fn config(task: &Task) -> Result<ClientConfig, Error> {
    let mut provider = aws_lc_rs::default_provider();
    if task.chacha20 {
        provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    }
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&task.authority)?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    Ok(config)
}

async fn run(
    task: &Task,
    visit: &Visit,
    config: Arc<ClientConfig>,
    visited: &mut Visited,
) -> Result<(), Error> {
    let any = if task.address.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let limits = Limits::new()
        .with_max_idle_timeout(IDLE_TIMEOUT)?
        .with_max_handshake_duration(IDLE_TIMEOUT)?;
    let mut endpoint = Client::builder()
        .with_tls(tls::rustls::Client::from(config))?
        .with_limits(limits)?
        .with_io(any)?
        .start()?;
    let connect = Connect::new(task.address).with_server_name(task.server_name.as_str());
    let (handle, acceptor) = endpoint.connect(connect).await?.split();
    let transport = Connection {
        handle: handle.clone(),
        acceptor,
    };
    let (mut driver, client) = h3::client::new(transport).await?;
    let driver = tokio::spawn(async move { poll_fn(|cx| driver.poll_close(cx)).await });
    visited.files = stream::iter(&visit.paths)
        .map(|path| fetch(client.clone(), &task.server_name, path))
        .buffered(visit.paths.len().max(1))
        .try_collect()
        .await?;
    handle.close(h3::error::Code::H3_NO_ERROR.value().try_into()?);
    let _ = timeout(GOODBYE, endpoint.wait_idle()).await;
    driver.abort();
    Ok(())
}

async fn fetch(
    mut client: SendRequest<Opener, Bytes>,
    host: &str,
    path: &str,
) -> Result<File, Error> {
    let request = Request::get(format!("https://{host}{path}")).body(())?;
    let mut stream = client.send_request(request).await?;
    stream.finish().await?;
    let status = stream.recv_response().await?.status().as_u16();
    let (mut hash, mut length) = (Sha256::new(), 0);
    while let Some(mut data) = stream.recv_data().await? {
        length += data.remaining() as u64;
        while data.has_remaining() {
            hash.update(data.chunk());
            data.advance(data.chunk().len());
        }
    }
    Ok(File {
        path: path.to_owned(),
        status,
        length,
        sha256: hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    })
}
