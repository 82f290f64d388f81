//! Which endpoints of which backends have connections.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::Arc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;

use super::{dial::Dialer, endpoint::Endpoint};
use crate::snapshot::{Backend, BackendTls, Certificate};

/// Who is talked to, and as whom: a connection that was made with one certificate is for
/// nobody who has another, or none.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    backend: Arc<str>,
    identity: Option<[u8; 32]>,
}

/// The pools of a shard.
#[derive(Default)]
pub(super) struct Backends {
    pools: Rc<RefCell<FxHashMap<Key, Rc<Pool>>>>,
    reaping: Cell<bool>,
}

/// The connections to one backend, as one snapshot describes it.
pub(super) struct Pool {
    /// The same settings in the newest snapshot that was seen.
    backend: RefCell<Arc<Backend>>,
    dialer: Rc<Dialer>,
    endpoints: RefCell<FxHashMap<SocketAddr, Rc<Endpoint>>>,
}

impl Backends {
    /// The backend's pool. One with other settings is left to the requests that it has.
    /// `identity` is shown to a backend over TLS.
    pub(super) fn pool(
        &self,
        backend: &Arc<Backend>,
        identity: Option<&Arc<Certificate>>,
    ) -> Rc<Pool> {
        self.reap_from_now_on();
        let identity = identity.filter(|_| backend.tls.is_some());
        let key = Key {
            backend: backend.id.clone(),
            identity: identity.map(|certificate| certificate.fingerprint),
        };
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.get(&key)
            && pool.is_for(backend)
        {
            return pool.clone();
        }
        let pool = Rc::new(Pool {
            backend: RefCell::new(backend.clone()),
            dialer: Rc::new(Dialer::new(backend, identity)),
            endpoints: RefCell::default(),
        });
        pools.insert(key, pool.clone());
        pool
    }

    fn reap_from_now_on(&self) {
        if self.reaping.replace(true) {
            return;
        }
        let pools = Rc::downgrade(&self.pools);
        tokio::task::spawn_local(reap(pools));
    }
}

impl Pool {
    /// The connections to this address.
    pub(super) fn endpoint(&self, address: SocketAddr) -> Rc<Endpoint> {
        let mut endpoints = self.endpoints.borrow_mut();
        let new = || Rc::new(Endpoint::new(address, self.dialer.clone()));
        endpoints.entry(address).or_insert_with(new).clone()
    }

    /// Whether the backend is the same. A new snapshot has a new value of it, which is
    /// compared once and remembered.
    fn is_for(&self, backend: &Arc<Backend>) -> bool {
        let mut known = self.backend.borrow_mut();
        if Arc::ptr_eq(&known, backend) {
            return true;
        }
        let same = known.protocol == backend.protocol
            && known.connect_timeout == backend.connect_timeout
            && same_tls(known.tls.as_ref(), backend.tls.as_ref());
        if same {
            *known = backend.clone();
        }
        same
    }
}

fn same_tls(one: Option<&BackendTls>, other: Option<&BackendTls>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            one.server_name == other.server_name
                && one.subject_alt_names == other.subject_alt_names
                && one.ca.len() == other.ca.len()
                && one.ca.iter().zip(&other.ca).all(|(one, other)| {
                    // What cannot be encoded cannot be the same.
                    matches!((one.to_der(), other.to_der()), (Ok(one), Ok(other)) if one == other)
                })
        }
        _ => false,
    }
}

/// Closes idle connections and forgets what nobody uses, for as long as there are pools.
async fn reap(pools: Weak<RefCell<FxHashMap<Key, Rc<Pool>>>>) {
    loop {
        tokio::time::sleep(REAP_INTERVAL).await;
        let Some(pools) = pools.upgrade() else { return };
        let now = Instant::now();
        pools.borrow_mut().retain(|_, pool| {
            let mut endpoints = pool.endpoints.borrow_mut();
            endpoints.retain(|_, endpoint| endpoint.reap(now) || Rc::strong_count(endpoint) > 1);
            !endpoints.is_empty()
        });
    }
}

const REAP_INTERVAL: Duration = Duration::from_secs(5);
