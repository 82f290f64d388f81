//! Key pairs as the manifest of a Secret.

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::Secret;

use super::{CURRENT, EchError, EchKeys, PREVIOUS, pem};

impl EchKeys {
    /// A Secret for `kubectl apply` or a folder of resources, with what belongs into DNS
    /// above it.
    pub fn to_manifest(&self, name: &str, namespace: &str) -> String {
        let mut text = format!(
            "# Apply this first. When all data planes have it, publish this with the HTTPS record of each\n\
             # host name that is to be hidden (RFC 9848):\n\
             #   ech={}\n\
             apiVersion: v1\n\
             kind: Secret\n\
             metadata:\n  name: {name}\n  namespace: {namespace}\n\
             type: Opaque\n\
             stringData:\n",
            BASE64_STANDARD.encode(self.config_list()),
        );
        for (field, pairs) in [(CURRENT, &self.current), (PREVIOUS, &self.previous)] {
            if !pairs.is_empty() {
                text.push_str(&format!("  {field}: |\n"));
                for line in pem::write(pairs).lines() {
                    text.push_str(&format!("    {line}\n"));
                }
            }
        }
        text
    }

    /// Reads such a Secret, as it was printed or as `kubectl get -o yaml` shows it.
    ///
    /// # Errors
    /// Says what is wrong, and quotes nothing.
    pub fn from_manifest(text: &str) -> Result<Self, EchError> {
        let secret: Secret = serde_norway::from_str(text)
            .map_err(|_| EchError::Invalid("it is not the YAML of a Secret".to_owned()))?;
        let (data, texts) = (secret.data.as_ref(), secret.string_data.as_ref());
        let field = |name: &str| {
            let text = texts
                .and_then(|texts| texts.get(name))
                .map(String::as_bytes);
            let bytes = data.and_then(|data| data.get(name));
            text.or(bytes.map(|bytes| bytes.0.as_slice()))
                .unwrap_or_default()
        };
        Self::read(field(CURRENT), field(PREVIOUS))
    }
}
