//! A client of the admin API's REST side, for the operator's commands.
//!
//! A request, a connection: commands are few and the API is near. It decides nothing and
//! prints nothing; its errors say what to do.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tidegate_controlplane::api::types::Problem;

use crate::{
    origin::Url,
    state::{self, StateArgs},
    tcp, trust,
};

mod events;
mod query;

pub use events::{Event, Events};
pub use query::Query;

/// What every operator's command needs to know.
#[derive(Clone, Debug, clap::Args)]
pub struct AdminArgs {
    /// Where the admin API is
    #[arg(
        long,
        visible_alias = "server",
        global = true,
        value_name = "URL",
        env = "TIDEGATE_ADMIN",
        default_value = "http://127.0.0.1:9090"
    )]
    pub admin: String,
    /// Trust only these certificates for https, PEM
    #[arg(
        long = "admin-ca",
        visible_alias = "ca",
        global = true,
        value_name = "FILE",
        env = "TIDEGATE_ADMIN_CA"
    )]
    pub admin_ca: Option<PathBuf>,
    /// File with the admin token [default: $TIDEGATE_TOKEN, or admin.token in the state folder]
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Output,
    #[command(flatten)]
    pub state: StateArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// What the admin API answered
    Json,
}

/// Why a command of the operator came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("--admin {0}: {1}")]
    Address(String, String),
    #[error(
        "no admin token: {} is not there. Start the gateway with `tidegate up`, or name the \
         token's file with --token-file", .0.display()
    )]
    NoToken(PathBuf),
    #[error("cannot read the admin token from {file}: {error}")]
    Token { file: String, error: std::io::Error },
    #[error("the admin token from {0} is no token: it has characters that no token has")]
    TokenText(String),
    #[error(
        "nothing answers at {0} ({1}). Start the gateway with `tidegate up`, or name its admin API with --admin URL"
    )]
    Unreachable(String, String),
    #[error(
        "the admin API at {0} refuses the token from {1}. Name the right one with --token-file FILE or TIDEGATE_TOKEN"
    )]
    Unauthorized(String, String),
    /// The API's own words.
    #[error("{}", problem(.0))]
    Refused(Problem),
    #[error("the connection to the admin API broke off: {0}")]
    Broken(String),
    #[error("cannot write {}: {error}", .file.display())]
    File {
        file: PathBuf,
        error: std::io::Error,
    },
    #[error("the answer of {0} is none of the admin API's: {1}")]
    Unexpected(String, String),
}

fn problem(problem: &Problem) -> String {
    if problem.detail.is_empty() {
        format!("{} ({})", problem.title, problem.status)
    } else {
        problem.detail.clone()
    }
}

/// Where the API is, and the token with the place that it came from.
pub struct AdminClient {
    base: Url,
    authorization: HeaderValue,
    token_from: String,
    only: Option<PathBuf>,
    authority: PathBuf,
}

impl AdminClient {
    /// # Errors
    /// The address is none, or there is no token to be read. Nothing is sent yet.
    pub fn new(args: &AdminArgs) -> Result<Self, AdminError> {
        let (token, token_from) = match (&args.token_file, std::env::var("TIDEGATE_TOKEN")) {
            (Some(file), _) => (read_token(file)?, file.display().to_string()),
            (None, Ok(token)) => (token, "TIDEGATE_TOKEN".into()),
            (None, Err(_)) => {
                let file = state::admin_token(&args.state.state);
                (read_token(&file)?, file.display().to_string())
            }
        };
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| AdminError::TokenText(token_from.clone()))?;
        authorization.set_sensitive(true);
        let base = args.admin.trim_end_matches('/');
        let base = base
            .parse()
            .map_err(|why| AdminError::Address(args.admin.clone(), why))?;
        Ok(Self {
            base,
            authorization,
            token_from,
            only: args.admin_ca.clone(),
            authority: args.state.authority(),
        })
    }

    /// GET as a type.
    ///
    /// # Errors
    /// As [`AdminClient::fetch_json`].
    pub async fn fetch<T: DeserializeOwned>(&self, query: &Query) -> Result<T, AdminError> {
        let value = self.fetch_json(query).await?;
        self.typed(value)
    }

    /// GET as it is.
    ///
    /// # Errors
    /// Any [`AdminError`] of a request.
    pub async fn fetch_json(&self, query: &Query) -> Result<Value, AdminError> {
        let response = self
            .send(Method::GET, query, Bytes::new(), "application/json")
            .await?;
        self.json(response).await
    }

    /// POST, answered as it is.
    ///
    /// # Errors
    /// Any [`AdminError`] of a request.
    pub async fn post(&self, query: &Query, body: &impl Serialize) -> Result<Value, AdminError> {
        let body = serde_json::to_vec(body).map_err(|e| AdminError::Broken(e.to_string()))?;
        let response = self
            .send(Method::POST, query, body.into(), "application/json")
            .await?;
        self.json(response).await
    }

    /// The events of connections from now on.
    ///
    /// # Errors
    /// Any [`AdminError`] of a request.
    pub async fn events(&self, query: &Query) -> Result<Events, AdminError> {
        let response = self
            .send(Method::GET, query, Bytes::new(), "text/event-stream")
            .await?;
        Ok(Events::new(response))
    }

    /// POST, answered bit by bit.
    ///
    /// # Errors
    /// Any [`AdminError`] of a request.
    pub async fn stream(&self, query: &Query, body: &impl Serialize) -> Result<Pieces, AdminError> {
        let body = serde_json::to_vec(body).map_err(|e| AdminError::Broken(e.to_string()))?;
        let reply = self.send(Method::POST, query, body.into(), "*/*").await?;
        Ok(Pieces { reply })
    }

    /// What the API answered, as the type that it documents.
    ///
    /// # Errors
    /// [`AdminError::Unexpected`].
    pub fn typed<T: DeserializeOwned>(&self, value: Value) -> Result<T, AdminError> {
        serde_json::from_value(value).map_err(|e| self.unexpected(e))
    }

    async fn send(
        &self,
        method: Method,
        query: &Query,
        body: Bytes,
        accept: &'static str,
    ) -> Result<Reply, AdminError> {
        let mut connection = self.connect().await?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!(
                "{}{query}",
                self.base.uri.to_string().trim_end_matches('/')
            ))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT, accept);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(body)
            .map_err(|e| AdminError::Broken(e.to_string()))?;
        let response = connection.send(request).await;
        let response = response.map_err(|e| AdminError::Broken(e.to_string()))?;
        if response.status().is_success() {
            return Ok(Reply {
                response,
                _connection: connection,
            });
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(AdminError::Unauthorized(
                self.address(),
                self.token_from.clone(),
            ));
        }
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body
            .map_err(|e| AdminError::Broken(e.to_string()))?
            .to_bytes();
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(AdminError::Refused(problem)),
            Err(_) => Err(self.unexpected(format!("status {status}"))),
        }
    }

    async fn connect(&self) -> Result<tcp::Connection, AdminError> {
        let unreachable = |why: String| AdminError::Unreachable(self.address(), why);
        let origin = &self.base.origin;
        let addresses = origin
            .addresses(&[])
            .await
            .map_err(|e| unreachable(e.to_string()))?;
        let tls = origin
            .tls
            .then(|| trust::client_config(self.only.as_deref(), &self.authority, &[b"http/1.1"]));
        let tls = tls.transpose().map_err(|e| unreachable(format!("{e:#}")))?;
        tcp::Connection::open(origin, &addresses, tls, false)
            .await
            .map_err(|e| unreachable(format!("{:#}", e.root_cause())))
    }

    async fn json(&self, reply: Reply) -> Result<Value, AdminError> {
        let body = reply.response.into_body().collect().await;
        let body = body
            .map_err(|e| AdminError::Broken(e.to_string()))?
            .to_bytes();
        serde_json::from_slice(&body).map_err(|e| self.unexpected(e))
    }

    fn unexpected(&self, why: impl ToString) -> AdminError {
        AdminError::Unexpected(self.address(), why.to_string())
    }

    fn address(&self) -> String {
        self.base.uri.to_string().trim_end_matches('/').to_owned()
    }
}

/// A response with the connection that it comes over.
struct Reply {
    response: Response<Incoming>,
    _connection: tcp::Connection,
}

/// An answer as it comes.
pub struct Pieces {
    reply: Reply,
}

impl Pieces {
    /// What has come; `None` at the end.
    ///
    /// # Errors
    /// The connection broke off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, AdminError> {
        loop {
            match self.reply.response.body_mut().frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(AdminError::Broken(error.to_string())),
                None => return Ok(None),
            }
        }
    }
}

fn read_token(file: &Path) -> Result<String, AdminError> {
    std::fs::read_to_string(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => AdminError::NoToken(file.to_owned()),
        _ => AdminError::Token {
            file: file.display().to_string(),
            error,
        },
    })
}

#[cfg(test)]
mod tests;
