//! The texts of a folder's files.

use std::{collections::BTreeMap, fs, io, path::Path};

/// By file name, the text, or why there is none.
pub(super) type Files = BTreeMap<String, Result<String, String>>;

/// Reads every file of the folder that may hold resources. Hidden ones are left out, so
/// that neither an editor's swap file nor a ConfigMap volume's own links count.
pub(super) fn all(dir: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if name.starts_with('.') || !extension.is_some_and(|e| ["yaml", "yml", "json"].contains(&e))
        {
            continue;
        }
        match one(&path) {
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(None) => {}
            Ok(Some(text)) => drop(files.insert(name, Ok(text))),
            Err(error) => drop(files.insert(name, Err(error.to_string()))),
        }
    }
    Ok(files)
}

/// `None`: not a file. A pipe with such a name would block for ever.
fn one(path: &Path) -> io::Result<Option<String>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Ok(None);
    }
    if metadata.len() > LARGEST {
        return Err(io::Error::other(format!(
            "larger than {} MiB",
            LARGEST >> 20
        )));
    }
    let text = String::from_utf8(fs::read(path)?).map_err(|error| {
        io::Error::other(format!(
            "not UTF-8 at byte {}",
            error.utf8_error().valid_up_to()
        ))
    })?;
    Ok(Some(text))
}

/// Bytes. Kubernetes takes objects of at most 1.5 MiB.
const LARGEST: u64 = 16 << 20;
