//! How many pods there are at the least and at the most.

use k8s_openapi::{
    api::{
        autoscaling::v2::{
            CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec,
            MetricSpec, MetricTarget, ResourceMetricSource,
        },
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::Context;

const CPU_SHARE: i32 = 70;

/// One pod at a time may be taken away, unless the parameters say otherwise.
pub(super) fn disruption_budget(context: &Context<'_>) -> PodDisruptionBudget {
    let asked = context
        .infrastructure
        .parameters
        .pod_disruption_budget
        .clone();
    let asked = asked.unwrap_or_default();
    let default = asked.min_available.is_none() && asked.max_unavailable.is_none();
    PodDisruptionBudget {
        metadata: context.metadata(),
        spec: Some(PodDisruptionBudgetSpec {
            selector: Some(context.label_selector()),
            min_available: asked.min_available,
            max_unavailable: asked
                .max_unavailable
                .or_else(|| default.then_some(IntOrString::Int(1))),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        }),
        ..PodDisruptionBudget::default()
    }
}

pub(super) fn autoscaler(context: &Context<'_>) -> Option<HorizontalPodAutoscaler> {
    let asked = context.infrastructure.parameters.autoscaling.as_ref()?;
    let share = asked.target_cpu_utilization_percentage;
    Some(HorizontalPodAutoscaler {
        metadata: context.metadata(),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: context.name.clone(),
            },
            min_replicas: Some(asked.min_replicas.unwrap_or(1)),
            max_replicas: asked.max_replicas,
            metrics: Some(vec![MetricSpec {
                type_: "Resource".to_owned(),
                resource: Some(ResourceMetricSource {
                    name: "cpu".to_owned(),
                    target: MetricTarget {
                        type_: "Utilization".to_owned(),
                        average_utilization: Some(share.unwrap_or(CPU_SHARE)),
                        ..MetricTarget::default()
                    },
                }),
                ..MetricSpec::default()
            }]),
            ..HorizontalPodAutoscalerSpec::default()
        }),
        ..HorizontalPodAutoscaler::default()
    })
}
