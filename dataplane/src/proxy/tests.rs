mod downstream;
mod harness;
mod http2;
mod upstream;
