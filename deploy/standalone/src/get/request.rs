//! The request that the arguments describe.

use std::io::Read;

use anyhow::Context;
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT},
};

use super::Args;

/// # Errors
/// The data cannot be read, or a header is none.
pub(super) fn build(args: &Args) -> anyhow::Result<Request<Bytes>> {
    let content = args.data.as_deref().map(read).transpose()?;
    let method = match (&args.method, &content) {
        (Some(method), _) => method.clone(),
        (None, Some(_)) => Method::POST,
        (None, None) => Method::GET,
    };
    let mut request = Request::builder()
        .method(method)
        .uri(args.url.uri.clone())
        .body(content.clone().unwrap_or_default())?;
    let headers = request.headers_mut();
    for header in &args.headers {
        let (name, value) = split(header)?;
        headers.append(name, value);
    }
    for (name, value) in [
        (USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION"))),
        (ACCEPT, "*/*"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if let Some(content) = content {
        headers
            .entry(CONTENT_TYPE)
            .or_insert(HeaderValue::from_static(
                "application/x-www-form-urlencoded",
            ));
        headers
            .entry(CONTENT_LENGTH)
            .or_insert(HeaderValue::from(content.len()));
    }
    Ok(request)
}

fn read(data: &str) -> anyhow::Result<Bytes> {
    let Some(file) = data.strip_prefix('@') else {
        return Ok(Bytes::copy_from_slice(data.as_bytes()));
    };
    if file == "-" {
        let mut content = Vec::new();
        std::io::stdin()
            .read_to_end(&mut content)
            .context("read standard input")?;
        return Ok(content.into());
    }
    let content = std::fs::read(file).with_context(|| format!("read {file}"))?;
    Ok(content.into())
}

fn split(header: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let context = || format!("`{header}` is no header: expected 'name: value'");
    let (name, value) = header.split_once(':').with_context(context)?;
    let name = name
        .trim()
        .to_ascii_lowercase()
        .parse()
        .with_context(context)?;
    let value = value.trim().parse().with_context(context)?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn request(line: &[&str]) -> anyhow::Result<Request<Bytes>> {
        let line = Line::try_parse_from(["get", "https://a/b"].iter().chain(line))?;
        build(&line.args)
    }

    #[test]
    fn data_makes_it_a_post_with_a_length() {
        let request = request(&["-d", "a=b"]).expect("valid");
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.headers()[CONTENT_LENGTH], "3");
        assert_eq!(request.body(), "a=b");
    }

    #[test]
    fn what_is_said_wins_over_the_defaults() {
        let request = request(&[
            "-X",
            "PUT",
            "-d",
            "{}",
            "-H",
            "Content-Type: application/json",
        ]);
        let request = request.expect("valid");
        assert_eq!(request.method(), Method::PUT);
        let types: Vec<_> = request.headers().get_all(CONTENT_TYPE).iter().collect();
        assert_eq!(types, ["application/json"]);
    }

    #[test]
    fn a_get_has_no_body_fields() {
        let request = request(&[]).expect("valid");
        assert_eq!(request.method(), Method::GET);
        assert!(!request.headers().contains_key(CONTENT_LENGTH));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for header in ["novalue", ": x", "a b: c", "a: b\nc: d"] {
            assert!(request(&["-H", header]).is_err(), "{header}");
        }
    }
}
