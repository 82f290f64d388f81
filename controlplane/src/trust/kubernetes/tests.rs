use k8s_openapi::api::authentication::v1::UserInfo;

use super::*;

/// An API server that says this of every token.
struct Says(Result<TokenReviewStatus, String>);

#[tonic::async_trait]
impl Tokens for Says {
    async fn review(&self, _: &str, audience: Option<&str>) -> Result<TokenReviewStatus, String> {
        assert_eq!(audience, Some(AUDIENCE));
        self.0.clone()
    }
}

fn valid() -> TokenReviewStatus {
    TokenReviewStatus {
        authenticated: Some(true),
        audiences: Some(vec![AUDIENCE.into()]),
        user: Some(UserInfo {
            username: Some("system:serviceaccount:shop:web-tidegate".into()),
            extra: Some([(POD_NAME.to_owned(), vec!["web-tidegate-7-x".to_owned()])].into()),
            ..Default::default()
        }),
        error: None,
    }
}

async fn review(status: Result<TokenReviewStatus, String>, gateway: &str, pod: &str) -> String {
    let gateway_of: GatewayOf = Arc::new(|account| {
        let known = account.namespace == "shop" && account.name == "web-tidegate";
        known.then(|| "shop/web".to_owned())
    });
    let reviewer = PodTokens::new(Arc::new(Says(status)), gateway_of);
    match reviewer.review("token", gateway, pod).await {
        Ok(()) => "admitted".into(),
        Err(Refusal::Token(why)) => format!("token: {why}"),
        Err(Refusal::Forbidden(why)) => format!("forbidden: {why}"),
        Err(Refusal::Unavailable(why)) => format!("unavailable: {why}"),
    }
}

#[tokio::test]
async fn a_pod_is_admitted_for_its_own_gateway_under_its_own_name() {
    let own = review(Ok(valid()), "shop/web", "web-tidegate-7-x").await;
    assert_eq!(own, "admitted");
    for (gateway, pod, why) in [
        (
            "shop/other",
            "web-tidegate-7-x",
            "forbidden: ServiceAccount",
        ),
        ("", "web-tidegate-7-x", "forbidden: ServiceAccount"),
        (
            "shop/web",
            "web-tidegate-7-y",
            "forbidden: the token is that of pod",
        ),
    ] {
        let said = review(Ok(valid()), gateway, pod).await;
        assert!(said.starts_with(why), "{said}");
    }
}

#[tokio::test]
async fn a_token_for_someone_else_or_without_a_pod_is_refused() {
    let with = |change: fn(&mut TokenReviewStatus)| {
        let mut status = valid();
        change(&mut status);
        status
    };
    for (status, why) in [
        (
            with(|status| status.authenticated = Some(false)),
            "token: the token is not valid",
        ),
        (
            with(|status| status.audiences = None),
            "token: the token is not for the audience",
        ),
        (
            with(|status| status.audiences = Some(vec!["https://kubernetes".into()])),
            "token: the token is not for the audience",
        ),
        (
            with(|status| status.user.as_mut().unwrap().extra = None),
            "token: the token is not bound to a pod",
        ),
        (
            with(|status| status.user.as_mut().unwrap().username = Some("jane".into())),
            "token: `jane` is no ServiceAccount",
        ),
        (
            with(|status| {
                let user = status.user.as_mut().unwrap();
                user.username = Some("system:serviceaccount:shop:default".into());
            }),
            "unavailable: no Gateway is known",
        ),
    ] {
        let said = review(Ok(status), "shop/web", "web-tidegate-7-x").await;
        assert!(said.starts_with(why), "{said}");
    }
    let said = review(Err("timeout".into()), "shop/web", "web-tidegate-7-x").await;
    assert!(said.starts_with("unavailable"), "{said}");
}
