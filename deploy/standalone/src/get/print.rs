//! What `get` prints: the head and the body on standard output, facts on standard error.

use std::{fmt::Write, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use tokio::{
    fs::File,
    io::{AsyncWrite, AsyncWriteExt},
};

use super::Args;
use crate::units;

pub(super) struct Printer {
    to: Box<dyn AsyncWrite + Unpin + Send>,
    to_file: bool,
    body_only: bool,
    verbose: bool,
    repeated: bool,
    /// Responses printed to their end.
    responses: u64,
    /// Body bytes of the response that is being printed, and its last one.
    received: u64,
    last: u8,
}

impl Printer {
    pub(super) async fn new(args: &Args) -> anyhow::Result<Self> {
        let to: Box<dyn AsyncWrite + Unpin + Send> = match &args.output {
            Some(file) => {
                let context = || format!("create {}", file.display());
                Box::new(File::create(file).await.with_context(context)?)
            }
            None => Box::new(tokio::io::stdout()),
        };
        Ok(Self {
            to,
            to_file: args.output.is_some(),
            body_only: args.body,
            verbose: args.verbose,
            repeated: args.every.is_some(),
            responses: 0,
            received: 0,
            last: b'\n',
        })
    }

    /// Of a series, the first response is printed whole and the others in a line.
    fn brief(&self) -> bool {
        self.repeated && self.responses > 0 && !self.body_only && !self.verbose
    }

    pub(super) async fn note(&self, text: &str) -> anyhow::Result<()> {
        tokio::io::stderr()
            .write_all(format!("* {text}\n").as_bytes())
            .await?;
        Ok(())
    }

    pub(super) async fn request(
        &self,
        request: &Request<Bytes>,
        protocol: &str,
    ) -> anyhow::Result<()> {
        if !self.verbose {
            return Ok(());
        }
        let head = format!("{} {} {protocol}", request.method(), request.uri());
        let lines = fields(&head, request.headers(), "> ");
        tokio::io::stderr().write_all(lines.as_bytes()).await?;
        Ok(())
    }

    pub(super) async fn head(
        &mut self,
        protocol: &str,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> anyhow::Result<()> {
        self.received = 0;
        self.last = b'\n';
        if self.body_only || self.brief() {
            return Ok(());
        }
        let head = fields(&format!("{protocol} {status}"), headers, "");
        if self.to_file {
            tokio::io::stdout().write_all(head.as_bytes()).await?;
        } else {
            self.to.write_all(format!("{head}\n").as_bytes()).await?;
        }
        Ok(())
    }

    pub(super) async fn data(&mut self, data: &[u8]) -> anyhow::Result<()> {
        self.received += data.len() as u64;
        if let Some(&last) = data.last() {
            self.last = last;
        }
        if !self.brief() {
            self.to.write_all(data).await?;
        }
        Ok(())
    }

    pub(super) async fn trailers(&self, trailers: &HeaderMap) -> anyhow::Result<()> {
        if self.verbose {
            let lines = fields("trailers", trailers, "< ");
            tokio::io::stderr().write_all(lines.as_bytes()).await?;
        }
        Ok(())
    }

    pub(super) async fn end(
        &mut self,
        protocol: &str,
        status: StatusCode,
        elapsed: Duration,
    ) -> anyhow::Result<()> {
        let summary = format!(
            "{protocol} {status}, {} in {}",
            units::bytes(self.received),
            units::micros(elapsed.as_micros() as u64)
        );
        if self.brief() {
            self.to.write_all(format!("{summary}\n").as_bytes()).await?;
        } else if self.last != b'\n' && !self.to_file && !self.body_only {
            // The shell's prompt belongs on a line of its own.
            self.to.write_all(b"\n").await?;
        }
        self.to.flush().await?;
        if self.verbose {
            self.note(&summary).await?;
        }
        self.responses += 1;
        Ok(())
    }
}

/// A first line and the fields of a head; values that are no text are shown escaped.
fn fields(first: &str, headers: &HeaderMap, mark: &str) -> String {
    let mut lines = format!("{mark}{first}\n");
    for (name, value) in headers {
        let value = match value.to_str() {
            Ok(text) => text.to_owned(),
            Err(_) => value.as_bytes().escape_ascii().to_string(),
        };
        let _ = writeln!(lines, "{mark}{name}: {value}");
    }
    lines
}
