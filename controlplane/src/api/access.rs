//! Who may use the admin API: whoever has its token, or whom the cluster lets.

mod cluster;
mod permission;

use std::{io, path::Path, sync::Arc};

use anyhow::{Context, ensure};
use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use boring::{memcmp, sha::sha256};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rand::{TryRng, rngs::SysRng};
use tonic::Status;
use tracing::info;

pub(crate) use self::cluster::Cluster;
use self::permission::Permission;
use super::respond::problem_response;
use crate::private_file;

/// Random bytes of a token that is made here.
const TOKEN_LENGTH: usize = 32;
const ADVICE: &str = "this needs the admin token: send `Authorization: Bearer <token>`; \
                      standalone, it is in the file admin.token in the state folder";
const CLUSTER_ADVICE: &str = "this needs a token of the cluster: send `Authorization: Bearer \
                              <token>`, as `kubectl create token` makes one";

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

/// Who is let in. Cheap to clone; it has no `Debug`.
#[derive(Clone)]
pub(crate) enum Access {
    /// Whoever has the one token, known by its hash, may do everything.
    Token([u8; 32]),
    /// The cluster says.
    Cluster(Arc<Cluster>),
}

/// Why a request is refused.
#[derive(Debug)]
pub(crate) enum Denied {
    /// Nobody knows who asks.
    Unauthenticated(String),
    /// Who asks may not.
    Forbidden(String),
    /// It cannot be said now.
    Unavailable(String),
}

impl Access {
    pub(crate) fn new(token: &str) -> Self {
        Self::Token(sha256(token.as_bytes()))
    }

    async fn admit(
        &self,
        headers: &HeaderMap,
        permission: Option<Permission>,
    ) -> Result<(), Denied> {
        let bearer = bearer(headers).unwrap_or_default();
        match self {
            // Hashes are compared in constant time, so that neither the token's bytes nor
            // its length can be found by measuring.
            Self::Token(hash) if memcmp::eq(hash, &sha256(bearer.as_bytes())) => Ok(()),
            Self::Token(_) => Err(Denied::Unauthenticated(ADVICE.into())),
            Self::Cluster(cluster) => {
                let permission = permission.ok_or_else(|| {
                    Denied::Forbidden("nobody may do what has no permission".into())
                })?;
                let user = cluster
                    .admit(bearer, permission)
                    .await
                    .map_err(Denied::advised)?;
                if permission.is_command() {
                    info!(
                        user,
                        verb = permission.verb,
                        resource = permission.resource,
                        "admitted a command"
                    );
                }
                Ok(())
            }
        }
    }
}

impl Denied {
    fn advised(self) -> Self {
        match self {
            Self::Unauthenticated(why) => Self::Unauthenticated(format!("{CLUSTER_ADVICE}: {why}")),
            Self::Unavailable(why) => {
                Self::Unavailable(format!("the token cannot be reviewed now: {why}"))
            }
            other @ Self::Forbidden(_) => other,
        }
    }
}

/// RFC 6750 2.1; the scheme's name has no case (RFC 9110 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Refuses a REST request of who may not.
pub(crate) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let permission = route.and_then(|route| Permission::of_route(request.method(), route.as_str()));
    let (status, why) = match access.admit(request.headers(), permission).await {
        Ok(()) => return next.run(request).await,
        Err(Denied::Unauthenticated(why)) => (StatusCode::UNAUTHORIZED, why),
        Err(Denied::Forbidden(why)) => (StatusCode::FORBIDDEN, why),
        Err(Denied::Unavailable(why)) => (StatusCode::SERVICE_UNAVAILABLE, why),
    };
    let mut response = problem_response(status, why);
    if status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}

/// Refuses a gRPC call of who may not.
pub(crate) async fn guard_grpc(
    State(access): State<Access>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default();
    let permission = Permission::of_operation(method);
    let status = match access.admit(request.headers(), permission).await {
        Ok(()) => return next.run(request).await,
        Err(Denied::Unauthenticated(why)) => Status::unauthenticated(why),
        Err(Denied::Forbidden(why)) => Status::permission_denied(why),
        Err(Denied::Unavailable(why)) => Status::unavailable(why),
    };
    status.into_http()
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

    #[tokio::test]
    async fn only_the_whole_token_is_admitted() {
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
            assert_eq!(
                access.admit(&headers, None).await.is_ok(),
                admitted,
                "{value:?}"
            );
        }
        assert!(access.admit(&HeaderMap::new(), None).await.is_err());
    }
}
