//! `Debug` of the messages that hold secrets: they say that there is one, never which.

use std::fmt;

use crate::v1::{CapturePiece, CapturedRecords, Certificate, EchKey, EnrollRequest, Key};

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchKey")
            .field("config", &self.config)
            .field("offered", &self.offered)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EnrollRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrollRequest")
            .field("dataplane_id", &self.dataplane_id)
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CapturePiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapturePiece")
            .field("length", &self.data.len())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CapturedRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapturedRecords")
            .field("length", &self.data.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Keys, Listener, Snapshot};

    #[test]
    fn debug_output_never_shows_key_material() {
        let snapshot = Snapshot {
            certificates: vec![Certificate {
                id: "default/site".into(),
                private_key_pem: "PRIVATE".into(),
                ..Default::default()
            }],
            listeners: vec![Listener {
                ech_keys: vec![EchKey {
                    config: "PUBLIC".into(),
                    private_key: "HELLO".into(),
                    offered: true,
                }],
                ..Default::default()
            }],
            keys: Some(Keys {
                ticket: vec![Key {
                    id: 7,
                    material: "TICKET".into(),
                }],
                ..Default::default()
            }),
            ..Default::default()
        };
        let shown = format!("{snapshot:?}");
        assert!(
            ["default/site", "id: 7", "PUBLIC"]
                .iter()
                .all(|told| shown.contains(told)),
            "{shown}"
        );
        assert!(
            !["PRIVATE", "TICKET", "HELLO"]
                .iter()
                .any(|secret| shown.contains(secret)),
            "{shown}"
        );
    }
}
