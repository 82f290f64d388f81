//! What the planes say to each other, and what the admin API shows of it.

use prost::Message;
use tidegate_controlplane::{fuzzing, selector::Selector};
use tidegate_proto::v1::{self, record::Kind, session_down, session_up};

pub(super) fn run(data: &[u8]) {
    if let Some(message) = decoded::<v1::SessionUp>(data)
        && let Some(session_up::Message::Reply(reply)) = message.message
        && let Some(v1::command_reply::Kind::Connection(connection)) = reply.kind
    {
        shown(connection);
    }
    if let Some(message) = decoded::<v1::SessionDown>(data)
        && let Some(session_down::Message::Snapshot(mut snapshot)) = message.message
    {
        hide(&mut snapshot, SECRET);
        let shown = fuzzing::shown_snapshot(snapshot.clone());
        hide(&mut snapshot, "");
        let without = fuzzing::shown_snapshot(snapshot);
        assert_eq!(shown, without, "secrets are not shown");
    }
    if let Some(batch) = decoded::<v1::ReportBatch>(data) {
        for record in batch.records {
            if let Some(Kind::Established(connection) | Kind::Closed(connection)) = record.kind {
                shown(connection);
            }
        }
    }
}

/// A message that decodes is the same after it was sent on.
fn decoded<M: Message + Default>(data: &[u8]) -> Option<M> {
    let message = M::decode(data).ok()?;
    let encoded = message.encode_to_vec();
    let again = M::decode(&*encoded).expect("what is encoded decodes");
    assert_eq!(again.encode_to_vec(), encoded);
    Some(message)
}

/// Writes the same into every secret.
fn hide(snapshot: &mut v1::Snapshot, secret: &'static str) {
    let secret: bytes::Bytes = secret.into();
    for certificate in &mut snapshot.certificates {
        certificate.private_key_pem = secret.clone();
    }
    let listeners = snapshot.listeners.iter_mut();
    for key in listeners.flat_map(|listener| &mut listener.ech_keys) {
        key.private_key = secret.clone();
    }
    let keys = snapshot.keys.get_or_insert_default();
    let kinds = [
        &mut keys.ticket,
        &mut keys.retry,
        &mut keys.reset,
        &mut keys.cid,
        &mut keys.relay,
    ];
    for key in kinds.into_iter().flatten() {
        key.material = secret.clone();
    }
}

const SECRET: &str = "a secret of 20 bytes";

fn shown(connection: v1::Connection) {
    let everything = Selector::default();
    assert!(everything.matches(&connection));
    assert!(fuzzing::shown_connection(connection).is_object());
}
