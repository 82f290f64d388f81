//! What is rendered, and what follows from it.

use std::collections::BTreeMap;

use super::{
    plan::{Id, Present, abandoned, orphans, work},
    *,
};
use crate::{
    policy::GatewayParametersSpec,
    resources::ObjectKey,
    translate::{Infrastructure, Port, Transport},
};

fn settings() -> Settings {
    Settings {
        controller_name: "tidegate.dev/gateway-controller".into(),
        image: "registry.example/tidegate:1".into(),
        image_pull_policy: "IfNotPresent".into(),
        image_pull_secrets: vec![],
        sessions: "https://tidegate-controlplane-sessions.tidegate-system.svc:9091".into(),
        ca_bundle: "PEM".into(),
        own: None,
    }
}

fn edge() -> Infrastructure {
    let port = |number, transport| Port { number, transport };
    Infrastructure {
        gateway: ObjectKey::new("shop", "edge"),
        uid: "0b5a".into(),
        class: "tidegate".into(),
        ports: [
            port(80, Transport::Tcp),
            port(443, Transport::Tcp),
            port(443, Transport::Udp),
        ]
        .into(),
        ..Infrastructure::default()
    }
}

fn with(parameters: &str) -> Infrastructure {
    let parameters: GatewayParametersSpec = serde_norway::from_str(parameters).unwrap();
    Infrastructure {
        parameters,
        ..edge()
    }
}

fn of(infrastructure: &Infrastructure, kind: Kind) -> serde_json::Value {
    let objects = objects(infrastructure, &settings());
    let found = objects.into_iter().find(|object| object.kind == kind);
    found.map(|object| object.body).unwrap_or_default()
}

#[test]
fn tcp_and_udp_share_a_port_of_the_service() {
    let service = of(&edge(), Kind::Service);
    assert_eq!(service["spec"]["type"], "LoadBalancer");
    let ports = service["spec"]["ports"].as_array().unwrap().iter();
    let ports: Vec<_> = ports
        .map(|port| {
            assert_eq!(port["port"], port["targetPort"]);
            format!("{} {} {}", port["name"], port["port"], port["protocol"])
        })
        .collect();
    assert_eq!(
        ports,
        [
            r#""tcp-80" 80 "TCP""#,
            r#""tcp-443" 443 "TCP""#,
            r#""udp-443" 443 "UDP""#
        ]
    );
}

#[test]
fn everything_is_the_gateways_and_says_so() {
    let objects = objects(&with("autoscaling: {maxReplicas: 3}"), &settings());
    assert_eq!(objects.len(), Kind::ALL.len());
    for object in objects {
        let metadata = &object.body["metadata"];
        assert_eq!(metadata["name"], "edge-tidegate");
        assert_eq!(metadata["namespace"], "shop");
        assert_eq!(metadata["labels"][GATEWAY_NAME], "edge");
        assert_eq!(metadata["labels"][GATEWAY_CLASS_NAME], "tidegate");
        assert_eq!(metadata["labels"][MANAGED_BY], MANAGER);
        let owner = &metadata["ownerReferences"][0];
        assert_eq!(owner["uid"], "0b5a");
        assert_eq!(owner["controller"], true);
        assert_eq!(owner["blockOwnerDeletion"], true);
        assert!(!object.body["apiVersion"].is_null(), "{:?}", object.kind);
    }
}

#[test]
fn what_the_gateway_asks_for_is_on_every_object_and_takes_no_label_of_ours() {
    let mut infrastructure = edge();
    infrastructure.labels = BTreeMap::from([
        ("team".to_owned(), "shop".to_owned()),
        (GATEWAY_NAME.to_owned(), "another".to_owned()),
        ("app.kubernetes.io/name".to_owned(), "another".to_owned()),
    ]);
    infrastructure.annotations = BTreeMap::from([("note".to_owned(), "yes".to_owned())]);
    for kind in [Kind::ServiceAccount, Kind::Service, Kind::Deployment] {
        let object = of(&infrastructure, kind);
        for metadata in [&object["metadata"], &object["spec"]["template"]["metadata"]] {
            if metadata.is_null() {
                continue;
            }
            assert_eq!(metadata["labels"]["team"], "shop");
            assert_eq!(metadata["labels"][GATEWAY_NAME], "edge");
            assert_eq!(metadata["annotations"]["note"], "yes");
        }
    }
    let deployment = of(&infrastructure, Kind::Deployment);
    let selector = &deployment["spec"]["selector"]["matchLabels"];
    assert_eq!(selector["app.kubernetes.io/name"], "tidegate-dataplane");
}

#[test]
fn a_change_of_listeners_restarts_no_pod() {
    let mut changed = edge();
    changed.ports = [Port {
        number: 8443,
        transport: Transport::Tcp,
    }]
    .into();
    assert_eq!(
        of(&edge(), Kind::Deployment),
        of(&changed, Kind::Deployment)
    );
    assert_ne!(of(&edge(), Kind::Service), of(&changed, Kind::Service));
}

#[test]
fn pods_have_no_privileges() {
    let deployment = of(&edge(), Kind::Deployment);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65532);
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["capabilities"]["drop"][0], "ALL");
    assert!(container["capabilities"]["add"].is_null());
}

#[test]
fn on_the_nodes_network_low_ports_need_one_capability_and_pods_take_turns() {
    let deployment = of(&with("hostNetwork: true"), Kind::Deployment);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["hostNetwork"], true);
    assert!(pod["securityContext"]["sysctls"].is_null());
    let capabilities = &pod["containers"][0]["securityContext"]["capabilities"];
    assert_eq!(capabilities["add"][0], "NET_BIND_SERVICE");
    assert_eq!(capabilities["drop"][0], "ALL");
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(
        (&rolling["maxSurge"], &rolling["maxUnavailable"]),
        (&0.into(), &1.into())
    );
}

#[test]
fn whoever_scales_is_left_alone() {
    let replicas = |parameters| of(&with(parameters), Kind::Deployment)["spec"]["replicas"].clone();
    assert_eq!(replicas("{}"), serde_json::Value::Null);
    assert_eq!(replicas("replicas: 3"), 3);
    assert_eq!(
        replicas("{replicas: 3, autoscaling: {maxReplicas: 5}}"),
        serde_json::Value::Null
    );
}

#[test]
fn one_static_address_is_asked_for_and_several_leave_the_service_alone() {
    let mut infrastructure = edge();
    infrastructure.addresses = vec!["192.0.2.1".into()];
    let service = of(&infrastructure, Kind::Service);
    assert_eq!(service["spec"]["loadBalancerIP"], "192.0.2.1");
    infrastructure.addresses.push("192.0.2.2".into());
    assert!(of(&infrastructure, Kind::Service).is_null());
}

fn wanted(all: &[&Infrastructure]) -> BTreeMap<ObjectKey, Vec<Rendered>> {
    all.iter()
        .map(|one| (one.gateway.clone(), objects(one, &settings())))
        .collect()
}

/// As if all that had been applied.
fn applied(wanted: &BTreeMap<ObjectKey, Vec<Rendered>>, class: &str) -> BTreeMap<Id, Present> {
    let present = |gateway: &ObjectKey, object: &Rendered| Present {
        uid: format!("uid of {}", object.name),
        gateway: gateway.name.clone(),
        class: class.to_owned(),
        hash: object.hash.clone(),
    };
    wanted
        .iter()
        .flat_map(|(gateway, objects)| {
            objects
                .iter()
                .map(move |object| (Id::of(object), present(gateway, object)))
        })
        .collect()
}

#[test]
fn only_what_has_changed_is_applied() {
    let before = wanted(&[&edge()]);
    let present = applied(&before, "tidegate");
    assert!(work(&before, &present, false).is_empty());
    assert_eq!(work(&before, &present, true).len(), 1);

    let mut changed = edge();
    changed.ports.pop_last();
    let after = wanted(&[&changed]);
    let work = work(&after, &present, false);
    let kinds: Vec<_> = work[&edge().gateway]
        .apply
        .iter()
        .map(|object| object.kind)
        .collect();
    assert_eq!(kinds, [Kind::Service]);
}

#[test]
fn what_is_switched_off_is_deleted_and_the_service_keeps_its_address_without_ports() {
    let before = wanted(&[&with("autoscaling: {maxReplicas: 3}")]);
    let present = applied(&before, "tidegate");
    let mut without = edge();
    without.ports.clear();
    let after = wanted(&[&without]);
    let work = work(&after, &present, false);
    let deleted: Vec<_> = work[&edge().gateway]
        .delete
        .iter()
        .map(|(id, _)| id.kind)
        .collect();
    assert_eq!(deleted, [Kind::HorizontalPodAutoscaler]);
}

#[test]
fn a_gateway_that_changes_to_another_class_of_ours_leaves_nothing_of_the_former() {
    let before = wanted(&[&edge()]);
    let present = applied(&before, "tidegate");
    let after = wanted(&[&Infrastructure {
        class: "other".into(),
        ..edge()
    }]);
    let work = work(&after, &present, false);
    let work = &work[&edge().gateway];
    assert_eq!((work.apply.len(), work.delete.len()), (5, 5));
}

#[test]
fn a_refused_gateway_keeps_its_data_planes_and_one_of_another_class_does_not() {
    let before = wanted(&[&edge()]);
    let present = applied(&before, "tidegate");
    let nothing = BTreeMap::new();
    assert!(work(&nothing, &present, true).is_empty());
    let orphans = orphans(&nothing, &present);
    assert_eq!(orphans.len(), 1);
    let gateway = orphans.first().unwrap();
    assert_eq!(abandoned(gateway, "tidegate", &present), []);
    assert_eq!(abandoned(gateway, "elsewhere", &present).len(), 5);
}

#[test]
fn one_gateways_change_is_no_others() {
    let other = Infrastructure {
        gateway: ObjectKey::new("shop", "other"),
        ..edge()
    };
    let all = wanted(&[&edge(), &other]);
    let mut present = applied(&all, "tidegate");
    present.retain(|id, _| id.key.name != "other-tidegate");
    let work = work(&all, &present, false);
    assert_eq!(work.len(), 1);
    assert_eq!(work[&other.gateway].apply.len(), 5);
}
