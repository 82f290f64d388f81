//! Which connections, as flags: every one that is given must hold.

use std::time::Duration;

use tidegate_controlplane::api::types::Selector;

use crate::{admin::Query, units};

#[derive(Clone, Debug, Default, clap::Args)]
#[group(id = "selector", multiple = true)]
pub struct SelectorArgs {
    /// Only with this server name (SNI)
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// Only from this address or CIDR range
    #[arg(long, value_name = "CIDR")]
    pub peer: Option<String>,
    /// Only on this listener: namespace/gateway/listener
    #[arg(long, value_name = "ID")]
    pub listener: Option<String>,
    /// Only as old as this, or older
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    pub min_age: Option<Duration>,
    /// Only as old as this, or younger
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    pub max_age: Option<Duration>,
    /// Only with this protocol: h3, h2 or http/1.1
    #[arg(long, value_name = "PROTOCOL")]
    pub alpn: Option<String>,
}

impl SelectorArgs {
    #[must_use]
    pub fn selector(&self) -> Selector {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let millis = |age: Option<Duration>| age.map_or(0, |age| age.as_millis() as u64);
        Selector {
            server_name: text(&self.server_name).to_ascii_lowercase(),
            peer: text(&self.peer),
            listener: text(&self.listener),
            min_age_ms: millis(self.min_age),
            max_age_ms: millis(self.max_age),
            alpn: text(&self.alpn),
        }
    }

    /// The same as parameters of a call.
    #[must_use]
    pub fn on(&self, query: Query) -> Query {
        let selector = self.selector();
        query
            .with("server_name", selector.server_name)
            .with("peer", selector.peer)
            .with("listener", selector.listener)
            .with("min_age_ms", selector.min_age_ms)
            .with("max_age_ms", selector.max_age_ms)
            .with("alpn", selector.alpn)
    }
}
