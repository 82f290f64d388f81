mod downstream;
mod harness;
mod http2;
mod tls;
mod upstream;
