//! What to try next, in commands that work when they are pasted.

use std::{
    fmt::{self, Display, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{Ports, files::ROUTE_FILE};

/// The next steps for a demo with these ports and folders.
pub struct Welcome {
    /// The state folder, absolute, so that a step works from any folder.
    pub state: PathBuf,
    pub ports: Ports,
    /// Where the admin API listens.
    pub admin: SocketAddr,
    /// This program, where the shell does not find it by its name.
    pub program: Option<PathBuf>,
}

impl Display for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ports: Ports { https, http },
            admin,
            ..
        } = self;
        let mut setup = format!("export TIDEGATE_STATE={}", quoted(&self.state));
        if admin.port() != 9090 || !admin.ip().is_loopback() {
            write!(setup, " TIDEGATE_ADMIN=http://{admin}")?;
        }
        if let Some(folder) = self.program.as_deref().and_then(Path::parent) {
            write!(setup, " PATH={}:\"$PATH\"", quoted(folder))?;
        }
        write!(
            f,
            r#"
Tidegate is up: https://localhost:{https}/ (HTTP/3, HTTP/2, HTTP/1.1) and http://localhost:{http}/
Ctrl-C drains and ends it. In another terminal, first tell the shell where things are:

  {setup}

Fetch over HTTP/3, and over TCP with any client:

  tidegate get https://localhost:{https}/echo
  curl --cacert "$TIDEGATE_STATE/ca.crt" https://localhost:{https}/echo
  curl -i http://localhost:{http}/old/path

Keep a connection, look at it, close it; the client is told the code and the reason:

  tidegate get https://localhost:{https}/tagged --every 1s >/dev/null &
  tidegate connections list
  tidegate connections close --all-matching --alpn h3 --code 256 --reason "closed by hand"
  tidegate audit

Change a route while connections live on:

  sed -i 's/value: high/value: low/' "$TIDEGATE_STATE/demo/{ROUTE_FILE}"
  tidegate get https://localhost:{https}/tagged
  tidegate status

The admin API behind these commands, documented at http://{admin}/docs:

  curl -H "Authorization: Bearer $(cat "$TIDEGATE_STATE/admin.token")" http://{admin}/v1/connections
"#
        )
    }
}

/// A path as one word of a shell command.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:".contains(c);
    if path.chars().all(plain) {
        path.into_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(state: &str, admin: &str, program: Option<&str>) -> String {
        let ports = Ports {
            https: 8443,
            http: 8080,
        };
        let admin = admin.parse().expect("address");
        Welcome {
            state: state.into(),
            ports,
            admin,
            program: program.map(Into::into),
        }
        .to_string()
    }

    #[test]
    fn the_shell_is_told_only_what_differs_from_the_defaults() {
        let text = welcome("/srv/tide", "127.0.0.1:9090", None);
        assert!(text.contains("export TIDEGATE_STATE=/srv/tide\n"), "{text}");
        let text = welcome("/srv/tide", "127.0.0.1:9999", Some("/opt/bin/tidegate"));
        let line = "export TIDEGATE_STATE=/srv/tide TIDEGATE_ADMIN=http://127.0.0.1:9999 \
                    PATH=/opt/bin:\"$PATH\"\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn folders_with_spaces_and_quotes_stay_one_word() {
        let text = welcome("/tmp/my tide's", "127.0.0.1:9090", None);
        assert!(
            text.contains(r"TIDEGATE_STATE='/tmp/my tide'\''s'"),
            "{text}"
        );
    }

    #[test]
    fn the_edit_of_the_tour_finds_something_to_edit() {
        assert!(include_str!("files/site.yaml").contains("value: high"));
    }
}
