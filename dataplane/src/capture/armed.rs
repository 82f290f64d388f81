//! Captures of connections that are not there yet.
//!
//! TLS tells its secrets once, while they are made, so a key log has to be asked for
//! before a connection begins; so has a qlog that is to show the handshake. What is armed
//! is known to every shard, and meets each new connection there.

use std::{
    cell::RefCell,
    net::IpAddr,
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use boring::{
    error::ErrorStack,
    ex_data::Index,
    ssl::{NameType, Ssl, SslRef},
};
use tidegate_proto::v1;

use super::{Buffer, End, Level, Qlog, Record};
use crate::snapshot::Cidr;

/// A capture that waits for connections.
#[derive(Debug)]
pub struct Armed {
    buffer: Arc<Buffer>,
    /// `None`: the key log.
    qlog: Option<Level>,
    peer: Option<Cidr>,
    /// Lower case; empty: any.
    server_name: String,
    /// Connections that it still waits for.
    left: AtomicU32,
    /// Connections that it has met and that are there.
    open: AtomicU32,
}

impl Armed {
    /// A key log of the next connections from these addresses, for this server name.
    ///
    /// # Errors
    /// Says which field of the selector is wrong, and what it should be.
    pub fn key_log(
        buffer: Arc<Buffer>,
        selector: v1::Selector,
        connections: u32,
    ) -> Result<Self, String> {
        let connections = match connections {
            0 => 1,
            1..=MOST_CONNECTIONS => connections,
            _ => {
                return Err(format!(
                    "connections {connections}: give at most {MOST_CONNECTIONS}"
                ));
            }
        };
        Self::new(buffer, None, selector, connections)
    }

    /// qlog of the next connection from these addresses, from its first packet on.
    ///
    /// # Errors
    /// Says which field of the selector is wrong, and what it should be.
    pub fn qlog(buffer: Arc<Buffer>, level: Level, selector: v1::Selector) -> Result<Self, String> {
        if !selector.server_name.is_empty() {
            return Err(
                "selector.server_name: qlog begins before it is known; give the peer".into(),
            );
        }
        Self::new(buffer, Some(level), selector, 1)
    }

    fn new(
        buffer: Arc<Buffer>,
        qlog: Option<Level>,
        selector: v1::Selector,
        connections: u32,
    ) -> Result<Self, String> {
        let v1::Selector {
            server_name,
            peer,
            listener,
            min_age_ms,
            max_age_ms,
            alpn,
        } = selector;
        if (min_age_ms, max_age_ms) != (0, 0) || !alpn.is_empty() || !listener.is_empty() {
            return Err(
                "selector: before a connection begins, only its peer and its server \
                        name can be asked for"
                    .into(),
            );
        }
        let peer = match peer.as_str() {
            "" => None,
            range => Some(
                range
                    .parse()
                    .map_err(|error| format!("selector.peer: {error}"))?,
            ),
        };
        Ok(Self {
            buffer,
            qlog,
            peer,
            server_name: server_name.to_ascii_lowercase(),
            left: AtomicU32::new(connections),
            open: AtomicU32::new(0),
        })
    }

    fn is_over(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0 || self.buffer.is_ended()
    }

    fn is_for(&self, peer: IpAddr) -> bool {
        self.peer.as_ref().is_none_or(|range| range.contains(peer))
    }

    fn names(&self, server_name: Option<&str>) -> bool {
        self.server_name.is_empty()
            || server_name.is_some_and(|name| name.eq_ignore_ascii_case(&self.server_name))
    }

    /// Takes one of the connections that it waits for, unless another was faster.
    fn claim(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        let (set, fetch) = (Ordering::SeqCst, Ordering::SeqCst);
        // Before the last one is taken: no other may seem to be the last.
        self.open.fetch_add(1, Ordering::SeqCst);
        let claimed = self.left.fetch_update(set, fetch, one_less).is_ok();
        if !claimed {
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
        claimed
    }

    /// A connection that was claimed has ended.
    fn release(&self) {
        let last = self.open.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.left.load(Ordering::SeqCst) == 0 {
            self.buffer.end(End::Connection);
        }
    }
}

/// What is armed on a shard.
#[derive(Debug, Default)]
pub struct Arms(RefCell<Vec<Arc<Armed>>>);

impl Arms {
    /// Waits for connections of this shard.
    pub fn add(&self, armed: Arc<Armed>) {
        let mut all = self.0.borrow_mut();
        all.retain(|armed| !armed.is_over());
        all.push(armed);
    }

    /// A TLS session is about to begin: its secrets go to who wants them.
    pub fn meet(&self, ssl: &mut SslRef, peer: IpAddr) {
        if self.0.borrow().is_empty() {
            return;
        }
        let wanted: Vec<_> = self.matching(peer, |armed| armed.qlog.is_none());
        if let Ok(index) = index()
            && !wanted.is_empty()
        {
            let secrets = Secrets {
                armed: wanted,
                chosen: OnceLock::new(),
            };
            ssl.replace_ex_data(index, secrets);
        }
    }

    /// The qlog that waits for a connection from this address.
    pub fn qlog(&self, peer: IpAddr) -> Option<Qlog> {
        if self.0.borrow().is_empty() {
            return None;
        }
        let wanted = self.matching(peer, |armed| armed.qlog.is_some());
        let armed = wanted.into_iter().find(|armed| armed.claim())?;
        Some(Qlog {
            buffer: armed.buffer.clone(),
            level: armed.qlog?,
        })
    }

    fn matching(&self, peer: IpAddr, kind: impl Fn(&Armed) -> bool) -> Vec<Arc<Armed>> {
        let mut all = self.0.borrow_mut();
        all.retain(|armed| !armed.is_over());
        let matching = all.iter().filter(|armed| kind(armed) && armed.is_for(peer));
        matching.cloned().collect()
    }
}

/// Where the secrets of a TLS session go, kept with it.
struct Secrets {
    armed: Vec<Arc<Armed>>,
    /// Those whose server name it is. Known when the first secret is.
    chosen: OnceLock<Vec<Arc<Armed>>>,
}

impl Drop for Secrets {
    fn drop(&mut self) {
        let chosen = self.chosen.get().into_iter().flatten();
        chosen.for_each(|armed| armed.release());
    }
}

/// Whether somebody may want the secrets of a TLS session.
pub(crate) fn wants_secrets(ssl: &SslRef) -> bool {
    index().is_ok_and(|index| ssl.ex_data(index).is_some())
}

/// Takes a line of the key log, as BoringSSL writes it.
pub(crate) fn log_secret(ssl: &SslRef, line: &str) {
    let Some(secrets) = index().ok().and_then(|index| ssl.ex_data(index)) else {
        return;
    };
    let chosen = secrets.chosen.get_or_init(|| {
        let name = ssl.servername(NameType::HOST_NAME);
        let mut chosen = secrets.armed.clone();
        chosen.retain(|armed| armed.names(name) && armed.claim());
        chosen
    });
    for armed in chosen {
        armed.buffer.push(Record::Line(format!("{line}\n")));
    }
}

fn index() -> Result<Index<Ssl, Secrets>, ErrorStack> {
    static INDEX: LazyLock<Result<Index<Ssl, Secrets>, ErrorStack>> =
        LazyLock::new(Ssl::new_ex_index);
    INDEX.clone()
}

const MOST_CONNECTIONS: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Form;

    fn selector(peer: &str, server_name: &str) -> v1::Selector {
        v1::Selector {
            peer: peer.into(),
            server_name: server_name.into(),
            ..Default::default()
        }
    }

    fn buffer() -> Arc<Buffer> {
        Arc::new(Buffer::new(Form::Qlog, 1_000, Arc::default()))
    }

    #[test]
    fn what_cannot_be_known_before_a_connection_is_refused() {
        for (selector, part) in [
            (
                v1::Selector {
                    alpn: "h3".into(),
                    ..Default::default()
                },
                "selector:",
            ),
            (
                v1::Selector {
                    min_age_ms: 1,
                    ..Default::default()
                },
                "selector:",
            ),
            (selector("nowhere", ""), "selector.peer:"),
        ] {
            let refusal = Armed::key_log(buffer(), selector, 1).unwrap_err();
            assert!(refusal.starts_with(part), "{refusal}");
        }
        let named = Armed::qlog(buffer(), Level::Base, selector("", "shop.example"));
        assert!(named.unwrap_err().contains("server_name"));
        let many = Armed::key_log(buffer(), v1::Selector::default(), 1_001);
        assert!(many.unwrap_err().contains("at most 1000"));
    }

    #[test]
    fn a_qlog_is_of_one_connection_from_the_right_address() {
        let arms = Arms::default();
        let armed = Armed::qlog(buffer(), Level::Core, selector("192.0.2.0/24", "")).unwrap();
        arms.add(Arc::new(armed));
        let (inside, outside) = ([192, 0, 2, 7].into(), [198, 51, 100, 7].into());
        assert!(arms.qlog(outside).is_none());
        assert!(arms.qlog(inside).is_some() && arms.qlog(inside).is_none());
    }

    #[test]
    fn one_that_ended_meets_nobody() {
        let (arms, buffer) = (Arms::default(), buffer());
        let armed = Armed::qlog(buffer.clone(), Level::Core, v1::Selector::default()).unwrap();
        arms.add(Arc::new(armed));
        buffer.end(End::Duration);
        assert!(arms.qlog([192, 0, 2, 7].into()).is_none());
    }
}
