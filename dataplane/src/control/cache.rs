//! The last good configuration in a file, for a start without a control plane.
//!
//! It is what a session would say: a snapshot, and the addresses of its backends, as
//! length-delimited `SessionDown` messages. It holds private keys, so only the owner of
//! the process may read it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use prost::Message as _;
use tidegate_proto::v1::{Endpoints, SessionDown, Snapshot, session_down::Message};

const FILE: &str = "snapshot.bin";

/// The file in the state folder.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Replaces the file, all or nothing, also when the machine stops in between.
    pub(super) fn store(&self, snapshot: Snapshot, endpoints: Vec<Endpoints>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let snapshot = Message::Snapshot(snapshot);
        for message in
            std::iter::once(snapshot).chain(endpoints.into_iter().map(Message::Endpoints))
        {
            let message = SessionDown {
                message: Some(message),
                as_of_ms: 0,
            };
            message
                .encode_length_delimited(&mut bytes)
                .map_err(io::Error::other)?;
        }
        fs::create_dir_all(&self.folder)?;
        let temporary = self.folder.join(format!("{FILE}.new"));
        // A leftover may have other permissions.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, self.folder.join(FILE))?;
        File::open(&self.folder)?.sync_all()
    }

    /// What was stored last. `None` when there is nothing yet.
    pub(super) fn load(&self) -> io::Result<Option<(Snapshot, Vec<Endpoints>)>> {
        let bytes = match fs::read(self.folder.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = bytes::Bytes::from(bytes);
        let (mut snapshot, mut endpoints) = (None, Vec::new());
        while !bytes.is_empty() {
            match SessionDown::decode_length_delimited(&mut bytes)?.message {
                Some(Message::Snapshot(found)) => snapshot = Some(found),
                Some(Message::Endpoints(found)) => endpoints.push(found),
                Some(Message::Command(_) | Message::Peers(_)) | None => {}
            }
        }
        Ok(snapshot.map(|snapshot| (snapshot, endpoints)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tidegate_proto::v1::Endpoint;

    use super::*;

    #[test]
    fn what_was_stored_last_comes_back_and_only_the_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(&folder.path().join("state"));
        assert!(cache.load().unwrap().is_none());
        for version in ["one", "two"] {
            let snapshot = Snapshot {
                version: version.into(),
                ..Default::default()
            };
            let endpoints = vec![Endpoints {
                backend_id: "default/echo:80".into(),
                endpoints: vec![Endpoint {
                    address: "10.0.0.1".into(),
                    port: 80,
                }],
            }];
            cache.store(snapshot.clone(), endpoints.clone()).unwrap();
            assert_eq!(cache.load().unwrap(), Some((snapshot, endpoints)));
        }
        let file = folder.path().join("state").join(FILE);
        assert_eq!(
            fs::metadata(file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_damaged_file_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), b"\x50not a message").unwrap();
        assert!(Cache::new(folder.path()).load().is_err());
    }
}
