//! Routes that change.

use std::time::{Duration, Instant};

use crate::{
    client,
    world::{SHOP, World, apply, eventually, kubectl, object_is, route},
};

pub(crate) async fn an_edited_route_is_served_on_the_same_connection(world: &mut World) {
    let connection = tidegate_tests::H3::connect(&world.https()).await;
    for version in ["second", "third", "fourth"] {
        apply(&route("shop", "/", version));
        let applied = Instant::now();
        eventually("the edit is served", || async {
            (connection.get("/").await.header("x-served-by") == version).then_some(())
        })
        .await;
        // Far above what it takes, because machines are slow and noisy; `push-latency`
        // in the benchmarks has the figure.
        assert!(
            applied.elapsed() < Duration::from_secs(10),
            "{:?}",
            applied.elapsed()
        );
    }
    assert_eq!(
        connection.connection.close_reason(),
        None,
        "a push closes no connection"
    );
}

pub(crate) async fn a_route_that_leads_nowhere_answers_500_and_the_others_serve_on(
    world: &mut World,
) {
    apply(&route("nowhere", "/nowhere", "nobody").replace("name: upstream", "name: absent"));
    object_is(
        SHOP,
        "httproute/nowhere",
        "ResolvedRefs",
        "False BackendNotFound",
    )
    .await;
    let target = world.https();
    eventually("the share of a missing backend is 500", || async {
        (client::fetch(&target, "/nowhere").await?.status == 500).then_some(())
    })
    .await;
    assert_eq!(
        client::fetch(&target, "/").await.expect("served").status,
        200
    );
    kubectl(&["delete", "--namespace", SHOP, "httproute", "nowhere"]);
}

pub(crate) async fn five_hundred_routes_are_served_by_all_pods(world: &mut World) {
    let name = |number: usize| format!("many-{number}");
    let manifests: String = (0..500)
        .map(|number| route(&name(number), &format!("/many/{number}"), &name(number)))
        .collect();
    apply(&manifests);
    let target = world.https();
    for number in [0, 250, 499] {
        eventually("one of many is served", || async {
            let answer = client::fetch(&target, &format!("/many/{number}/x")).await?;
            (answer.header("x-served-by") == name(number)).then_some(())
        })
        .await;
    }
    let names: Vec<_> = (0..500).map(name).collect();
    let mut arguments = vec!["delete", "--namespace", SHOP, "--wait=false", "httproute"];
    arguments.extend(names.iter().map(String::as_str));
    kubectl(&arguments);
}
