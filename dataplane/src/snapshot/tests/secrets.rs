use super::*;

#[test]
fn debug_output_never_shows_a_secret() {
    let wire = v1::Snapshot {
        keys: Some(v1::Keys {
            ticket: vec![v1::Key {
                id: 77,
                material: vec![0xAB; 48].into(),
            }],
            ..keys()
        }),
        ..snapshot()
    };
    let pem = String::from_utf8(wire.certificates[0].private_key_pem.to_vec()).unwrap();
    let snapshot = Snapshot::try_from(wire).expect("a good snapshot");
    let shown = format!("{snapshot:?} {snapshot:#?}");
    assert!(shown.contains("id: 77") && shown.contains(SITE), "{shown}");
    for line in pem.lines() {
        assert!(!shown.contains(line), "{shown}");
    }
    for secret in [
        "PRIVATE", "PKey", "secret", "hmac", "aes", "171, 171", "2, 2, 2", "4, 4, 4",
    ] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

#[test]
fn a_bad_key_is_refused_without_being_quoted() {
    let mut wire = snapshot();
    wire.certificates[0].private_key_pem =
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n".into();
    let found = rejections(wire);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (&*found[0].object, &*found[0].field),
        (SITE, "private_key_pem")
    );
    assert!(!format!("{found:?}").contains("c2VjcmV0"), "{found:?}");
}

#[test]
fn keys_for_encrypted_hellos_are_whole_and_one_is_offered() {
    let with = |keys: Vec<v1::EchKey>| {
        let mut wire = snapshot();
        wire.listeners[0].ech_keys = keys;
        wire
    };
    let good = || ech_key(true);
    let wire = with(vec![good(), ech_key(false)]);
    let secret = format!("{:?}", wire.listeners[0].ech_keys[0].private_key);
    let parsed = Snapshot::try_from(wire).expect("a good snapshot");
    let listener = parsed.listeners().find(|one| &*one.id == HTTPS);
    assert_eq!(listener.expect("it is there").ech_keys.len(), 2);
    assert!(!format!("{parsed:?}").contains(&secret));

    let other = v1::EchKey {
        private_key: good().private_key,
        ..good()
    };
    let short = v1::EchKey {
        private_key: vec![1; 31].into(),
        ..good()
    };
    let cut = v1::EchKey {
        config: good().config.slice(..20),
        ..good()
    };
    for bad in [other, short, cut] {
        let wire = with(vec![good(), bad]);
        assert_refused(wire, HTTPS, "ech_keys[1]", "no ECHConfig of X25519");
    }
    assert_refused(with(vec![ech_key(false)]), HTTPS, "ech_keys", "offered");
    let mut wire = snapshot();
    wire.listeners[1].ech_keys = vec![good()];
    assert_refused(wire, HTTP, "ech_keys", "with HTTP");
}

#[test]
fn a_certificate_that_does_not_match_its_key_is_refused() {
    let mut wire = snapshot();
    wire.certificates[0].private_key_pem = certificate("x", "x").private_key_pem;
    assert_refused(wire, SITE, "private_key_pem", "does not match");
}

#[test]
fn a_chain_with_another_certificate_first_is_refused() {
    let mut wire = snapshot();
    let (leaf, other) = (
        wire.certificates[0].chain_pem.clone(),
        certificate("x", "x").chain_pem,
    );
    wire.certificates[0].chain_pem = [&leaf[..], &other].concat().into();
    let snapshot = Snapshot::try_from(wire.clone()).expect("the leaf is first");
    assert_eq!(
        snapshot.bindings[1].listeners[0].certificates[0]
            .chain
            .len(),
        2
    );
    wire.certificates[0].chain_pem = [&other[..], &leaf].concat().into();
    assert_refused(wire, SITE, "private_key_pem", "put the leaf first");
}

#[test]
fn a_chain_that_breaks_off_is_refused() {
    let mut wire = snapshot();
    let leaf = wire.certificates[0].chain_pem.clone();
    wire.certificates[0].chain_pem = [&leaf[..], &leaf[..leaf.len() / 2]].concat().into();
    assert_refused(wire, SITE, "chain_pem", "no readable certificate");
}

#[test]
fn keys_have_their_lengths_and_ids_of_their_own() {
    type Change = fn(&mut v1::Keys);
    let key = |id, length| v1::Key {
        id,
        material: vec![0; length].into(),
    };
    let changes: [(Change, &str, &str); 10] = [
        (
            |keys| keys.ticket[0].material = vec![0; 47].into(),
            "ticket[0].material",
            "has 47 bytes; give 48",
        ),
        (
            |keys| keys.retry[0].material = vec![0; 16].into(),
            "retry[0].material",
            "give 32",
        ),
        (
            |keys| keys.reset[0].material = vec![0; 33].into(),
            "reset[0].material",
            "give 32",
        ),
        (
            |keys| keys.cid[0].material = Default::default(),
            "cid[0].material",
            "has 0 bytes; give 16",
        ),
        (
            |keys| keys.ticket.clear(),
            "ticket",
            "at least one key of 48 bytes",
        ),
        (|keys| keys.retry.clear(), "retry", "at least one"),
        (|keys| keys.reset.clear(), "reset", "at least one"),
        (|keys| keys.cid.clear(), "cid", "at least one"),
        (
            |keys| keys.retry.push(keys.retry[0].clone()),
            "retry[1].id",
            "1 names another key",
        ),
        // The low three bits are all that is on the wire.
        (
            |keys| {
                keys.cid.push(v1::Key {
                    id: 9,
                    ..keys.cid[0].clone()
                })
            },
            "cid[1].id",
            "9 names another",
        ),
    ];
    for (change, field, message) in changes {
        let mut wire = snapshot();
        change(wire.keys.as_mut().unwrap());
        assert_refused(wire, "keys", field, message);
    }
    assert_refused(
        v1::Snapshot {
            keys: None,
            ..snapshot()
        },
        "keys",
        "keys",
        "are missing",
    );

    let mut wire = snapshot();
    wire.keys.as_mut().unwrap().cid.push(key(2, 16));
    wire.keys.as_mut().unwrap().ticket = vec![v1::Key {
        id: 5,
        material: (0..48).collect::<Vec<u8>>().into(),
    }];
    let keys = Snapshot::try_from(wire).expect("a good snapshot").keys;
    assert_eq!(
        keys.cid.iter().map(|key| key.id).collect::<Vec<_>>(),
        [1, 2]
    );
    let ticket = &keys.ticket[0];
    assert_eq!(
        (
            ticket.name[0],
            ticket.hmac[0],
            ticket.aes[0],
            ticket.aes[15]
        ),
        (0, 16, 32, 47)
    );
}

#[test]
fn tls_to_a_backend_needs_a_name_and_readable_authorities() {
    let with = |server_name: &str, ca_pem: &[u8]| {
        let mut wire = snapshot();
        wire.backends[0].tls = Some(v1::BackendTls {
            server_name: server_name.into(),
            ca_pem: ca_pem.to_vec().into(),
            ..Default::default()
        });
        wire
    };
    let backend = "default/shop:80";
    assert_refused(with("", b""), backend, "tls.server_name", "single name");
    assert_refused(
        with("*.a.com", b""),
        backend,
        "tls.server_name",
        "single name",
    );
    assert_refused(
        with("a.com", b"none"),
        backend,
        "tls.ca_pem",
        "no readable certificate",
    );
    let ca = certificate("ca", "ca").chain_pem;
    let snapshot = Snapshot::try_from(with("Inside.Example", &ca)).expect("a good snapshot");
    let tls = snapshot
        .backend(backend)
        .unwrap()
        .tls
        .as_ref()
        .expect("TLS");
    assert_eq!((&*tls.server_name, tls.ca.len()), ("inside.example", 1));
}
