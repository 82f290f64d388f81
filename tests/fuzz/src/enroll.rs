//! Requests for a certificate: one is signed only where its own signature holds, and what is
//! issued says what the enrolment proved, not what the request asks for.

use arbitrary::{Result, Unstructured};
use boring::x509::{X509, X509Req};
use tidegate_controlplane::fuzzing;

pub(super) fn run(data: &[u8]) {
    let _too_short = check(Unstructured::new(data));
}

fn check(mut input: Unstructured<'_>) -> Result<()> {
    let names = ["edge", "a.b_c-d", "", "a/b", "-/-", "team/public"];
    let (gateway, dataplane) = (*input.choose(&names)?, *input.choose(&names)?);
    let request = input.take_rest();
    let Some(issued) = fuzzing::enroll(request, gateway, dataplane) else {
        return Ok(());
    };
    assert!(issued.len() < 4096);
    let issued = X509::from_der(&issued).expect("a certificate");
    let uri = issued.subject_alt_names().and_then(|names| {
        assert_eq!(names.len(), 1);
        names.get(0)?.uri().map(str::to_owned)
    });
    let gateway = if gateway.is_empty() { "-/-" } else { gateway };
    assert_eq!(
        uri,
        Some(format!("tidegate://dataplane/{gateway}/{dataplane}"))
    );
    // BoringSSL reads fewer ways to write an algorithm's name.
    let Ok(asked) = X509Req::from_der(request) else {
        return Ok(());
    };
    let key = asked.public_key().expect("it has a key");
    assert!(issued.public_key().expect("it has a key").public_eq(&key));
    // BoringSSL also wants the signature in its one form. So by what another key makes of it:
    let mut forged = request.to_vec();
    let der = key.public_key_to_der().expect("it can be written");
    let end = &der[der.len() - 16..];
    let at = request.windows(16).position(|bytes| bytes == end);
    forged[at.expect("the key is in the request")] ^= 1;
    let issued = fuzzing::enroll(&forged, "edge", "edge");
    assert!(issued.is_none(), "whoever asked holds the key");
    Ok(())
}
