//! A session lasts no longer than what its client was let in by.
//!
//! Whoever resumes shows no certificate, so its dates are looked at once, when it is verified:
//! the session's time ends with the first certificate of the chain that expires. Afterwards
//! there is a full handshake, and the certificate is judged anew.

use boring::{
    asn1::{Asn1Time, Asn1TimeRef},
    ssl::SslRef,
    x509::{X509StoreContext, X509StoreContextRef},
};

use crate::sys;

/// Verifies a client's certificate as BoringSSL does by itself, and limits the session.
pub(super) fn verify(context: &mut X509StoreContextRef) -> bool {
    let verified = context.verify_cert().unwrap_or(false);
    // A session whose end is not known is not to be resumed at all.
    verified && limit(context).is_some()
}

fn limit(context: &X509StoreContextRef) -> Option<()> {
    let now = Asn1Time::days_from_now(0).ok()?;
    let chain = context.chain()?.iter();
    let left = chain
        .map(|certificate| seconds_between(&now, certificate.not_after()))
        .min()?;
    let ssl: &SslRef = context.ex_data(X509StoreContext::ssl_idx().ok()?)?;
    sys::limit_session(ssl, left);
    Some(())
}

/// 0, if `end` has passed or is beyond reckoning.
fn seconds_between(now: &Asn1TimeRef, end: &Asn1TimeRef) -> u64 {
    let Ok(left) = now.diff(end) else {
        return 0;
    };
    let seconds = i64::from(left.days) * 86_400 + i64::from(left.secs);
    u64::try_from(seconds).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_to_the_end_and_not_beyond() {
        let at = |seconds: i64| Asn1Time::from_unix(1_700_000_000 + seconds).unwrap();
        for (end, expected) in [
            (0, 0_u64),
            (1, 1),
            (86_399, 86_399),
            (90_061, 90_061),
            (-1, 0),
            (-90_061, 0),
            (3_000_000_000, 3_000_000_000),
        ] {
            assert_eq!(seconds_between(&at(0), &at(end)), expected, "{end}");
        }
    }
}
