use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{folder::Folder, watch as watch_folder};
use crate::{
    resources::{ObjectKey, Resources},
    source::{Effect, Problem, Sourced},
};

fn route(name: &str, path: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\n\
         spec: {{rules: [{{matches: [{{path: {{value: {path}}}}}]}}]}}\n"
    )
}

fn path_of(resources: &Resources, name: &str) -> Option<String> {
    let entry = resources
        .http_routes
        .get(&ObjectKey::new("default", name))?;
    let rule = entry.object.spec.rules.as_ref()?.first()?;
    rule.matches.first()?.path.as_ref()?.value.clone()
}

/// A folder in memory: each call is one look at it.
fn look(folder: &mut Folder, files: &[(&str, &str)]) -> Sourced {
    let texts = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), Ok((*text).to_owned())));
    folder.apply(Ok(texts.collect()));
    folder.sourced().clone()
}

fn only(problems: &[Problem]) -> &Problem {
    assert_eq!(problems.len(), 1, "{problems:?}");
    &problems[0]
}

/// The first value that satisfies `wanted`.
async fn eventually(
    receiver: &mut watch::Receiver<Arc<Sourced>>,
    wanted: impl FnMut(&Arc<Sourced>) -> bool,
) -> Arc<Sourced> {
    let found = tokio::time::timeout(Duration::from_secs(30), receiver.wait_for(wanted)).await;
    found
        .expect("within 30 seconds")
        .expect("the task lives")
        .clone()
}

#[tokio::test]
async fn an_edit_is_seen() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("shop.yaml"), route("shop", "/a")).expect("written");
    let mut receiver = watch_folder(dir.path().to_owned()).expect("a folder to watch");
    assert_eq!(
        path_of(&receiver.borrow().resources, "shop").as_deref(),
        Some("/a")
    );

    fs::write(dir.path().join("shop.yaml"), route("shop", "/b")).expect("written");
    eventually(&mut receiver, |now| {
        path_of(&now.resources, "shop").as_deref() == Some("/b")
    })
    .await;
}

#[tokio::test]
async fn a_broken_edit_leaves_the_last_good_content_of_that_file_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("a.yaml"), route("one", "/a")).expect("written");
    fs::write(dir.path().join("b.yaml"), route("two", "/a")).expect("written");
    let mut receiver = watch_folder(dir.path().to_owned()).expect("a folder to watch");

    fs::write(dir.path().join("a.yaml"), "kind: HTTPRoute\nspec: [").expect("written");
    fs::write(dir.path().join("b.yaml"), route("two", "/b")).expect("written");
    let now = eventually(&mut receiver, |now| {
        !now.problems.is_empty() && path_of(&now.resources, "two").as_deref() == Some("/b")
    })
    .await;
    assert_eq!(path_of(&now.resources, "one").as_deref(), Some("/a"));
    assert_eq!(only(&now.problems).file, "a.yaml");

    fs::write(dir.path().join("a.yaml"), route("one", "/c")).expect("written");
    let now = eventually(&mut receiver, |now| now.problems.is_empty()).await;
    assert_eq!(path_of(&now.resources, "one").as_deref(), Some("/c"));
}

#[tokio::test]
async fn a_removed_file_takes_its_objects_with_it() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("a.yaml"), route("one", "/a")).expect("written");
    fs::write(dir.path().join("b.yml"), route("two", "/a")).expect("written");
    let mut receiver = watch_folder(dir.path().to_owned()).expect("a folder to watch");

    fs::remove_file(dir.path().join("a.yaml")).expect("removed");
    let now = eventually(&mut receiver, |now| now.resources.http_routes.len() == 1).await;
    assert_eq!(path_of(&now.resources, "two").as_deref(), Some("/a"));
    assert_eq!(now.problems, []);
}

#[tokio::test]
async fn a_renamed_file_keeps_its_objects() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("a.yaml"), route("one", "/a")).expect("written");
    let mut receiver = watch_folder(dir.path().to_owned()).expect("a folder to watch");

    fs::rename(dir.path().join("a.yaml"), dir.path().join("b.yaml")).expect("renamed");
    let key = ObjectKey::new("default", "one");
    let now = eventually(&mut receiver, |now| {
        now.resources
            .http_routes
            .get(&key)
            .is_some_and(|entry| entry.source == "b.yaml")
    })
    .await;
    assert_eq!(now.problems, []);
}

#[tokio::test]
async fn a_file_written_beside_and_moved_into_place_is_seen() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("a.yaml"), route("one", "/a")).expect("written");
    let mut receiver = watch_folder(dir.path().to_owned()).expect("a folder to watch");

    fs::write(dir.path().join(".a.yaml.tmp"), route("one", "/b")).expect("written");
    fs::rename(dir.path().join(".a.yaml.tmp"), dir.path().join("a.yaml")).expect("renamed");
    eventually(&mut receiver, |now| {
        path_of(&now.resources, "one").as_deref() == Some("/b")
    })
    .await;
}

/// Links lead out of the folder, where no event comes from.
#[cfg(unix)]
#[tokio::test]
async fn the_poll_finds_what_no_event_tells() {
    let (dir, elsewhere) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let target = elsewhere.path().join("real.yaml");
    fs::write(&target, route("one", "/a")).expect("written");
    std::os::unix::fs::symlink(&target, dir.path().join("link.yaml")).expect("linked");
    let mut receiver = watch_folder(dir.path().to_owned()).expect("a folder to watch");

    fs::write(&target, route("one", "/b")).expect("written");
    eventually(&mut receiver, |now| {
        path_of(&now.resources, "one").as_deref() == Some("/b")
    })
    .await;
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error() {
    let error = watch_folder(Path::new("/nonexistent/tidegate").to_owned()).expect_err("no folder");
    assert!(
        error.to_string().contains("/nonexistent/tidegate"),
        "{error}"
    );
}

#[test]
fn only_files_with_resources_are_read() {
    let dir = tempfile::tempdir().expect("a folder");
    for name in [
        "a.yaml",
        "b.yml",
        "c.json",
        ".hidden.yaml",
        "d.yaml~",
        "e.txt",
        "yaml",
    ] {
        fs::write(dir.path().join(name), "").expect("written");
    }
    fs::create_dir(dir.path().join("folder.yaml")).expect("created");
    fs::write(dir.path().join("latin.yaml"), b"\xe9").expect("written");
    let files = super::read::all(dir.path()).expect("listed");
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        ["a.yaml", "b.yml", "c.json", "latin.yaml"]
    );
    assert!(
        files["latin.yaml"]
            .as_ref()
            .is_err_and(|why| why.contains("UTF-8"))
    );
}

#[test]
fn an_unreadable_folder_changes_nothing_but_says_so() {
    let mut folder = Folder::default();
    let before = look(&mut folder, &[("a.yaml", &route("one", "/a"))]);
    folder.apply(Err(io::Error::other("gone")));
    assert_eq!(folder.sourced().resources, before.resources);
    assert!(only(&folder.sourced().problems).message.contains("gone"));
    assert_eq!(
        look(&mut folder, &[("a.yaml", &route("one", "/a"))]),
        before
    );
}

#[test]
fn one_object_in_two_files_is_refused_naming_both() {
    let mut folder = Folder::default();
    let (a, b) = (route("one", "/a"), route("one", "/b"));
    let now = look(&mut folder, &[("a.yaml", &a), ("b.yaml", &b)]);
    assert_eq!(path_of(&now.resources, "one").as_deref(), Some("/a"));
    let problem = only(&now.problems);
    assert_eq!(
        (problem.file.as_str(), problem.object.as_str()),
        ("b.yaml", "HTTPRoute default/one")
    );
    assert!(problem.message.contains("a.yaml"), "{problem}");

    let now = look(&mut folder, &[("b.yaml", &b)]);
    assert_eq!(path_of(&now.resources, "one").as_deref(), Some("/b"));
    assert_eq!(now.problems, []);
}

#[test]
fn what_is_in_service_wins_against_a_newcomer() {
    let mut folder = Folder::default();
    let (old, new) = (route("one", "/old"), route("one", "/new"));
    look(&mut folder, &[("m.yaml", &old)]);
    let now = look(&mut folder, &[("a.yaml", &new), ("m.yaml", &old)]);
    assert_eq!(path_of(&now.resources, "one").as_deref(), Some("/old"));
    assert_eq!(only(&now.problems).file, "a.yaml");
}

#[test]
fn an_object_may_move_from_one_file_to_another() {
    let mut folder = Folder::default();
    let (one, two) = (route("one", "/a"), route("two", "/a"));
    let both = format!("{one}---\n{two}");
    look(&mut folder, &[("a.yaml", &both), ("b.yaml", "")]);
    let now = look(&mut folder, &[("a.yaml", &one), ("b.yaml", &two)]);
    assert_eq!(now.problems, []);
    assert_eq!(now.resources.http_routes.len(), 2);
}

#[test]
fn a_refused_file_never_brings_back_what_another_file_has_now() {
    let mut folder = Folder::default();
    let (one, two) = (route("one", "/a"), route("two", "/a"));
    look(&mut folder, &[("a.yaml", &one), ("b.yaml", &two)]);
    // `b` gives up `two` for a third object, which `c` has as well, and `a` takes `two`.
    let (three, taken) = (
        route("three", "/a"),
        format!("{one}---\n{}", route("two", "/taken")),
    );
    look(
        &mut folder,
        &[("a.yaml", &one), ("b.yaml", &two), ("c.yaml", &three)],
    );
    let now = look(
        &mut folder,
        &[("a.yaml", &taken), ("b.yaml", &three), ("c.yaml", &three)],
    );
    let refused: Vec<_> = now
        .problems
        .iter()
        .map(|problem| problem.file.as_str())
        .collect();
    assert_eq!(refused, ["a.yaml", "b.yaml"]);
    assert_eq!(path_of(&now.resources, "two").as_deref(), Some("/a"));
    assert_eq!(now.resources.http_routes.len(), 3);
}

#[test]
fn an_error_names_file_document_object_field_and_remedy() {
    let mut folder = Folder::default();
    let text = format!(
        "{}---\n{}",
        route("fine", "/a"),
        route("broken", "/a").replace("value: /a", "value: {}")
    );
    let now = look(&mut folder, &[("shop.yaml", &text)]);
    let problem = only(&now.problems);
    assert_eq!(problem.effect, Effect::FileRefused);
    assert_eq!((problem.file.as_str(), problem.document), ("shop.yaml", 2));
    assert_eq!(problem.object, "HTTPRoute default/broken");
    assert_eq!(problem.field, "spec.rules[0].matches[0].path.value");
    assert!(
        problem.message.contains("expected a string") && !problem.remedy.is_empty(),
        "{problem}"
    );
    assert_eq!(now.resources, Resources::default());
}

#[test]
fn every_broken_object_of_a_file_is_named() {
    let documents: BTreeMap<&str, &str> = [
        ("- a list", ""),
        ("kind: Gateway", "apiVersion"),
        ("apiVersion: v1", "kind"),
        (
            "{apiVersion: v1, kind: Servce, metadata: {name: a}}",
            "kind",
        ),
        (
            "{apiVersion: v1, kind: Gateway, metadata: {name: a}}",
            "apiVersion",
        ),
        (
            "{apiVersion: gateway.networking.k8s.io/v7, kind: Gateway, metadata: {name: a}}",
            "apiVersion",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {}}",
            "metadata.name",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: a/b}}",
            "metadata.name",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: A}}",
            "metadata.namespace",
        ),
        (
            "{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: a}}",
            "",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: http}]}}",
            "spec.ports[0].port",
        ),
        (
            "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Service}]}",
            "items[0].metadata.name",
        ),
    ]
    .into();
    for (document, field) in &documents {
        let now = look(&mut Folder::default(), &[("a.yaml", document)]);
        let problem = only(&now.problems);
        assert_eq!(
            (problem.field.as_str(), problem.effect),
            (*field, Effect::FileRefused),
            "{document}: {problem}"
        );
    }
    let all = documents
        .keys()
        .copied()
        .collect::<Vec<_>>()
        .join("\n---\n");
    let now = look(&mut Folder::default(), &[("a.yaml", &all)]);
    assert_eq!(now.problems.len(), documents.len(), "{:?}", now.problems);
}

#[test]
fn what_a_secret_holds_is_in_no_message() {
    for text in [
        "data: {tls.key: hunter2-is-no-base64}",
        "data: hunter2",
        "stringData: [hunter2]",
        "stringData: {tls.key: {hunter2: hunter2}}",
        "type: [hunter2]",
    ] {
        let text = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: site}}\n{text}\n");
        let now = look(&mut Folder::default(), &[("a.yaml", &text)]);
        let problem = only(&now.problems);
        assert!(
            !problem.to_string().contains("hunter2-") && !problem.message.contains("hunter2"),
            "{problem}"
        );
        assert_eq!(problem.object, "Secret default/site");
    }
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: site}\nstringData: {a: hunter2}\n";
    let now = look(&mut Folder::default(), &[("a.yaml", secret)]);
    assert!(!format!("{now:?}").contains("hunter2"));
}

#[test]
fn string_data_goes_over_data() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: site}\n\
                  data: {a: b2xk, b: b2xk}\nstringData: {b: new, c: new}\n";
    let now = look(&mut Folder::default(), &[("a.yaml", secret)]);
    assert_eq!(now.problems, []);
    let secret = &now.resources.secrets[&ObjectKey::new("default", "site")].object;
    let data = secret
        .data
        .iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.0.as_slice()));
    let expected: [(&str, &[u8]); 3] = [("a", b"old"), ("b", b"new"), ("c", b"new")];
    assert_eq!(data.collect::<Vec<_>>(), expected);
    assert_eq!(secret.string_data, None);
}

#[test]
fn a_field_that_nothing_reads_is_mentioned() {
    let text = route("shop", "/a")
        .replace("rules:", "rulse: [], rules:")
        .replace("value:", "valeu: x, value:");
    let now = look(&mut Folder::default(), &[("a.yaml", &text)]);
    let fields: Vec<_> = now
        .problems
        .iter()
        .map(|problem| (problem.field.as_str(), problem.effect))
        .collect();
    let expected = [
        ("spec.rules[0].matches[0].path.valeu", Effect::FieldIgnored),
        ("spec.rulse", Effect::FieldIgnored),
    ];
    assert_eq!(fields, expected);
    assert_eq!(path_of(&now.resources, "shop").as_deref(), Some("/a"));
}

#[test]
fn kinds_for_others_are_left_out_and_mentioned() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: shop}\n---\n\
                apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: {name: shop}\n---\n";
    let now = look(
        &mut Folder::default(),
        &[("a.yaml", &format!("{text}{}", route("shop", "/a")))],
    );
    let objects: Vec<_> = now
        .problems
        .iter()
        .map(|problem| (problem.object.as_str(), problem.effect))
        .collect();
    let expected = [
        ("Deployment default/shop", Effect::ObjectIgnored),
        ("TLSRoute default/shop", Effect::ObjectIgnored),
    ];
    assert_eq!(objects, expected);
    assert_eq!(now.resources.http_routes.len(), 1);
}

#[test]
fn what_the_api_server_would_fill_in_is_stable() {
    let text = "apiVersion: v1\nkind: List\nitems:\n\
                - {apiVersion: v1, kind: Service, metadata: {name: a}, status: {loadBalancer: {}}}\n\
                - {apiVersion: v1, kind: Namespace, metadata: {name: b, namespace: c}}\n\
                - {apiVersion: v1, kind: Service, metadata: {name: d, namespace: e, generation: 7, \
                   creationTimestamp: '2024-05-06T07:08:09Z'}}\n";
    let now = look(&mut Folder::default(), &[("a.yaml", text)]);
    assert_eq!(now.problems, []);
    let of = |namespace: &str, name: &str| {
        let metadata = &now.resources.services[&ObjectKey::new(namespace, name)]
            .object
            .metadata;
        let created = metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0.as_second());
        (metadata.generation, created)
    };
    assert_eq!(of("default", "a"), (Some(1), Some(0)));
    assert_eq!(of("e", "d"), (Some(7), Some(1_714_979_289)));
    assert!(
        now.resources
            .namespaces
            .contains_key(&ObjectKey::new("", "b"))
    );
    assert_eq!(look(&mut Folder::default(), &[("a.yaml", text)]), now);
}

#[test]
fn hostile_yaml_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for depth in 1..20 {
        let above = depth - 1;
        bomb.push_str(&format!(
            "a{depth}: &a{depth} [{}]\n",
            vec![format!("*a{above}"); 9].join(", ")
        ));
    }
    let deep = format!("a: {}", "[".repeat(100_000));
    for text in [
        bomb.as_str(),
        deep.as_str(),
        "a: *unknown",
        "\u{0}",
        "a: 1\na: 2",
        "%YAML 9.9",
    ] {
        let now = look(&mut Folder::default(), &[("a.yaml", text)]);
        assert!(!now.problems.is_empty(), "{:.40}", text);
    }
}

#[test]
fn a_certificate_with_another_key_is_refused_and_the_one_before_serves_on() {
    let pair = |crt: &str, key: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: site}}\n\
             stringData: {{tls.crt: {crt:?}, tls.key: {key:?}}}\n"
        )
    };
    let made = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    let ((crt, key), (_, other_key)) = (made("a.example"), made("b.example"));
    let site = ObjectKey::new("default", "site");
    let mut folder = Folder::default();
    let before = look(&mut folder, &[("site.yaml", &pair(&crt, &key))]);
    assert_eq!(before.problems, []);
    for broken in [pair(&crt, &other_key), pair("", &key), pair(&crt, "none")] {
        let now = look(&mut folder, &[("site.yaml", &broken)]);
        let problem = only(&now.problems);
        assert_eq!(
            (problem.object.as_str(), problem.field.as_str()),
            ("Secret default/site", "data")
        );
        let (was, is) = (
            &before.resources.secrets[&site],
            &now.resources.secrets[&site],
        );
        assert!(was.object == is.object && was.held_back.is_none());
        assert!(
            is.held_back
                .as_ref()
                .is_some_and(|why| why.contains(&problem.message))
        );
    }
}

#[tokio::test]
async fn an_unknown_word_leaves_the_last_good_content_in_service_and_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("shop.yaml");
    fs::write(&file, route("shop", "/a")).expect("written");
    let mut receiver = watch_folder(dir.path().to_owned()).expect("a folder to watch");

    let bad = route("shop", "/b").replace("value:", "type: PathPrefx, value:");
    fs::write(&file, &bad).expect("written");
    let now = eventually(&mut receiver, |now| !now.problems.is_empty()).await;
    assert_eq!(path_of(&now.resources, "shop").as_deref(), Some("/a"));
    let problem = only(&now.problems);
    assert_eq!(
        (problem.file.as_str(), problem.document, problem.effect),
        ("shop.yaml", 1, Effect::FileRefused)
    );
    assert_eq!(problem.object, "HTTPRoute default/shop");
    assert_eq!(problem.field, "spec.rules[0].matches[0].path.type");
    assert!(problem.remedy.contains("PathPrefix"), "{problem}");

    fs::write(&file, bad.replace("PathPrefx", "PathPrefix")).expect("written");
    let now = eventually(&mut receiver, |now| now.problems.is_empty()).await;
    assert_eq!(path_of(&now.resources, "shop").as_deref(), Some("/b"));

    // With nothing good before it there is nothing to serve.
    let mut fresh = Folder::default();
    let now = look(&mut fresh, &[("shop.yaml", &bad)]);
    assert_eq!(now.resources, Resources::default());
    assert_eq!(only(&now.problems).effect, Effect::FileRefused);
}
