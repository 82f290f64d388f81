//! What provisioning needs to know besides the Gateways.

use clap::Args;

use super::Own;

/// Port at which the control plane takes sessions, in the chart.
const SESSIONS_PORT: u16 = 9091;

/// How data planes are run where nobody says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The install that the objects belong to.
    pub controller_name: String,
    /// Image with the data plane's binary.
    pub image: String,
    /// When the node asks the registry.
    pub image_pull_policy: String,
    /// Names of Secrets for the registry, in the Gateway's namespace.
    pub image_pull_secrets: Vec<String>,
    /// Where data planes find the control plane's replicas.
    pub sessions: String,
    /// PEM of the authorities that may sign the control plane's certificate.
    pub ca_bundle: String,
    /// Where the control plane runs, as far as it is known.
    pub own: Option<Own>,
}

/// The part of them that the command line gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ProvisionArgs {
    /// Image of data planes; none: Gateways get no workloads
    #[arg(long, value_name = "IMAGE", env = "TIDEGATE_DATAPLANE_IMAGE")]
    pub dataplane_image: Option<String>,
    /// When nodes ask the registry for that image
    #[arg(long, value_name = "POLICY", default_value = "IfNotPresent",
        value_parser = ["Always", "IfNotPresent", "Never"])]
    pub dataplane_image_pull_policy: String,
    /// Secret for the registry, in the Gateways' namespaces; may be repeated
    #[arg(long, value_name = "NAME")]
    pub dataplane_image_pull_secret: Vec<String>,
    /// Headless Service of the control plane's replicas, in their namespace
    #[arg(
        long,
        value_name = "NAME",
        default_value = "tidegate-controlplane-sessions"
    )]
    pub sessions_service: String,
    /// This control plane's Deployment: what it makes for itself goes with it
    #[arg(long, value_name = "NAME")]
    pub deployment: Option<String>,
}

impl ProvisionArgs {
    /// The settings of a control plane in `namespace`, or nothing where no image is given.
    pub fn settings(
        &self,
        namespace: &str,
        controller_name: &str,
        ca_bundle: String,
    ) -> Option<Settings> {
        Some(Settings {
            controller_name: controller_name.to_owned(),
            image: self.dataplane_image.clone()?,
            image_pull_policy: self.dataplane_image_pull_policy.clone(),
            image_pull_secrets: self.dataplane_image_pull_secret.clone(),
            sessions: format!(
                "https://{}.{namespace}.svc:{SESSIONS_PORT}",
                self.sessions_service
            ),
            ca_bundle,
            own: self.deployment.clone().map(|deployment| Own {
                namespace: namespace.to_owned(),
                deployment,
            }),
        })
    }
}
