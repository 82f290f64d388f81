//! What fits, what is built anew, and who is chosen.

mod names;
mod writes;

use std::sync::Arc;

use quiche::{ConnectionId, RetryConnectionIds};
use tidegate_proto::v1;

use super::{
    Contexts, EarlyData, TcpAcceptor, Terms, Tickets, host::takes_early_data, quic_config,
};
use crate::snapshot::{Binding, QuicTransport, Snapshot, fixture};

fn binding(change: impl FnOnce(&mut v1::Snapshot)) -> (Arc<Binding>, Tickets) {
    let mut wire = fixture::snapshot();
    change(&mut wire);
    let snapshot = Snapshot::try_from(wire).expect("a good snapshot");
    let secure = snapshot
        .bindings
        .iter()
        .find(|binding| binding.http3().is_some());
    (
        secure.expect("HTTPS").clone(),
        Tickets::new(&snapshot.keys.ticket),
    )
}

#[test]
fn the_largest_settings_fit_the_transport_parameters_after_a_retry() {
    let (binding, tickets) = binding(|_| {});
    let transport = QuicTransport {
        max_idle_timeout: std::time::Duration::from_millis(u64::MAX),
        initial_max_data: (1 << 62) - 1,
        initial_max_stream_data: (1 << 62) - 1,
        initial_max_streams_bidi: 1 << 60,
        active_migration: false,
        datagrams: true,
        ..QuicTransport::default()
    };
    let mut contexts = Contexts::default();
    let mut config = quic_config(
        &binding,
        &transport,
        &tickets,
        &mut contexts,
        &EarlyData::default(),
        &Arc::default(),
    )
    .unwrap();
    config.set_stateless_reset_token(Some(7));
    let address = "127.0.0.1:443".parse().unwrap();
    let (original, retry, scid) = ([1; quiche::MAX_CONN_ID_LEN], [2; 8], [3; 17]);
    let accepted = quiche::accept_with_retry::<crate::quic::BytesFactory>(
        &ConnectionId::from_ref(&scid),
        RetryConnectionIds {
            original_destination_cid: &ConnectionId::from_ref(&original),
            retry_source_cid: &ConnectionId::from_ref(&retry),
        },
        address,
        address,
        &mut config,
    );
    assert!(accepted.is_ok(), "{:?}", accepted.err());
}

#[test]
fn only_what_changed_is_built_anew() {
    let certificate = fixture::certificate("default/site", "example.com");
    let same = |wire: &mut v1::Snapshot| wire.certificates[0] = certificate.clone();
    let mut contexts = Contexts::default();
    let early_data = EarlyData::default();
    let mut apply = |(binding, tickets): (Arc<Binding>, Tickets)| {
        let mut next = contexts.successor();
        let counts = Arc::default();
        TcpAcceptor::new(&binding, &tickets, &mut next, &counts).unwrap();
        let transport = QuicTransport::default();
        quic_config(
            &binding,
            &transport,
            &tickets,
            &mut next,
            &early_data,
            &counts,
        )
        .unwrap();
        next.settle();
        let made = next.made();
        contexts = next;
        made
    };
    assert_eq!(apply(binding(same)), 2, "one for each door");
    assert_eq!(apply(binding(same)), 0);
    let routes = |wire: &mut v1::Snapshot| {
        same(wire);
        wire.routes.clear();
        wire.version = "2".into();
    };
    assert_eq!(apply(binding(routes)), 0);
    let validation = |wire: &mut v1::Snapshot| {
        same(wire);
        wire.listeners[0].client_validation = Some(v1::ClientValidation {
            ca_pem: certificate.chain_pem.clone(),
            ..Default::default()
        });
    };
    assert_eq!(apply(binding(validation)), 2);
    let keys = |wire: &mut v1::Snapshot| {
        validation(wire);
        let key = &mut wire.keys.as_mut().expect("keys").ticket[0];
        key.material = vec![9; 48].into();
    };
    assert_eq!(apply(binding(keys)), 2);
    assert_eq!(apply(binding(|_| {})), 2, "another certificate");
}

#[test]
fn a_connection_stays_good_while_all_who_may_have_vouched_are_trusted() {
    let pem = |name| fixture::certificate("default/ca", name).chain_pem.to_vec();
    let (one, other) = (pem("one"), pem("other"));
    let listener = |authorities: &[&[u8]], mode| {
        let validation = v1::ClientValidation {
            ca_pem: authorities.concat().into(),
            mode,
        };
        let (binding, _) = binding(|wire| {
            wire.listeners[0].client_validation =
                Some(validation).filter(|it| !it.ca_pem.is_empty());
        });
        binding.listeners[0].clone()
    };
    let fallback = v1::client_validation::Mode::AllowInsecureFallback.into();
    let (open, first) = (listener(&[], 0), listener(&[&one], 0));
    let both = listener(&[&other, &one], 0);
    for (had, wants, expected) in [
        (&open, &open, true),
        (&open, &first, false),
        (&first, &open, true),
        (&first, &first, true),
        (&first, &both, true),
        (&both, &first, false),
        (&first, &listener(&[&other], 0), false),
        (&first, &listener(&[&one], fallback), false),
        (&listener(&[&one], fallback), &first, false),
    ] {
        assert_eq!(
            Terms::on(None, had).suffice_for(wants),
            expected,
            "{:?} {:?}",
            had.client_validation,
            wants.client_validation
        );
    }
}

#[test]
fn early_data_is_for_listeners_that_ask_for_it_and_prove_nothing_by_it() {
    let takes = |change: fn(&mut v1::Listener)| {
        let (binding, _) = binding(|wire| {
            wire.listeners[0].quic.get_or_insert_default().early_data = true;
            change(&mut wire.listeners[0]);
        });
        takes_early_data(&binding.listeners[0])
    };
    assert!(takes(|_| {}));
    assert!(!takes(|listener| listener.quic = None), "off by default");
    assert!(!takes(|listener| {
        let certificate = fixture::certificate("default/ca", "example.com");
        listener.client_validation = Some(v1::ClientValidation {
            ca_pem: certificate.chain_pem,
            ..Default::default()
        });
    }));
    assert!(!takes(|listener| {
        listener.admission = Some(v1::Admission {
            allow: vec!["10.0.0.0/8".into()],
            ..Default::default()
        });
    }));
}
