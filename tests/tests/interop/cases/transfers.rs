//! What connections carry.

use super::{KB, MB, file};
use crate::{
    client::Client,
    scene::{Scene, Setup},
    task::Visit,
};

/// Files come whole, under flow control.
pub(crate) async fn transfer(client: &Client) {
    let scene = Scene::new(Setup::default()).await;
    let paths = [2, 3, 5].map(|size| file(size * MB));
    let outcome = scene.visit(client, paths.to_vec()).await;
    outcome.closed_without_error();
}

/// Thousands of small files over one connection, whose stream limit is raised meanwhile.
pub(crate) async fn multiplexing(client: &Client) {
    const FILES: usize = 1999;
    let scene = Scene::new(Setup::default()).await;
    let path = |index| format!("/bytes/32?{index}");
    let outcome = scene.visit(client, (0..FILES).map(path).collect()).await;
    assert_eq!(outcome.connection()["requests"], FILES);
}

/// Requests of HTTP/3 at once.
pub(crate) async fn http3(client: &Client) {
    let scene = Scene::new(Setup::default()).await;
    let paths = [5, 10, 500].map(|size| file(size * KB));
    let outcome = scene.visit(client, paths.to_vec()).await;
    assert_eq!(outcome.connection()["tls"]["alpn"], "h3");
    assert_eq!(outcome.connection()["requests"], 3);
}

/// The client updates its keys, and the server follows, which it counts.
pub(crate) async fn key_update(client: &Client) {
    let scene = Scene::new(Setup::default()).await;
    let visit = Visit {
        paths: vec![file(MB), file(2 * MB)],
        key_update: true,
        ..Visit::default()
    };
    let outcome = scene.visits(client, vec![visit]).await;
    let followed = outcome.connection()["stats"]["key_updates"].as_u64();
    assert!(followed >= Some(1), "{}", outcome.connection());
    if let Some(told) = outcome.report.visits[0].key_updates {
        assert!(told >= 1, "the client's view");
    }
}
