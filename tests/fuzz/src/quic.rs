//! What targets that speak QUIC need: both ends' TLS and transport.

use boring::{
    asn1::Asn1Time,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    ssl::{SslContextBuilder, SslMethod},
    x509::{X509, X509NameBuilder},
};

/// A certificate that signs itself, and its key.
pub(super) fn identity() -> (X509, PKey<Private>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("P-256");
    let key = EcKey::generate(&group)
        .and_then(PKey::from_ec_key)
        .expect("a key");
    let mut name = X509NameBuilder::new().expect("a name");
    name.append_entry_by_nid(Nid::COMMONNAME, "a.example")
        .expect("a name");
    let name = name.build();
    let mut leaf = X509::builder().expect("a certificate");
    leaf.set_version(2).expect("version 3");
    leaf.set_subject_name(&name).expect("a name");
    leaf.set_issuer_name(&name).expect("a name");
    leaf.set_not_before(&Asn1Time::days_from_now(0).expect("now"))
        .expect("a time");
    leaf.set_not_after(&Asn1Time::days_from_now(30).expect("later"))
        .expect("a time");
    leaf.set_pubkey(&key).expect("a key");
    leaf.sign(&key, MessageDigest::sha256())
        .expect("a signature");
    (leaf.build(), key)
}

/// TLS and transport of a server.
pub(super) fn server_config(alpn: &[u8]) -> quiche::Config {
    let (leaf, key) = identity();
    let mut tls = SslContextBuilder::new(SslMethod::tls()).expect("BoringSSL starts");
    tls.set_certificate(&leaf).expect("a certificate");
    tls.set_private_key(&key).expect("its key");
    let config = quiche::Config::with_boring_ssl_ctx_builder(quiche::PROTOCOL_VERSION, tls);
    limited(config.expect("the version is known"), alpn)
}

/// A client's that believes everything.
pub(super) fn client_config(alpn: &[u8]) -> quiche::Config {
    let config = quiche::Config::new(quiche::PROTOCOL_VERSION).expect("the version is known");
    let mut config = limited(config, alpn);
    config.verify_peer(false);
    config
}

fn limited(mut config: quiche::Config, alpn: &[u8]) -> quiche::Config {
    config.set_application_protos(&[alpn]).expect("one name");
    config.set_max_idle_timeout(10_000);
    config.set_max_recv_udp_payload_size(1500);
    config.set_initial_max_data(1 << 20);
    config.set_initial_max_stream_data_bidi_remote(1 << 18);
    config.set_initial_max_stream_data_bidi_local(1 << 18);
    config.set_initial_max_stream_data_uni(1 << 18);
    config.set_initial_max_streams_bidi(100);
    config.set_initial_max_streams_uni(8);
    config.enable_dgram(true, 64, 64);
    config
}
