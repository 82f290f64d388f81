//! The pod of a data plane.
//!
//! Nothing of its listeners is in here: they come in snapshots, and a change of them
//! restarts nobody.

use k8s_openapi::{
    api::core::v1::{
        Affinity, Capabilities, ConfigMapProjection, Container, ContainerPort,
        EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath, Lifecycle,
        LifecycleHandler, LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec,
        PodTemplateSpec, Probe, ProjectedVolumeSource, ResourceRequirements, SeccompProfile,
        SecurityContext, ServiceAccountTokenProjection, SleepAction, Sysctl,
        TopologySpreadConstraint, Volume, VolumeMount, VolumeProjection,
    },
    apimachinery::pkg::{
        api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString,
    },
};

use super::Context;
use crate::trust::AUDIENCE;

/// In the ConfigMap and in the pod.
pub(super) const CA_FILE: &str = "ca.crt";
const TOKEN_FILE: &str = "token";
/// Folder of both.
const TRUST: &str = "/var/run/tidegate";
/// Folder of the last good snapshot.
const STATE: &str = "/var/lib/tidegate";
const STATE_SIZE: &str = "64Mi";
const BINARY: &str = "/tidegate-dataplane";
const ADMIN_PORT: i32 = 9092;
/// Pods of a Gateway send each other packets of clients that moved.
const RELAY_PORT: i32 = 9094;
/// An identity without any rights.
const NONROOT: i64 = 65532;
/// A token lives so long; the kubelet puts a new one in its place before.
const TOKEN_SECONDS: i64 = 3600;

const DRAIN_SECONDS: i64 = 30;
/// Until everyone has heard that the pod ends, it takes connections as before.
const LEAVE_SECONDS: i64 = 5;
/// Besides leaving and the drain: closing, and delivering the last records and metrics.
const FAREWELL_SECONDS: i64 = 20;

/// How long a pod takes to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ending {
    leave: i64,
    drain: i64,
    grace: i64,
}

impl Ending {
    /// What is not given follows from what is.
    fn new(drain: Option<i64>, grace: Option<i64>) -> Self {
        match (drain, grace) {
            (drain, None) => {
                let drain = drain.unwrap_or(DRAIN_SECONDS);
                Self {
                    leave: LEAVE_SECONDS,
                    drain,
                    grace: drain + LEAVE_SECONDS + FAREWELL_SECONDS,
                }
            }
            (drain, Some(grace)) => {
                let leave = LEAVE_SECONDS.min(grace / 5);
                let farewell = FAREWELL_SECONDS.min(grace / 3);
                let left = grace - leave - farewell;
                Self {
                    leave,
                    drain: drain.unwrap_or(DRAIN_SECONDS.min(left)),
                    grace,
                }
            }
        }
    }
}

pub(super) fn template(context: &Context<'_>) -> PodTemplateSpec {
    let infrastructure = context.infrastructure;
    let parameters = &infrastructure.parameters;
    let mut labels = infrastructure.labels.clone();
    labels.extend(parameters.pod_labels.clone());
    labels.extend(context.labels());
    let mut annotations = infrastructure.annotations.clone();
    annotations.extend(parameters.pod_annotations.clone());
    let host_network = parameters.host_network == Some(true);
    let ending = Ending::new(
        parameters.drain_seconds,
        parameters.termination_grace_period_seconds,
    );
    let secrets = &context.settings.image_pull_secrets;
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: some(annotations, |them| !them.is_empty()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(context.name.clone()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(ending.grace),
            host_network: host_network.then_some(true),
            dns_policy: host_network.then(|| "ClusterFirstWithHostNet".to_owned()),
            security_context: Some(identity(host_network)),
            image_pull_secrets: some(
                secrets
                    .iter()
                    .map(|name| LocalObjectReference { name: name.clone() })
                    .collect(),
                |them: &Vec<_>| !them.is_empty(),
            ),
            node_selector: some(parameters.node_selector.clone(), |them| !them.is_empty()),
            tolerations: some(parameters.tolerations.clone(), |them| !them.is_empty()),
            affinity: parameters
                .affinity
                .clone()
                .filter(|affinity| *affinity != Affinity::default()),
            topology_spread_constraints: Some(spread(context)),
            containers: vec![container(context, ending)],
            volumes: Some(volumes(context)),
            ..PodSpec::default()
        }),
    }
}

fn some<T>(value: T, has: impl Fn(&T) -> bool) -> Option<T> {
    has(&value).then_some(value)
}

/// Low ports need no rights in a network of the pod's own. On the node's they need one,
/// which only root is given by a runtime.
fn identity(host_network: bool) -> PodSecurityContext {
    let user = if host_network { 0 } else { NONROOT };
    PodSecurityContext {
        run_as_non_root: Some(!host_network),
        run_as_user: Some(user),
        run_as_group: Some(user),
        fs_group: Some(user),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        sysctls: (!host_network).then(|| {
            vec![Sysctl {
                name: "net.ipv4.ip_unprivileged_port_start".to_owned(),
                value: "0".to_owned(),
            }]
        }),
        ..PodSecurityContext::default()
    }
}

fn container(context: &Context<'_>, ending: Ending) -> Container {
    let (parameters, settings) = (&context.infrastructure.parameters, context.settings);
    let image = parameters.image.clone();
    let policy = parameters.image_pull_policy.clone();
    let mut args = vec![
        format!("--control={}", settings.sessions),
        format!("--control-ca={TRUST}/{CA_FILE}"),
        format!("--token-file={TRUST}/{TOKEN_FILE}"),
        format!("--gateway={}", context.infrastructure.gateway),
        format!("--admin-listen=0.0.0.0:{ADMIN_PORT}"),
        format!("--state={STATE}"),
        format!("--drain-deadline={}", ending.drain),
        format!("--relay-listen=0.0.0.0:{RELAY_PORT}"),
        // In either family: the port is that of the one before.
        "--relay-address=$(POD_IP)".to_owned(),
        // A Service forgets the flows of pods that are not ready.
        "--stay-ready".to_owned(),
    ];
    args.extend(parameters.shards.map(|shards| format!("--shards={shards}")));
    let host_network = parameters.host_network == Some(true);
    Container {
        name: "dataplane".to_owned(),
        image: Some(image.unwrap_or_else(|| settings.image.clone())),
        image_pull_policy: Some(policy.unwrap_or_else(|| settings.image_pull_policy.clone())),
        command: Some(vec![BINARY.to_owned()]),
        args: Some(args),
        env: Some(environment(context)),
        ports: Some(vec![
            port("admin", ADMIN_PORT, "TCP"),
            port("relay", RELAY_PORT, "UDP"),
        ]),
        readiness_probe: Some(Probe {
            period_seconds: Some(2),
            timeout_seconds: Some(3),
            failure_threshold: Some(2),
            ..probe("/readyz")
        }),
        liveness_probe: Some(Probe {
            period_seconds: Some(10),
            timeout_seconds: Some(5),
            failure_threshold: Some(6),
            ..probe("/healthz")
        }),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction {
                    seconds: ending.leave,
                }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        resources: Some(resources(context)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: host_network.then(|| vec!["NET_BIND_SERVICE".to_owned()]),
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            VolumeMount {
                name: "trust".to_owned(),
                mount_path: TRUST.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
            VolumeMount {
                name: "state".to_owned(),
                mount_path: STATE.to_owned(),
                ..VolumeMount::default()
            },
        ]),
        ..Container::default()
    }
}

fn port(name: &str, number: i32, protocol: &str) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some(protocol.to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            ..HTTPGetAction::default()
        }),
        ..Probe::default()
    }
}

fn environment(context: &Context<'_>) -> Vec<EnvVar> {
    let parameters = &context.infrastructure.parameters;
    let of_pod = |name: &str, field: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: field.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let mut variables = vec![
        of_pod("TIDEGATE_ID", "metadata.name"),
        of_pod("POD_IP", "status.podIP"),
    ];
    for (name, value) in [
        ("RUST_LOG", &parameters.log_filter),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &parameters.otlp_endpoint),
    ] {
        variables.extend(value.clone().map(|value| EnvVar {
            name: name.to_owned(),
            value: Some(value),
            ..EnvVar::default()
        }));
    }
    variables
}

/// Little is asked for, so that many Gateways fit on a small node; nothing is forbidden.
fn resources(context: &Context<'_>) -> ResourceRequirements {
    let parameters = &context.infrastructure.parameters;
    parameters.resources.clone().unwrap_or_else(|| {
        // An autoscaler compares with the request.
        let cpu = match parameters.autoscaling {
            Some(_) => "250m",
            None => "10m",
        };
        let requests = [("cpu", cpu), ("memory", "32Mi")];
        ResourceRequirements {
            requests: Some(
                requests
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), Quantity(value.to_owned())))
                    .collect(),
            ),
            ..ResourceRequirements::default()
        }
    })
}

fn spread(context: &Context<'_>) -> Vec<TopologySpreadConstraint> {
    let asked = &context
        .infrastructure
        .parameters
        .topology_spread_constraints;
    if !asked.is_empty() {
        return asked
            .iter()
            .cloned()
            .map(|mut constraint| {
                constraint
                    .label_selector
                    .get_or_insert_with(|| context.label_selector());
                constraint
            })
            .collect();
    }
    ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        .into_iter()
        .map(|key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(context.label_selector()),
            match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
            ..TopologySpreadConstraint::default()
        })
        .collect()
}

fn volumes(context: &Context<'_>) -> Vec<Volume> {
    vec![
        Volume {
            name: "trust".to_owned(),
            projected: Some(ProjectedVolumeSource {
                sources: Some(vec![
                    VolumeProjection {
                        service_account_token: Some(ServiceAccountTokenProjection {
                            audience: Some(AUDIENCE.to_owned()),
                            expiration_seconds: Some(TOKEN_SECONDS),
                            path: TOKEN_FILE.to_owned(),
                        }),
                        ..VolumeProjection::default()
                    },
                    VolumeProjection {
                        config_map: Some(ConfigMapProjection {
                            name: context.name.clone(),
                            items: Some(vec![KeyToPath {
                                key: CA_FILE.to_owned(),
                                path: CA_FILE.to_owned(),
                                mode: None,
                            }]),
                            ..ConfigMapProjection::default()
                        }),
                        ..VolumeProjection::default()
                    },
                ]),
                ..ProjectedVolumeSource::default()
            }),
            ..Volume::default()
        },
        // It holds private keys: never on a disk.
        Volume {
            name: "state".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                medium: Some("Memory".to_owned()),
                size_limit: Some(Quantity(STATE_SIZE.to_owned())),
            }),
            ..Volume::default()
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_always_fits_into_the_grace_period() {
        let default = Ending::new(None, None);
        assert_eq!((default.leave, default.drain, default.grace), (5, 30, 55));
        assert_eq!(Ending::new(Some(300), None).grace, 325);
        for grace in 1..1000 {
            let Ending { leave, drain, .. } = Ending::new(None, Some(grace));
            assert!(
                leave >= 0 && drain >= 0 && leave + drain <= grace,
                "{grace}"
            );
        }
    }

    #[test]
    fn what_is_given_is_taken() {
        let given = Ending::new(Some(10), Some(20));
        assert_eq!((given.drain, given.grace), (10, 20));
    }
}
