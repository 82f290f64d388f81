use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::trust::vault::{FileVault, Kept};

/// A vault as an API server would be: a write names what it read.
#[derive(Default)]
struct Shared {
    kept: Mutex<Option<Kept>>,
    writes: AtomicU32,
}

#[tonic::async_trait]
impl Vault for Shared {
    async fn read(&self) -> Result<Option<Kept>, VaultError> {
        let kept = self.kept.lock().unwrap().clone();
        tokio::task::yield_now().await;
        Ok(kept)
    }

    async fn write(&self, text: &str, _: &str, before: Option<&Kept>) -> Result<bool, VaultError> {
        let mut kept = self.kept.lock().unwrap();
        if kept.as_ref().map(|kept| &kept.version) != before.map(|before| &before.version) {
            return Ok(false);
        }
        let version = self.writes.fetch_add(1, Ordering::Relaxed).to_string();
        let text = text.to_owned();
        *kept = Some(Kept { text, version });
        Ok(true)
    }

    fn name(&self) -> String {
        "shared".into()
    }
}

#[tokio::test]
async fn replicas_that_start_together_agree_on_one_root() {
    let vault = Arc::new(Shared::default());
    let open = || Authority::open(Arc::clone(&vault) as Arc<dyn Vault>);
    let (one, two, three) = tokio::join!(open(), open(), open());
    let bundle = |authority: Result<Arc<Authority>, _>| {
        let authority = authority.unwrap();
        authority.bundle().borrow().clone()
    };
    let one = bundle(one);
    assert_eq!(one, bundle(two));
    assert_eq!(one, bundle(three));
    assert_eq!(vault.writes.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_restart_keeps_the_roots_and_a_damaged_file_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Authority::open(Arc::new(FileVault::new(folder.path().into())));
    let first = open().await.unwrap().bundle().borrow().clone();
    assert_eq!(*open().await.unwrap().bundle().borrow(), first);
    let shown = std::fs::read_to_string(folder.path().join("ca.crt")).unwrap();
    assert_eq!(shown, first);

    std::fs::write(folder.path().join("authority.json"), "{}").unwrap();
    let error = open().await.err().unwrap().to_string();
    assert!(error.contains("remove it"), "{error}");
}

#[tokio::test]
async fn a_request_for_more_gets_what_the_identity_says() {
    let authority = Authority::open(Arc::new(Shared::default())).await.unwrap();
    let key = KeyPair::generate().unwrap();
    let asked = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    let request = asked.serialize_request(&key).unwrap();
    let identity = Identity::new("a/b", "x").unwrap();
    let now = unix_millis();
    let issued = authority
        .issue_client(request.der(), &identity, now)
        .unwrap();
    let certificate = boring::x509::X509::from_der(&issued.certificate).unwrap();
    let names = certificate.subject_alt_names().unwrap();
    assert_eq!(names.len(), 1);
    assert_eq!(
        names.get(0).and_then(|name| name.uri()),
        Some("tidegate://dataplane/a/b/x")
    );
    assert_eq!(issued.expires_at_ms - now, LEAF_LIFE.as_millis() as i64);

    assert!(authority.issue_client(b"\x30\x00", &identity, now).is_err());
}
