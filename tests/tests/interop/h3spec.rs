//! The 50 cases of h3spec 0.1.13, under its names: how a server must answer a client that
//! breaks the rules of QUIC, TLS and HTTP/3. An answer counts if h3spec takes it.

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use serde_json::json;
use tidegate_tests::{Gateway, Upstream};
use tokio::sync::OnceCell;

mod http3;
mod tls;
mod transport;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    run: for<'a> fn(&'a Gateway) -> LocalBoxFuture<'a, Answer>,
    accepted: &'static [Answer],
}

/// What the server does about the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Closes the connection with a transport error.
    Transport(u64),
    /// Closes it with an application error, or resets the stream with that.
    Application(u64),
    /// Goes on as if nothing were wrong.
    Nothing,
}

macro_rules! table {
    ($($name:literal => $function:expr, $accepted:expr;)*) => {
        pub(super) const CASES: &[super::Case] = &[$(super::Case {
            name: $name,
            run: |gateway| Box::pin($function(gateway)),
            accepted: &$accepted,
        }),*];
    };
}
use table;

/// In h3spec's order.
pub(crate) fn cases() -> impl Iterator<Item = &'static Case> {
    [transport::CASES, tls::CASES, http3::CASES]
        .into_iter()
        .flatten()
}

/// The gateway that all cases share; it is only for them, so that none lives on.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<OnceCell<(Upstream, Gateway)>>);

impl Shared {
    async fn gateway(&self) -> &Gateway {
        let start = || async {
            let upstream = Upstream::start().await;
            let builder = Gateway::builder().tls_option("tidegate.dev/retry", "never");
            let gateway = builder.start_with(|folder| {
                folder.service("app", &[upstream.address]);
                let rules = json!([{"backendRefs": [{"name": "app", "port": 80}]}]);
                folder.route("app", &[], &rules);
                folder.quic_policy(&json!({"earlyData": true}));
            });
            let gateway = gateway.await;
            (upstream, gateway)
        };
        &self.0.get_or_init(start).await.1
    }
}

impl Case {
    pub(crate) async fn run(&self, shared: &Shared) {
        let answer = (self.run)(shared.gateway().await).await;
        assert!(
            self.accepted.contains(&answer),
            "{answer:x?} is none of {:x?}",
            self.accepted
        );
    }
}
