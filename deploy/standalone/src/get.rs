//! `tidegate get`: one request, or one every so often over the same connection, so that
//! anyone can try HTTP/3 without a special client.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use clap::ArgGroup;
use http::Method;

use crate::{
    origin::{Pin, Url},
    state::StateArgs,
    trust, units,
};

mod connection;
mod print;
mod request;

use connection::Connection;
use print::Printer;

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("protocol").multiple(false))]
pub struct Args {
    /// What to fetch
    pub url: Url,
    /// Over QUIC; the default for https
    #[arg(long, group = "protocol")]
    pub http3: bool,
    /// Over TCP; for http with prior knowledge
    #[arg(long, group = "protocol")]
    pub http2: bool,
    /// Over TCP; the default for http
    #[arg(long = "http1.1", group = "protocol")]
    pub http1: bool,
    /// Trust the certificates of FILE only, rather than the system's and the demo's
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Connect to ADDRESS for that host and port
    #[arg(long, value_name = "HOST:PORT:ADDRESS")]
    pub resolve: Vec<Pin>,
    /// Request method; GET, or POST with data
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub method: Option<Method>,
    /// Request body; @FILE reads it from a file, @- from standard input
    #[arg(short, long)]
    pub data: Option<String>,
    /// Request header field, as in 'accept: text/html'
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Print the body only
    #[arg(short, long)]
    pub body: bool,
    /// Write the body to FILE
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Also print the connection's facts, the request and trailers
    #[arg(short, long)]
    pub verbose: bool,
    /// Fail when the status is 400 or above
    #[arg(short, long)]
    pub fail: bool,
    /// Repeat the request at this interval, over the same connection
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    pub every: Option<Duration>,
    /// With --every: stop after so many requests
    #[arg(long, requires = "every", value_name = "N")]
    pub count: Option<u64>,
    #[command(flatten)]
    pub state: StateArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
    Http3,
}

impl Args {
    fn protocol(&self) -> anyhow::Result<Protocol> {
        let tls = self.url.origin.tls;
        Ok(match (self.http3, self.http2, self.http1) {
            (true, ..) if !tls => bail!("HTTP/3 needs an https URL"),
            (_, true, _) => Protocol::Http2,
            (_, _, true) => Protocol::Http1,
            _ if tls => Protocol::Http3,
            _ => Protocol::Http1,
        })
    }
}

/// # Errors
/// The request could not be sent or its response not be read, for any reason; with
/// `--fail` also a status of 400 or above.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let request = request::build(&args)?;
    let mut printer = Printer::new(&args).await?;
    let mut connection = connect(&args).await?;
    if args.verbose {
        printer.note(&connection.facts()).await?;
    }
    let interrupted = tokio::signal::ctrl_c();
    let outcome = tokio::select! {
        outcome = exchange(&args, &request, &mut connection, &mut printer) => outcome,
        _ = interrupted => Ok(()),
    };
    connection.finish().await;
    match outcome {
        // Who closes standard output early, as `head` does, has read enough.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        outcome => outcome,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

async fn connect(args: &Args) -> anyhow::Result<Connection> {
    let protocol = args.protocol()?;
    let origin = &args.url.origin;
    let addresses = origin
        .addresses(&args.resolve)
        .await
        .with_context(|| format!("look up {}", origin.host))?;
    let alpn: &[&[u8]] = match protocol {
        Protocol::Http1 => &[b"http/1.1"],
        Protocol::Http2 => &[b"h2"],
        Protocol::Http3 => &[b"h3"],
    };
    let tls = origin
        .tls
        .then(|| trust::client_config(args.cacert.as_deref(), &args.state.authority(), alpn))
        .transpose()?;
    match (protocol, tls) {
        (Protocol::Http3, Some(tls)) => Connection::quic(origin, &addresses, tls).await,
        (protocol, tls) => {
            Connection::tcp(origin, &addresses, tls, protocol == Protocol::Http2).await
        }
    }
}

/// Sends the request as often as was asked, until the connection ends.
async fn exchange(
    args: &Args,
    request: &http::Request<bytes::Bytes>,
    connection: &mut Connection,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let mut sent = 0;
    loop {
        let status = connection.exchange(request.clone(), printer).await?;
        sent += 1;
        if args.fail && status.as_u16() >= 400 {
            bail!("the server answered {status}");
        }
        let Some(interval) = args.every.filter(|_| args.count != Some(sent)) else {
            return Ok(());
        };
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            why = connection.closed() => bail!("{why}"),
        }
    }
}
