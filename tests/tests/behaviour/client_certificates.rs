//! Certificates of clients over HTTP/3, from the Gateway's own settings: who is let in, and what
//! becomes of connections and sessions when an authority comes or goes.

use serde_json::{Value, json};
use tidegate_tests::{Authority, Folder, Gateway, H3, Identity, Target, Upstream, eventually};

/// The CAs that clients' certificates have to lead to.
fn trust(folder: &Folder, authorities: &[&Authority]) {
    let pem: String = authorities.iter().map(|one| one.pem()).collect();
    folder.object(
        "clients",
        &json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "clients", "namespace": "default"},
            "data": {"ca.crt": pem},
        }),
    );
}

/// A gateway whose Gateway asks clients for certificates of this authority.
async fn start(upstream: &Upstream, authority: &Authority, mode: Option<&str>) -> Gateway {
    let mut validation =
        json!({"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "clients"}]});
    if let Some(mode) = mode {
        validation["mode"] = mode.into();
    }
    Gateway::builder()
        .start_with(|folder| {
            trust(folder, &[authority]);
            let file = folder.path().join("gateway.yaml");
            let text = std::fs::read_to_string(file).expect("it was written");
            let mut object: Value = serde_norway::from_str(&text).expect("it is YAML");
            object["spec"]["tls"] = json!({"frontend": {"default": {"validation": validation}}});
            folder.object("gateway", &object);
            folder.service("app", &[upstream.address]);
            let rules = json!([{"backendRefs": [{"name": "app", "port": 80}]}]);
            folder.route("app", &[], &rules);
        })
        .await
}

/// A client with this certificate, and tickets of its own.
fn client(gateway: &Gateway, identity: Option<&Identity>) -> Target {
    let tls = match identity {
        None => gateway.authority.client(&["h3"]),
        Some(identity) => gateway.authority.client_as(&["h3"], identity),
    };
    Target {
        tls: Some(tls),
        ..gateway.target()
    }
}

/// The status of a request on a connection of its own, and the connection's facts. In TLS 1.3 a
/// client learns only afterwards that it was turned away.
async fn visit(gateway: &Gateway, target: &Target) -> Option<(u16, Value)> {
    let client = H3::try_connect(target).await.ok()?;
    let request = client.request("GET", "/");
    let status = client.send(request, "".into()).await.ok()?.status;
    let facts = gateway.admin().connection_from(client.local_address());
    Some((status.as_u16(), facts.await["tls"].clone()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_a_certificate_of_the_authority_is_let_in_and_resumes() {
    let upstream = Upstream::start().await;
    let (authority, stranger) = (Authority::new(), Authority::new());
    let gateway = start(&upstream, &authority, None).await;
    let target = client(&gateway, Some(&authority.issue(&["device.test"])));
    for resumed in [false, true] {
        let (status, tls) = visit(&gateway, &target).await.expect("it is let in");
        assert_eq!((status, &tls["resumed"]), (200, &json!(resumed)), "{tls}");
        let shown = &tls["client_certificate"];
        assert_eq!(shown["verified"], true, "{tls}");
        assert_eq!(shown["subject_alt_names"], json!(["device.test"]), "{tls}");
    }
    for identity in [None, Some(&stranger.issue(&["device.test"]))] {
        let answer = visit(&gateway, &client(&gateway, identity)).await;
        assert!(answer.is_none(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_insecure_fallback_everybody_is_let_in_and_nobody_is_verified() {
    let upstream = Upstream::start().await;
    let (authority, stranger) = (Authority::new(), Authority::new());
    let gateway = start(&upstream, &authority, Some("AllowInsecureFallback")).await;
    let identities = [&authority, &stranger].map(|one| one.issue(&["device.test"]));
    for identity in [None, Some(&identities[0]), Some(&identities[1])] {
        let target = client(&gateway, identity);
        let (status, tls) = visit(&gateway, &target).await.expect("it is let in");
        assert_eq!(status, 200);
        let shown = &tls["client_certificate"];
        assert_eq!(shown.is_null(), identity.is_none(), "{tls}");
        assert_ne!(shown["verified"], true, "{tls}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_comes_under_live_connections_and_goes_with_those_that_it_let_in() {
    let upstream = Upstream::start().await;
    let (old, new) = (Authority::named("Old"), Authority::named("New"));
    let gateway = start(&upstream, &old, None).await;
    let known = client(&gateway, Some(&old.issue(&["old.test"])));
    let coming = client(&gateway, Some(&new.issue(&["new.test"])));
    let live = H3::connect(&known).await;
    assert_eq!(live.get("/").await.status, 200);
    assert!(visit(&gateway, &coming).await.is_none(), "not yet");

    trust(&gateway.folder, &[&old, &new]);
    eventually("the new authority is trusted", || async {
        visit(&gateway, &coming).await.map(|_| ())
    })
    .await;
    assert_eq!(
        live.get("/").await.status,
        200,
        "nothing has changed for it"
    );
    let (status, tls) = visit(&gateway, &known).await.expect("it is still trusted");
    assert_eq!(status, 200);
    assert_eq!(tls["resumed"], false, "it was verified anew: {tls}");
    let (_, tls) = visit(&gateway, &known).await.expect("it is still trusted");
    assert_eq!(tls["resumed"], true, "{tls}");

    trust(&gateway.folder, &[&new]);
    eventually("the old authority is no longer trusted", || async {
        visit(&gateway, &known).await.is_none().then_some(())
    })
    .await;
    assert_eq!(
        live.get("/").await.status,
        421,
        "it has to be verified anew"
    );
    let (status, _) = visit(&gateway, &coming).await.expect("it is trusted");
    assert_eq!(status, 200);
}
