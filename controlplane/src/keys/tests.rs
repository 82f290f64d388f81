use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

#[test]
fn keys_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = KeyStore::open(folder.path(), 1)
        .unwrap()
        .watch()
        .borrow()
        .clone();
    let second = KeyStore::open(folder.path(), 2).unwrap();
    assert!(*second.watch().borrow() == first);
    assert_eq!(second.rotated_at_ms(), 1);
    let mode = fs::metadata(folder.path().join("keys.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_rotation_overlaps_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = KeyStore::open(folder.path(), 1).unwrap();
    let mut watch = store.watch();
    let before = watch.borrow_and_update().clone();
    let rotated = store.rotate(2).await.unwrap();
    assert!(watch.has_changed().unwrap(), "whoever waits is woken");
    assert_eq!(rotated.ticket[0], before.ticket[1]);
    assert_eq!(rotated.ticket[2], before.ticket[0]);
    assert_eq!(rotated.cid[2], before.cid[0]);
    drop(store);
    assert!(*KeyStore::open(folder.path(), 3).unwrap().watch().borrow() == rotated);
}

#[test]
fn a_damaged_file_is_refused_without_showing_it_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    for damage in ["", "{}", r#"{"rotated_at_ms":0,"ticket":["TOPSECRET"]}"#] {
        fs::write(&path, damage).unwrap();
        let Err(error) = KeyStore::open(folder.path(), 1) else {
            panic!("{damage:?} was taken");
        };
        let text = error.to_string();
        assert!(
            text.contains("keys.json") && text.contains("remove it"),
            "{text}"
        );
        assert!(!text.contains("TOPSECRET"), "{text}");
        assert_eq!(fs::read_to_string(&path).unwrap(), damage);
    }
}

#[test]
fn keys_are_due_by_age_whichever_way_the_clock_was_set() {
    let day = Duration::from_secs(86_400);
    let now = 1_700_000_000_000;
    let day_ms = 86_400_000;
    assert!(!is_due(now, now, day));
    assert!(!is_due(now - day_ms + 1, now, day));
    assert!(is_due(now - day_ms, now, day));
    assert!(is_due(now + day_ms, now, day));
    assert!(is_due(i64::MIN, now, day));
}

#[tokio::test]
async fn keys_rotate_by_age() {
    let folder = tempfile::tempdir().unwrap();
    let store = KeyStore::open(folder.path(), 0).unwrap();
    let mut watch = store.watch();
    let newest = watch.borrow_and_update().ticket[0].id;
    tokio::select! {
        () = store.rotate_by_age(Duration::from_secs(3600), || true, || {}) => unreachable!("it never ends"),
        changed = tokio::time::timeout(Duration::from_secs(30), watch.changed()) => {
            changed.expect("rotated in time").unwrap();
        }
    }
    assert_eq!(watch.borrow().ticket[0].id, newest + 1);
}

#[tokio::test]
async fn replicas_share_one_ring_and_follow_each_others_rotations() {
    let secrets = "/api/v1/secrets";
    let server = crate::harness::ApiServer::new(&[secrets]);
    let replica = async || {
        let secret = KeySecret::new(server.client(), "tidegate");
        std::sync::Arc::new(KeyStore::shared(secret, 1).await.unwrap())
    };
    let (one, two) = (replica().await, replica().await);
    assert!(*one.watch().borrow() == *two.watch().borrow());
    let following = std::sync::Arc::clone(&one);
    tokio::spawn(async move { following.follow().await });
    let mut watch = one.watch();
    watch.borrow_and_update();
    let rotated = two.rotate(2).await.unwrap();
    let patience = Duration::from_secs(60);
    let seen = watch.wait_for(|keys| *keys == rotated);
    tokio::time::timeout(patience, seen)
        .await
        .expect("followed in time")
        .unwrap();
    assert_eq!(one.rotated_at_ms(), 2);

    // One after the other, however little either knows of the other's.
    let again = one.rotate(3).await.unwrap();
    let last = two.rotate(4).await.unwrap();
    assert_eq!(last.ticket[2], again.ticket[0]);

    // Removed by somebody: it comes back as it was.
    watch.wait_for(|keys| *keys == last).await.unwrap();
    server.delete(secrets, "tidegate", "tidegate-keys");
    let restored = async {
        while server.get(secrets, "tidegate", "tidegate-keys").is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(patience, restored)
        .await
        .expect("made again in time");
    assert!(*replica().await.watch().borrow() == last);
}
