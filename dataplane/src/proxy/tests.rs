//! The proxy as clients and upstreams see it: a whole shard on loopback.

mod client;
mod client_certificates;
mod datagrams;
mod downstream;
mod extended;
mod harness;
mod http2;
mod misdirected;
mod resumption;
mod tls;
mod tunnel;
mod upstream;
