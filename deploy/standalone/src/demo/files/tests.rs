use std::os::unix::fs::PermissionsExt;

use serde_norway::Value;

use super::*;

const PORTS: Ports = Ports {
    https: 8443,
    http: 8080,
};

fn upstream(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A state folder with the demo in it.
fn demo() -> tempfile::TempDir {
    let state = tempfile::tempdir().expect("temp dir");
    start(state.path(), 4_001);
    state
}

fn start(state: &Path, port: u16) {
    let folder = state.join("demo");
    std::fs::create_dir_all(&folder).expect("folder");
    let authority = Authority::open(state).expect("authority");
    write(&folder, PORTS, &authority, upstream(port)).expect("written");
}

fn read(state: &Path, name: &str) -> String {
    std::fs::read_to_string(state.join("demo").join(name)).expect("a file")
}

#[test]
fn every_placeholder_is_filled_and_every_document_is_a_resource() {
    let state = demo();
    let mut kinds = Vec::new();
    for entry in std::fs::read_dir(state.path().join("demo")).expect("folder") {
        let file = entry.expect("entry").path();
        let text = std::fs::read_to_string(&file).expect("text");
        assert!(!text.contains(['{', '}']), "{}", file.display());
        for document in serde_norway::Deserializer::from_str(&text) {
            let value = <Value as serde::Deserialize>::deserialize(document).expect("yaml");
            kinds.push(value["kind"].as_str().expect("a kind").to_owned());
            assert!(value["metadata"]["name"].is_string(), "{}", file.display());
        }
    }
    kinds.sort();
    let expected = [
        "EndpointSlice",
        "Gateway",
        "GatewayClass",
        "HTTPRoute",
        "Secret",
        "Service",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn edits_survive_a_restart_and_the_endpoint_follows_the_upstream() {
    let state = demo();
    std::fs::write(state.path().join("demo").join(ROUTE_FILE), "edited").expect("written");
    let certificate = read(state.path(), CERTIFICATE_FILE);
    start(state.path(), 4_002);
    assert_eq!(read(state.path(), ROUTE_FILE), "edited");
    assert_eq!(read(state.path(), CERTIFICATE_FILE), certificate);
    let endpoints: Value =
        serde_norway::from_str(&read(state.path(), ENDPOINTS_FILE)).expect("yaml");
    assert_eq!(endpoints["ports"][0]["port"], 4_002);
    assert_eq!(endpoints["endpoints"][0]["addresses"][0], "127.0.0.1");
}

#[test]
fn a_new_authority_signs_a_new_certificate() {
    let state = demo();
    let before = read(state.path(), CERTIFICATE_FILE);
    std::fs::remove_file(state.path().join("ca.key")).expect("removed");
    start(state.path(), 4_003);
    assert_ne!(read(state.path(), CERTIFICATE_FILE), before);
}

#[test]
fn the_private_key_is_its_owners() {
    let state = demo();
    let file = std::fs::metadata(state.path().join("demo").join(CERTIFICATE_FILE)).expect("file");
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}
