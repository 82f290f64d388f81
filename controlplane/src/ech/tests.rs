use base64::{Engine, prelude::BASE64_STANDARD};

use super::*;

fn keys() -> EchKeys {
    EchKeys::renewed("public.example", None).unwrap()
}

#[test]
fn what_is_made_can_be_served_and_reads_back() {
    let keys = keys();
    assert_eq!(keys.current().len(), 1);
    assert!(keys.current()[0].is_sound(), "BoringSSL takes it");
    assert_eq!(keys.current()[0].public_name(), "public.example");
    let text = pem::write(keys.current());
    assert!(
        text.starts_with("-----BEGIN PRIVATE KEY-----\n")
            && text.contains("\n-----BEGIN ECHCONFIG-----\n")
    );
    assert!(EchKeys::read(text.as_bytes(), b"").unwrap() == keys);
    let list = keys.config_list();
    let read = config::read_list(&list).unwrap();
    assert!(read.len() == 1 && read[0].bytes() == keys.current()[0].config());
}

#[test]
fn a_renewal_keeps_the_newest_of_those_before() {
    let first = keys();
    let second = EchKeys::renewed("public.example", Some(first.clone())).unwrap();
    assert!(second.previous() == first.current());
    assert!(second.current() != first.current());
    let read = EchKeys::from_manifest(&second.to_manifest("ech", "default")).unwrap();
    assert!(read == second);
    let mut keys = second;
    for _ in 0..5 {
        keys = EchKeys::renewed("public.example", Some(keys)).unwrap();
    }
    assert_eq!(keys.previous().len(), MOST_PREVIOUS);
    assert!(keys.previous().iter().all(EchPair::is_sound));
}

#[test]
fn a_secret_of_the_api_server_is_read_as_the_manifest_is() {
    let keys = keys();
    let data = BASE64_STANDARD.encode(pem::write(keys.current()));
    let yaml = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: ech}}\ndata: {{ech.pem: {data}}}\n"
    );
    assert!(EchKeys::from_manifest(&yaml).unwrap() == keys);
}

#[test]
fn a_config_of_another_version_is_left_out() {
    let mut list = keys().config_list();
    let other = [0xfe, 0x0c, 0, 3, 1, 2, 3];
    list.extend(other);
    let length = (list.len() - 2) as u16;
    list[..2].copy_from_slice(&length.to_be_bytes());
    assert_eq!(config::read_list(&list).unwrap().len(), 1);
}

#[test]
fn what_cannot_be_served_is_refused_without_being_quoted() {
    let (one, other) = (pem::write(keys().current()), pem::write(keys().current()));
    let block = |text: &str, label: &str| {
        let begin = text.find(&format!("-----BEGIN {label}")).unwrap();
        let end = format!("-----END {label}-----\n");
        let length = text[begin..].find(&end).unwrap() + end.len();
        text[begin..begin + length].to_owned()
    };
    let (key, config) = (block(&one, "PRIVATE KEY"), block(&one, "ECHCONFIG"));
    let list = keys().config_list();
    let short = format!(
        "-----BEGIN ECHCONFIG-----\n{}\n-----END ECHCONFIG-----\n",
        BASE64_STANDARD.encode(&list[..list.len() - 1])
    );
    let ec = PKey::from_ec_key(
        boring::ec::EcKey::generate(
            &boring::ec::EcGroup::from_curve_name(boring::nid::Nid::X9_62_PRIME256V1).unwrap(),
        )
        .unwrap(),
    )
    .unwrap();
    let ec = String::from_utf8(ec.private_key_to_pem_pkcs8().unwrap()).unwrap();
    for (text, expected) in [
        (String::new(), "there is no key under ech.pem"),
        (
            "nothing of the kind".to_owned(),
            "there is no key under ech.pem",
        ),
        (key.clone(), "PRIVATE KEY without an ECHCONFIG"),
        (config.clone(), "ECHCONFIG without a PRIVATE KEY"),
        (
            format!("{key}{key}{config}"),
            "PRIVATE KEY without an ECHCONFIG",
        ),
        (
            format!("{key}{}", block(&other, "ECHCONFIG")),
            "not of its private key",
        ),
        (format!("{key}{short}"), "no ECHConfigList"),
        (format!("{ec}{config}"), "none of X25519"),
        (one[..one.len() - 9].to_owned(), "breaks off"),
        (
            format!("{one}-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"),
            "something else",
        ),
        (
            format!("{key}-----BEGIN ECHCONFIG-----\n!\n-----END ECHCONFIG-----\n"),
            "no base64",
        ),
        (
            format!("{key}-----BEGIN ECHCONFIG-----\nAAA=\n-----END ECHCONFIG-----\n"),
            "version 0xfe0d",
        ),
    ] {
        let Err(error) = EchKeys::read(text.as_bytes(), b"") else {
            panic!("{text} was taken");
        };
        let error = error.to_string();
        assert!(error.contains(expected), "{error}");
        for line in key.lines().filter(|line| !line.starts_with('-')) {
            assert!(!error.contains(line), "{error}");
        }
    }
    assert!(
        EchKeys::read(one.as_bytes(), key.as_bytes())
            .is_err_and(|error| error.to_string().contains("previous.pem"))
    );
}

#[test]
fn a_public_name_is_a_host_name() {
    for name in ["", "*.example.com", "192.0.2.1", "A.example", "a b"] {
        assert!(EchKeys::renewed(name, None).is_err(), "{name}");
    }
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let list = keys().config_list();
    for length in 0..list.len() {
        assert!(config::read_list(&list[..length]).is_err(), "{length}");
    }
    for at in 0..list.len() {
        let mut changed = list.clone();
        changed[at] ^= 0xff;
        let _either_way = config::read_list(&changed);
    }
}
