//! Writes the seeds into a folder, `corpus` of this crate if none is named.

use std::{env, fs, path::PathBuf};

fn main() -> std::io::Result<()> {
    let kept = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let root = env::args_os().nth(1).map_or_else(kept, PathBuf::from);
    for (target, name, bytes) in tidegate_fuzz::seeds::all() {
        let folder = root.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("seed-{name}")), bytes)?;
    }
    Ok(())
}
