//! The admin API's manners: its guard, its description, its pages and its refusals.

use reqwest::Method;
use serde_json::json;
use tidegate_tests::{Gateway, H3, Upstream};

const PATHS: [(&str, &str); 15] = [
    ("get", "/v1/dataplanes"),
    ("post", "/v1/dataplanes/{id}/drain"),
    ("post", "/v1/dataplanes/{id}/undrain"),
    ("get", "/v1/listeners"),
    ("post", "/v1/listeners/{id}/drain"),
    ("post", "/v1/listeners/{id}/undrain"),
    ("get", "/v1/connections"),
    ("get", "/v1/connections/{id}"),
    ("post", "/v1/connections/{id}/close"),
    ("post", "/v1/connections/close"),
    ("get", "/v1/audit"),
    ("get", "/v1/events"),
    ("get", "/v1/config"),
    ("get", "/v1/status"),
    ("get", "/openapi.json"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_matters_wants_the_token() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let admin = gateway.admin();
    for (method, path) in PATHS.iter().filter(|(_, path)| path.starts_with("/v1")) {
        let method: Method = method.to_ascii_uppercase().parse().expect("a method");
        let path = path.replace("{id}", "edge");
        let longer = format!("{}x", admin.token);
        for token in [
            None,
            Some(""),
            Some("wrong"),
            Some(longer.as_str()),
            Some(&admin.token[1..]),
        ] {
            let mut request = admin.bare(method.clone(), &path).json(&json!({}));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.expect("it is answered");
            assert_eq!(answer.status(), 401, "{method} {path} with {token:?}");
        }
    }
    for path in ["/readyz", "/healthz", "/metrics", "/openapi.json", "/docs"] {
        let answer = admin
            .bare(Method::GET, path)
            .send()
            .await
            .expect("it is answered");
        assert_eq!(answer.status(), 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_description_lists_every_path_and_refers_to_nothing_that_is_not_there() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let document = gateway.admin().read("/openapi.json").await;
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.")),
        "{}",
        document["openapi"]
    );
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    for (method, path) in PATHS.iter().filter(|(_, path)| path.starts_with("/v1")) {
        let operation = &document["paths"][path][method];
        assert!(
            operation["responses"].is_object(),
            "{method} {path}: {operation}"
        );
        assert!(operation["operationId"].is_string(), "{method} {path}");
        for name in path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        {
            let parameters = operation["parameters"]
                .as_array()
                .expect("a path parameter is described");
            assert!(
                parameters
                    .iter()
                    .any(|one| one["name"] == name && one["in"] == "path"),
                "{method} {path}"
            );
        }
    }
    let text = document.to_string();
    for reference in text
        .split("\"$ref\":\"#")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
    {
        assert!(
            document.pointer(reference).is_some(),
            "{reference} is not there"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_browsable_description_needs_no_network() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let text = |path: String| {
        let admin = gateway.admin();
        async move {
            let answer = admin.bare(Method::GET, &path).send().await;
            let answer = answer.expect("it is answered");
            assert_eq!(answer.status(), 200, "{path}");
            let base = answer
                .url()
                .path()
                .trim_end_matches(|c| c != '/')
                .to_owned();
            (base, answer.text().await.expect("it is text"))
        }
    };
    let (base, page) = text("/docs".into()).await;
    let mut parts = Vec::new();
    for attribute in ["src=\"", "href=\""] {
        parts.extend(
            page.split(attribute)
                .skip(1)
                .filter_map(|rest| rest.split('"').next()),
        );
    }
    assert!(!parts.is_empty(), "{page}");
    let mut described = page.contains("openapi.json");
    for part in parts {
        assert!(!part.contains("//"), "{part} is elsewhere");
        let path = if part.starts_with('/') {
            part.to_owned()
        } else {
            format!("{base}{part}")
        };
        let is_image = part.ends_with(".png");
        if is_image {
            let image = gateway.admin().bare(Method::GET, &path).send().await;
            assert_eq!(image.expect("it is answered").status(), 200, "{path}");
        } else {
            described |= text(path).await.1.contains("/openapi.json");
        }
    }
    assert!(described, "it leads to the description: {page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_come_in_pages_without_gap_or_repetition() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(2).start(&upstream).await;
    let mut clients = Vec::new();
    for _ in 0..23 {
        let client = gateway.h3().await;
        client.get("/").await;
        clients.push(client);
    }
    let (mut peers, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = gateway
            .admin()
            .read(&format!("/v1/connections?limit=5&after={after}"))
            .await;
        let connections = page["connections"].as_array().expect("a list");
        assert!(connections.len() <= 5);
        peers.extend(
            connections
                .iter()
                .map(|one| one["peer_address"].as_str().expect("a string").to_owned()),
        );
        pages += 1;
        after = page["next"].as_str().expect("a string").to_owned();
        if after.is_empty() {
            break;
        }
    }
    assert!(pages >= 5, "{pages}");
    peers.sort();
    let mut expected: Vec<String> = clients
        .iter()
        .map(|client| client.local_address().to_string())
        .collect();
    expected.sort();
    assert_eq!(peers, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selectors_choose_connections() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let (a, b) = (
        H3::connect(&gateway.target().named("a.site.test")).await,
        H3::connect(&gateway.target().named("b.site.test")).await,
    );
    a.get("/").await;
    b.get("/").await;
    let mut tcp = gateway.h2().await;
    tcp.get("/").await;
    for (query, count) in [
        ("", 3),
        ("server_name=a.site.test", 1),
        ("server_name=A.Site.Test", 1),
        ("server_name=c.site.test", 0),
        ("alpn=h3", 2),
        ("alpn=h2", 1),
        ("peer=127.0.0.0/8", 3),
        ("peer=127.0.0.1", 3),
        ("peer=10.0.0.0/8", 0),
        ("listener=default%2Fedge%2Fhttps", 3),
        ("listener=default%2Fedge%2Fhttp", 0),
        ("min_age_ms=600000", 0),
        ("max_age_ms=600000", 3),
        ("server_name=b.site.test&alpn=h3&peer=127.0.0.1", 1),
    ] {
        assert_eq!(
            gateway.admin().connections(query).await.len(),
            count,
            "{query}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_problems_that_say_what_is_wrong() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let admin = gateway.admin();
    for (path, status) in [
        ("/v1/connections?limit=0x5", 400),
        ("/v1/connections?limit=1001", 400),
        ("/v1/connections?peer=not-a-range", 400),
        ("/v1/connections?min_age_ms=-1", 400),
        ("/v1/connections?after=nonsense", 400),
        ("/v1/audit?before=soon", 400),
        ("/v1/connections/edge.0.77.1", 404),
        ("/v1/connections/nobody.0.0.0", 404),
        ("/v1/nothing", 404),
    ] {
        let response = admin
            .request(Method::GET, path)
            .send()
            .await
            .expect("it is answered");
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json",
            "{path}"
        );
        let problem: serde_json::Value = response.json().await.expect("it is JSON");
        assert_eq!(problem["status"], status, "{path}: {problem}");
        for field in ["type", "title", "detail"] {
            assert!(
                problem[field].as_str().is_some_and(|text| !text.is_empty()),
                "{path}: {problem}"
            );
        }
    }
    let long = "r".repeat(257);
    for body in [
        "{".to_owned(),
        "[]".to_owned(),
        json!({"send_application_close": "yes"}).to_string(),
        json!({"send_application_close": true, "error_code": -1}).to_string(),
        json!({"send_application_close": true, "error_code": 1, "reason": long}).to_string(),
        // RFC 9000 16: a varint has 62 bits.
        json!({"send_application_close": true, "error_code": 1u64 << 62, "reason": ""}).to_string(),
    ] {
        let request = admin.request(Method::POST, "/v1/connections/edge.0.0.0/close");
        let request = request
            .header("content-type", "application/json")
            .body(body.clone());
        let status = request.send().await.expect("it is answered").status();
        assert!([400, 422].contains(&status.as_u16()), "{body}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_effective_configuration_is_shown_without_its_secrets() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let config = gateway.admin().read("/v1/config").await;
    let snapshot = &config["snapshot"];
    let ids = |list: &str| -> Vec<String> {
        let list = snapshot[list].as_array().expect("a list");
        list.iter()
            .map(|one| one["id"].as_str().expect("a string").to_owned())
            .collect()
    };
    assert_eq!(
        ids("listeners"),
        ["default/edge/http", "default/edge/https"]
    );
    assert_eq!(ids("routes"), ["HTTPRoute/default/app"]);
    assert_eq!(ids("backends"), ["default/app:80"]);
    assert_eq!(ids("certificates"), ["default/site"]);
    assert_eq!(
        config["endpoints"][0]["endpoints"][0]["port"],
        upstream.address.port()
    );
    assert!(!config.to_string().contains("PRIVATE KEY"));
    assert!(!config.to_string().contains("material"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fleet_says_who_serves_what() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().shards(2).start(&upstream).await;
    let client = gateway.h3().await;
    client.get("/").await;
    let fleet = gateway.admin().read("/v1/dataplanes").await;
    let dataplane = &fleet["dataplanes"][0];
    assert_eq!(
        (
            &dataplane["hello"]["dataplane_id"],
            &dataplane["hello"]["shards"]
        ),
        (&"edge".into(), &2.into())
    );
    assert!(dataplane["nack"].is_null(), "{dataplane}");
    let listeners = gateway.admin().read("/v1/listeners").await;
    let listeners = listeners["listeners"].as_array().expect("a list");
    let https = listeners
        .iter()
        .find(|one| one["id"] == "default/edge/https")
        .expect("it is listed");
    assert_eq!(
        (
            &https["port"],
            &https["protocol"],
            &https["http3"],
            &https["draining"]
        ),
        (
            &gateway.https.port().into(),
            &"https".into(),
            &true.into(),
            &false.into()
        )
    );
}
