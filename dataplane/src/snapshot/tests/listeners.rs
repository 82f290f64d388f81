use super::*;

#[test]
fn listeners_with_equal_addresses_and_port_share_a_binding_and_part_the_hosts() {
    let mut wire = snapshot();
    wire.routes.clear();
    wire.listeners = vec![
        https("a", 443, "*.example.com", SITE),
        https("b", 443, "www.example.com", SITE),
        https("c", 443, "*.deep.example.com", SITE),
    ];
    wire.listeners[0].http3 = None;
    let snapshot = Snapshot::try_from(wire).expect("a good snapshot");
    assert_eq!(snapshot.bindings.len(), 1);
    assert_eq!(snapshot.listeners().count(), 3);
    let binding = &snapshot.bindings[0];
    assert!(binding.http3().is_some());
    for (host, listener) in [
        ("WWW.example.com", Some("b")),
        ("api.example.com", Some("a")),
        ("x.deep.example.com", Some("c")),
        ("deep.example.com", Some("a")),
        ("example.com", None),
        ("", None),
    ] {
        let found = binding.listener_for(host).map(|listener| &*listener.id);
        assert_eq!(found, listener, "{host}");
    }
}

#[test]
fn certificates_and_protocol_have_to_agree() {
    let mut wire = snapshot();
    wire.listeners[0].certificate_ids = vec!["default/gone".into()];
    assert_refused(wire, HTTPS, "certificate_ids[0]", "`default/gone`");

    let mut wire = snapshot();
    wire.listeners[0].certificate_ids.clear();
    assert_refused(wire, HTTPS, "certificate_ids", "at least one");

    let mut wire = snapshot();
    wire.listeners[0].certificate_ids.push(SITE.into());
    assert_refused(wire, HTTPS, "certificate_ids[1]", "twice");

    let mut wire = snapshot();
    wire.listeners[1].certificate_ids.push(SITE.into());
    assert_refused(wire, HTTP, "certificate_ids", "with HTTP");

    let mut wire = snapshot();
    wire.listeners[1].http3 = Some(v1::Http3::default());
    assert_refused(wire, HTTP, "http3", "with HTTP");

    for protocol in [0, 9] {
        let mut wire = snapshot();
        wire.listeners[1].protocol = protocol;
        assert_refused(wire, HTTP, "protocol", "HTTP or HTTPS");
    }
}

#[test]
fn listeners_that_cannot_share_a_port_are_refused() {
    let mut wire = snapshot();
    wire.listeners[1].port = 8443;
    wire.listeners[1].hostname = "example.com".into();
    assert_refused(
        wire,
        HTTP,
        "protocol",
        "is http where listener default/edge/https has https",
    );

    let mut wire = snapshot();
    wire.listeners[0].hostname = "Example.com".into();
    wire.listeners
        .push(https("other", 8443, "example.com.", SITE));
    assert_refused(
        wire,
        "other",
        "hostname",
        "example.com is that of listener default/edge/https",
    );

    let mut wire = snapshot();
    wire.listeners.push(http("other", 8080, ""));
    assert_refused(
        wire,
        "other",
        "hostname",
        "is empty as that of listener default/edge/http",
    );

    // Also if something else is wrong with both.
    let mut wire = snapshot();
    let broken = Some(v1::Admission {
        deny: vec!["x".into()],
        ..Default::default()
    });
    wire.listeners.push(http("other", 8443, ""));
    wire.listeners[0].admission = broken.clone();
    wire.listeners[2].admission = broken;
    let fields = [
        (HTTPS, "admission.deny[0]"),
        ("other", "admission.deny[0]"),
        ("other", "protocol"),
        ("other", "hostname"),
    ];
    assert_eq!(
        refused(wire),
        fields.map(|(object, field)| (object.into(), field.into()))
    );
}

#[test]
fn addresses_that_overlap_are_refused_and_specific_ones_beside_all_are_not() {
    let with = |first: &[&str], second: &[&str], port| {
        let mut wire = snapshot();
        wire.routes.clear();
        let addresses = |some: &[&str]| some.iter().map(|one| (*one).to_owned()).collect();
        wire.listeners = vec![
            v1::Listener {
                addresses: addresses(first),
                ..http("a", 80, "")
            },
            v1::Listener {
                addresses: addresses(second),
                ..http("b", port, "")
            },
        ];
        wire
    };
    for (first, second) in [
        (&["127.0.0.1", "127.0.0.2"][..], &["127.0.0.2"][..]),
        (&["127.0.0.1"], &["::1", "::ffff:127.0.0.1"]),
        (&[], &["0.0.0.0"]),
        (&["::"], &[]),
    ] {
        assert_refused(with(first, second, 80), "b", "addresses", "overlaps");
        assert!(Snapshot::try_from(with(first, second, 81)).is_ok());
    }
    assert!(Snapshot::try_from(with(&[], &["127.0.0.1"], 80)).is_ok());
    assert!(Snapshot::try_from(with(&["127.0.0.1"], &["::1"], 80)).is_ok());
    assert_refused(
        with(&[], &["localhost"], 81),
        "b",
        "addresses[0]",
        "`localhost`",
    );
}

#[test]
fn numbers_out_of_range_are_refused() {
    type Change = fn(&mut v1::Listener);
    let changes: [(Change, &str); 19] = [
        (|it| it.port = 65_536, "port"),
        (
            |it| it.http3.as_mut().unwrap().advertised_port = 65_536,
            "http3.advertised_port",
        ),
        (
            |it| quic(it).max_idle_timeout_ms = u64::MAX,
            "quic.max_idle_timeout_ms",
        ),
        (
            |it| quic(it).handshake_timeout_ms = 1 << 43,
            "quic.handshake_timeout_ms",
        ),
        (
            |it| quic(it).initial_max_data = 1 << 62,
            "quic.initial_max_data",
        ),
        (
            |it| quic(it).initial_max_stream_data = 1 << 62,
            "quic.initial_max_stream_data",
        ),
        (
            |it| quic(it).initial_max_streams_bidi = 1 << 61,
            "quic.initial_max_streams_bidi",
        ),
        (
            |it| quic(it).max_send_udp_payload_size = 1199,
            "quic.max_send_udp_payload_size",
        ),
        (
            |it| {
                quic(it).initial_max_data = 2;
                quic(it).max_connection_window = 1;
            },
            "quic.max_connection_window",
        ),
        (
            |it| {
                quic(it).initial_max_stream_data = 2;
                quic(it).max_stream_window = 1;
            },
            "quic.max_stream_window",
        ),
        (
            |it| quic(it).max_pacing_rate = 124_999,
            "quic.max_pacing_rate",
        ),
        (
            |it| quic(it).initial_congestion_window = 1,
            "quic.initial_congestion_window",
        ),
        (
            |it| quic(it).congestion_control = "fast".into(),
            "quic.congestion_control",
        ),
        (|it| quic(it).retry = 9, "quic.retry"),
        (
            |it| limits(it).header_timeout_ms = u64::MAX,
            "limits.header_timeout_ms",
        ),
        (
            |it| limits(it).max_field_section_size = 1,
            "limits.max_field_section_size",
        ),
        (
            |it| limits(it).max_field_section_size = 96 * 1024 + 1,
            "limits.max_field_section_size",
        ),
        (|it| limits(it).max_fields = u32::MAX, "limits.max_fields"),
        (
            |it| {
                it.admission = Some(v1::Admission {
                    error_code: 1 << 62,
                    ..Default::default()
                })
            },
            "admission.error_code",
        ),
    ];
    fn quic(listener: &mut v1::Listener) -> &mut v1::QuicTransport {
        listener.quic.get_or_insert_default()
    }
    fn limits(listener: &mut v1::Listener) -> &mut v1::HttpLimits {
        listener.limits.get_or_insert_default()
    }
    for (change, field) in changes {
        let mut wire = snapshot();
        change(&mut wire.listeners[0]);
        assert_refused(wire, HTTPS, field, "use ");
    }
}

#[test]
fn settings_are_taken_over() {
    let mut wire = snapshot();
    wire.listeners[0].http3 = Some(v1::Http3 {
        advertised_port: 443,
        alt_svc_max_age_seconds: 60,
    });
    wire.listeners[0].quic = Some(v1::QuicTransport {
        max_idle_timeout_ms: 1,
        handshake_timeout_ms: 2,
        initial_max_data: 3,
        initial_max_stream_data: 4,
        initial_max_streams_bidi: 5,
        congestion_control: "bbr2".into(),
        disable_active_migration: true,
        retry: v1::RetryMode::Always.into(),
        max_send_udp_payload_size: 1200,
        datagrams: true,
        early_data: true,
        disable_pacing: true,
        max_pacing_rate: 125_000,
        initial_congestion_window: 32,
        max_connection_window: 6,
        max_stream_window: 7,
        path_mtu_discovery: true,
    });
    wire.listeners[0].admission = Some(v1::Admission {
        deny: vec!["10.0.0.0/8".into()],
        error_code: 7,
        ..Default::default()
    });
    wire.listeners[0].limits = Some(v1::HttpLimits {
        header_timeout_ms: 1,
        body_idle_timeout_ms: 2,
        max_field_section_size: 4096,
        max_fields: 16,
        connection_idle_timeout_ms: 3,
        tls_handshake_timeout_ms: 4,
    });
    wire.listeners[0].addresses = vec!["::1".into(), "127.0.0.1".into(), "::1".into()];
    let snapshot = Snapshot::try_from(wire).expect("a good snapshot");
    let addresses = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    let binding = snapshot
        .binding(&BindingKey {
            addresses,
            port: 8443,
        })
        .expect("a binding");
    assert_eq!(binding.key.to_string(), "127.0.0.1:8443,[::1]:8443");
    let listener = &binding.listeners[0];
    let milliseconds = Duration::from_millis;
    assert_eq!(listener.http3, Some(Http3::new(443, 60)));
    assert_eq!(
        *listener.quic,
        QuicTransport {
            max_idle_timeout: milliseconds(1),
            handshake_timeout: milliseconds(2),
            initial_max_data: 3,
            initial_max_stream_data: 4,
            initial_max_streams_bidi: 5,
            congestion_control: CongestionControl::Bbr2,
            active_migration: false,
            retry: RetryMode::Always,
            max_send_udp_payload_size: 1200,
            datagrams: true,
            early_data: true,
            pacing: false,
            max_pacing_rate: Some(125_000),
            initial_congestion_window: 32,
            max_connection_window: 6,
            max_stream_window: 7,
            path_mtu_discovery: true,
        }
    );
    assert_eq!(
        listener.limits,
        HttpLimits {
            header_timeout: milliseconds(1),
            body_idle_timeout: milliseconds(2),
            connection_idle_timeout: milliseconds(3),
            tls_handshake_timeout: milliseconds(4),
            max_field_section_size: 4096,
            max_fields: 16,
        }
    );
    assert_eq!(listener.admission.error_code, 7);
    assert!(!listener.admission.admits("10.1.1.1".parse().unwrap()));
}

#[test]
fn before_a_name_is_known_the_most_generous_limits_of_a_port_hold() {
    let mut wire = snapshot();
    let https = &mut wire.listeners[0];
    https.limits = Some(v1::HttpLimits {
        tls_handshake_timeout_ms: 60_000,
        max_fields: 16,
        ..Default::default()
    });
    let mut other = https.clone();
    other.id = "default/edge/other".into();
    other.hostname = "other.example".into();
    other.limits = Some(v1::HttpLimits {
        tls_handshake_timeout_ms: 1,
        max_fields: 1024,
        ..Default::default()
    });
    wire.listeners.push(other);
    let snapshot = Snapshot::try_from(wire).expect("a good snapshot");
    let shared = (snapshot.bindings.iter()).find(|it| it.listeners.len() == 2);
    let shared = shared.expect("both are on one port");
    let widest = HttpLimits {
        tls_handshake_timeout: Duration::from_secs(60),
        max_fields: 1024,
        ..HttpLimits::default()
    };
    assert_eq!(shared.limits, widest);
    assert_eq!(shared.limits_of_connection(None), &widest);
    let named = shared.limits_of_connection(Some("other.example"));
    assert_eq!(named, &shared.listeners[1].limits);
}
