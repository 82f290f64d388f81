//! The proxy as clients and upstreams see it: a whole shard on loopback.

mod downstream;
mod extended;
mod harness;
mod http2;
mod tls;
mod tunnel;
mod upstream;
