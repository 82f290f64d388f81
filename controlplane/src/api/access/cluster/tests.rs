use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::authentication::v1::TokenReviewStatus;

use super::*;

/// An API server where `viewer` may read and `down` breaks; it counts what it is asked.
#[derive(Default)]
struct Fake {
    tokens: AtomicUsize,
    questions: AtomicUsize,
}

#[tonic::async_trait]
impl Tokens for Fake {
    async fn review(
        &self,
        token: &str,
        audience: Option<&str>,
    ) -> Result<TokenReviewStatus, String> {
        assert_eq!(audience, None);
        self.tokens.fetch_add(1, Ordering::Relaxed);
        if token == "down" {
            return Err("no API server".into());
        }
        let known = token == "viewer";
        Ok(TokenReviewStatus {
            authenticated: Some(known),
            user: known.then(|| UserInfo {
                username: Some("jane".into()),
                ..Default::default()
            }),
            ..Default::default()
        })
    }
}

#[tonic::async_trait]
impl Authorizer for Fake {
    async fn denies(
        &self,
        user: &UserInfo,
        permission: Permission,
    ) -> Result<Option<String>, String> {
        assert_eq!(user.username.as_deref(), Some("jane"));
        self.questions.fetch_add(1, Ordering::Relaxed);
        Ok(permission.is_command().then(|| "no rule".to_owned()))
    }
}

fn permission(name: &str) -> Permission {
    Permission::of_operation(name).unwrap()
}

#[tokio::test]
async fn who_may_is_asked_once_in_a_while() {
    let fake = Arc::new(Fake::default());
    let cluster = Cluster::new(fake.clone());
    let list = permission("ListConnections");
    for _ in 0..3 {
        assert_eq!(cluster.admit("viewer", list).await.unwrap(), "jane");
    }
    let asked = || {
        let (tokens, questions) = (&fake.tokens, &fake.questions);
        (
            tokens.load(Ordering::Relaxed),
            questions.load(Ordering::Relaxed),
        )
    };
    assert_eq!(asked(), (1, 1));
    cluster
        .admit("viewer", permission("GetConfig"))
        .await
        .unwrap();
    assert_eq!(asked(), (1, 2), "the holder is known, the right is another");
}

#[tokio::test]
async fn who_may_not_is_told_what_is_missing() {
    let cluster = Cluster::new(Arc::new(Fake::default()));
    let denied = cluster.admit("viewer", permission("CloseConnection")).await;
    let Err(Denied::Forbidden(why)) = denied else {
        panic!("{denied:?}")
    };
    for word in ["jane", "`delete`", "`connections.tidegate.dev`", "no rule"] {
        assert!(why.contains(word), "{why}");
    }
    let list = permission("ListConnections");
    let denied = cluster.admit("stranger", list).await;
    assert!(
        matches!(denied, Err(Denied::Unauthenticated(_))),
        "{denied:?}"
    );
    let denied = cluster.admit("down", list).await;
    assert!(matches!(denied, Err(Denied::Unavailable(_))), "{denied:?}");
}

#[test]
fn what_is_remembered_stays_small() {
    let memory = Memory::<usize, ()>::default();
    for key in 0..3 * MOST_REMEMBERED {
        memory.put(key, ());
    }
    assert!(memory.0.lock().unwrap().len() <= MOST_REMEMBERED);
}
