//! Generates the protocol's types with `protox`, so that nobody needs protoc.

use std::{env, path::PathBuf};

const FILES: [&str; 5] = [
    "tidegate/v1/snapshot.proto",
    "tidegate/v1/control.proto",
    "tidegate/v1/telemetry.proto",
    "tidegate/v1/admin.proto",
    "tidegate/v1/trust.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=tidegate");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    tonic_prost_build::configure()
        .out_dir(out)
        .bytes(".")
        .btree_map(".")
        // Key material never reaches a log through a derived `Debug`.
        .skip_debug([
            ".tidegate.v1.Key",
            ".tidegate.v1.Certificate",
            ".tidegate.v1.EchKey",
            ".tidegate.v1.EnrollRequest",
            ".tidegate.v1.CapturePiece",
            ".tidegate.v1.CapturedRecords",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
