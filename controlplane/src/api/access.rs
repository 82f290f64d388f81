//! The admin token: where it is kept, and who has it.

use std::{io, path::Path};

use anyhow::{Context, ensure};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use boring::{memcmp, sha::sha256};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rand::{TryRng, rngs::SysRng};
use tonic::Status;
use tracing::info;

use super::respond::problem_response;
use crate::private_file;

/// Random bytes of a token that is made here.
const TOKEN_LENGTH: usize = 32;
const ADVICE: &str = "this needs the admin token: send `Authorization: Bearer <token>`; \
                      standalone, it is in the file admin.token in the state folder";

/// Reads the token in `folder`, or makes one at the first start.
pub(crate) fn token(folder: &Path) -> anyhow::Result<String> {
    let path = folder.join("admin.token");
    let shown = path.display();
    let kept = private_file::read(&path).with_context(|| format!("cannot read {shown}"))?;
    if let Some(token) = kept {
        let token = token.trim();
        ensure!(
            !token.is_empty(),
            "{shown} is empty: remove it to get a new admin token"
        );
        return Ok(token.to_owned());
    }
    let mut random = [0; TOKEN_LENGTH];
    SysRng
        .try_fill_bytes(&mut random)
        .map_err(io::Error::other)?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    private_file::write(&path, &format!("{token}\n"))
        .with_context(|| format!("cannot write {shown}"))?;
    info!(path = %shown, "made an admin token");
    Ok(token)
}

/// Knows the token by its hash. Cheap to clone; it has no `Debug`.
#[derive(Clone)]
pub(crate) struct Access([u8; 32]);

impl Access {
    pub(crate) fn new(token: &str) -> Self {
        Self(sha256(token.as_bytes()))
    }

    /// Compares hashes in constant time, so that neither the token's bytes nor its
    /// length can be found by measuring.
    fn admits(&self, token: &str) -> bool {
        memcmp::eq(&self.0, &sha256(token.as_bytes()))
    }

    fn admits_request(&self, headers: &HeaderMap) -> bool {
        let credentials = headers.get(header::AUTHORIZATION);
        credentials
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| self.admits_bearer(value))
    }

    /// RFC 6750 2.1; the scheme's name has no case (RFC 9110 11.1).
    fn admits_bearer(&self, value: &str) -> bool {
        value.split_once(' ').is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && self.admits(token.trim())
        })
    }

    /// Refuses a gRPC call without the token.
    pub(crate) fn check(&self, metadata: &tonic::metadata::MetadataMap) -> Result<(), Status> {
        let value = metadata.get(header::AUTHORIZATION.as_str());
        let admitted = value
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| self.admits_bearer(value));
        if admitted {
            Ok(())
        } else {
            Err(Status::unauthenticated(ADVICE))
        }
    }
}

/// Refuses a REST request without the token.
pub(crate) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    if access.admits_request(request.headers()) {
        return next.run(request).await;
    }
    let mut response = problem_response(StatusCode::UNAUTHORIZED, ADVICE);
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let first = token(folder.path()).unwrap();
        assert_eq!(first.len(), 2 * TOKEN_LENGTH);
        assert_eq!(token(folder.path()).unwrap(), first);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(token(other.path()).unwrap(), first);
    }

    #[test]
    fn an_empty_token_file_admits_nobody() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("admin.token"), "\n").unwrap();
        let error = token(folder.path()).unwrap_err().to_string();
        assert!(error.contains("remove it"), "{error}");
    }

    #[test]
    fn only_the_whole_token_is_admitted() {
        let access = Access::new("correct");
        for (value, admitted) in [
            ("Bearer correct", true),
            ("bearer correct", true),
            ("Bearer correc", false),
            ("Bearer correctx", false),
            ("Bearer ", false),
            ("Bearer", false),
            ("Basic correct", false),
            ("correct", false),
            ("", false),
        ] {
            let headers =
                HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
            assert_eq!(access.admits_request(&headers), admitted, "{value:?}");
        }
        assert!(!access.admits_request(&HeaderMap::new()));
    }
}
