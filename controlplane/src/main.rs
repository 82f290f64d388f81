//! The control plane as a process of its own.

fn main() {}
