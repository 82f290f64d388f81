//! What is configured, what became of each object, and the shared keys.

use bytes::Bytes;
use tidegate_proto::v1;

use super::Operations;
use crate::{
    api::{failure::Failure, types::KeysRotated},
    clock::unix_millis,
    status,
};

impl Operations {
    /// What a dataplane is to serve, without secrets.
    pub(crate) fn config(
        &self,
        request: &v1::GetConfigRequest,
    ) -> Result<v1::GetConfigResponse, Failure> {
        let gateway = self.gateway_of(&request.dataplane)?;
        let published = self.fleet.configuration();
        let snapshot = published
            .as_ref()
            .and_then(|published| published.snapshot(&gateway));
        let (Some(published), Some(snapshot)) = (&published, snapshot) else {
            let detail = match &gateway[..] {
                "" => "the configuration was not read yet".into(),
                gateway => format!("its Gateway `{gateway}` is not configured"),
            };
            return Err(Failure::NotFound(detail));
        };
        let endpoints = published.endpoints_of(snapshot).collect();
        Ok(v1::GetConfigResponse {
            snapshot: Some(without_secrets(snapshot)),
            endpoints,
        })
    }

    fn gateway_of(&self, dataplane: &str) -> Result<String, Failure> {
        if dataplane.is_empty() {
            return Ok(String::new());
        }
        let mut hellos = self
            .fleet
            .dataplanes()
            .into_iter()
            .filter_map(|found| found.hello);
        let found = hellos.find(|hello| hello.dataplane_id == dataplane);
        let unknown = || Failure::NotFound(format!("dataplane `{dataplane}` is not connected"));
        found.map(|hello| hello.gateway).ok_or_else(unknown)
    }

    /// The status of every object, with what dataplanes answered, and what is wrong with
    /// files.
    pub(crate) fn status(&self) -> v1::GetStatusResponse {
        let Some(published) = self.fleet.configuration() else {
            return v1::GetStatusResponse::default();
        };
        let mut objects: Vec<v1::ObjectStatus> = published
            .statuses(&self.fleet)
            .iter()
            .map(Into::into)
            .collect();
        objects.extend(published.problems.iter().map(status::of_problem));
        v1::GetStatusResponse { objects }
    }

    /// New keys of each kind, at once.
    pub(crate) async fn rotate_keys(&self) -> Result<KeysRotated, Failure> {
        let rotated_at_ms = unix_millis();
        let keys = self.keys.rotate(rotated_at_ms).await?;
        self.instruments.key_rotations.add(1, &[]);
        let newest = |keys: &[v1::Key]| keys.first().map_or(0, |key| key.id);
        Ok(KeysRotated {
            rotated_at_ms,
            ticket: newest(&keys.ticket),
            retry: newest(&keys.retry),
            reset: newest(&keys.reset),
            cid: newest(&keys.cid),
        })
    }
}

fn without_secrets(snapshot: &v1::Snapshot) -> v1::Snapshot {
    let mut shown = snapshot.clone();
    for certificate in &mut shown.certificates {
        certificate.private_key_pem = Bytes::new();
    }
    if let Some(v1::Keys {
        ticket,
        retry,
        reset,
        cid,
        relay,
    }) = &mut shown.keys
    {
        for key in [ticket, retry, reset, cid, relay].into_iter().flatten() {
            key.material = Bytes::new();
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn a_shown_snapshot_has_no_secret() {
        let key = |id| v1::Key {
            id,
            material: "SECRET".into(),
        };
        let snapshot = v1::Snapshot {
            certificates: vec![v1::Certificate {
                id: "default/site".into(),
                chain_pem: "CHAIN".into(),
                private_key_pem: "SECRET".into(),
            }],
            keys: Some(v1::Keys {
                ticket: vec![key(1)],
                retry: vec![key(2)],
                reset: vec![key(3)],
                cid: vec![key(4), key(5)],
                relay: vec![key(6)],
            }),
            ..Default::default()
        };
        let shown = without_secrets(&snapshot);
        let bytes = shown.encode_to_vec();
        assert!(!bytes.windows(6).any(|window| window == b"SECRET"));
        assert!(bytes.windows(5).any(|window| window == b"CHAIN"));
        assert_eq!(shown.keys.unwrap().cid[1].id, 5);
    }
}
