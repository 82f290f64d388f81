//! What a dataplane's certificate says.

use tidegate_proto::v1;

/// Which dataplane, and of which Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `namespace/name`. Empty: all Gateways.
    pub(crate) gateway: String,
    /// As in Hello.
    pub(crate) dataplane: String,
}

const SCHEME: &str = "tidegate://dataplane/";
/// Stands for all Gateways. No name in Kubernetes begins with it.
const ALL: &str = "-/-";
/// Longest name of a dataplane.
const LONGEST: usize = 253;

impl Identity {
    /// What is asked for, if it can stand in a certificate.
    pub(crate) fn new(gateway: &str, dataplane: &str) -> Result<Self, String> {
        let plain = |text: &str| {
            !text.is_empty()
                && text.len() <= LONGEST
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        };
        if !plain(dataplane) {
            return Err(format!(
                "dataplane_id `{dataplane}`: a certificate needs 1 to {LONGEST} letters, digits, \
                 `-`, `.` and `_`"
            ));
        }
        let named = gateway
            .split_once('/')
            .is_some_and(|(namespace, name)| plain(namespace) && plain(name));
        if !gateway.is_empty() && (!named || gateway == ALL) {
            return Err(format!(
                "gateway `{gateway}`: give `namespace/name`, or nothing for all"
            ));
        }
        Ok(Self {
            gateway: gateway.to_owned(),
            dataplane: dataplane.to_owned(),
        })
    }

    /// As a subject alternative name.
    pub(crate) fn to_uri(&self) -> String {
        let gateway = match self.gateway.as_str() {
            "" => ALL,
            gateway => gateway,
        };
        format!("{SCHEME}{gateway}/{}", self.dataplane)
    }

    /// Reads [`to_uri`](Self::to_uri).
    pub(crate) fn from_uri(uri: &str) -> Option<Self> {
        let (gateway, dataplane) = uri.strip_prefix(SCHEME)?.rsplit_once('/')?;
        let gateway = if gateway == ALL { "" } else { gateway };
        Self::new(gateway, dataplane).ok()
    }

    /// Refuses a session under another name.
    pub(crate) fn check(&self, hello: &v1::Hello) -> Result<(), String> {
        if hello.dataplane_id != self.dataplane {
            return Err(format!(
                "Hello: dataplane_id is `{}`, but the certificate is that of `{}`",
                hello.dataplane_id, self.dataplane
            ));
        }
        if hello.gateway != self.gateway {
            return Err(format!(
                "Hello: gateway is `{}`, but the certificate is for `{}`",
                hello.gateway, self.gateway
            ));
        }
        Ok(())
    }

    /// Refuses a report with what another dataplane has to report.
    pub(crate) fn check_report(&self, batch: &v1::ReportBatch) -> Result<(), String> {
        use v1::record::Kind;
        if batch.dataplane_id != self.dataplane {
            return Err(format!(
                "a report of `{}` with the certificate of `{}`",
                batch.dataplane_id, self.dataplane
            ));
        }
        for record in &batch.records {
            if let Some(Kind::Established(connection) | Kind::Closed(connection)) = &record.kind {
                let id = connection.id.parse::<tidegate_proto::ConnectionId>();
                if !id.is_ok_and(|id| id.dataplane == self.dataplane) {
                    return Err(format!(
                        "connection `{}` is none of `{}`",
                        connection.id, self.dataplane
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_from_its_certificate() {
        for gateway in ["edge/public", ""] {
            let identity = Identity::new(gateway, "public-tidegate-7f9-x2").unwrap();
            assert_eq!(Identity::from_uri(&identity.to_uri()), Some(identity));
        }
        for uri in [
            "https://dataplane/a/b/c",
            "tidegate://dataplane/a/b",
            "tidegate://dataplane/a/b/c/d",
            "tidegate://dataplane/a//c",
            "tidegate://dataplane/a/b/",
        ] {
            assert_eq!(Identity::from_uri(uri), None, "{uri}");
        }
    }

    #[test]
    fn names_that_could_be_read_as_others_are_refused() {
        for (gateway, dataplane) in [
            ("a/b/c", "x"),
            ("a", "x"),
            ("-/-", "x"),
            ("a/b", "x/y"),
            ("a/b", ""),
            ("a/b", "x y"),
        ] {
            assert!(
                Identity::new(gateway, dataplane).is_err(),
                "{gateway} {dataplane}"
            );
        }
    }

    #[test]
    fn a_session_and_a_report_are_only_for_whom_the_certificate_names() {
        let identity = Identity::new("a/b", "x").unwrap();
        let hello = |gateway: &str, id: &str| v1::Hello {
            gateway: gateway.into(),
            dataplane_id: id.into(),
            ..Default::default()
        };
        assert!(identity.check(&hello("a/b", "x")).is_ok());
        assert!(identity.check(&hello("", "x")).is_err());
        assert!(identity.check(&hello("a/c", "x")).is_err());
        assert!(identity.check(&hello("a/b", "y")).is_err());

        let report = |dataplane: &str, id: &str| v1::ReportBatch {
            dataplane_id: dataplane.into(),
            records: vec![v1::Record {
                sequence: 1,
                kind: Some(v1::record::Kind::Closed(v1::Connection {
                    id: id.into(),
                    ..Default::default()
                })),
            }],
            ..Default::default()
        };
        assert!(identity.check_report(&report("x", "x.0.1.2")).is_ok());
        assert!(identity.check_report(&report("x", "y.0.1.2")).is_err());
        assert!(identity.check_report(&report("y", "y.0.1.2")).is_err());
    }
}
