//! The demo's files are what the control plane takes: read by its file source and
//! translated by its rules, without a complaint.

use tidegate::demo::{Demo, Ports};
use tidegate_controlplane::{
    source::files,
    status::ConditionStatus,
    translate::{Options, translate},
};
use tidegate_proto::v1::{self, filter::Kind};

#[tokio::test]
async fn the_control_plane_takes_every_file_of_the_demo() {
    let state = tempfile::tempdir().expect("temp dir");
    let ports = Ports {
        https: 8443,
        http: 8080,
    };
    let demo = Demo::start(state.path(), ports).await.expect("started");
    let sourced = files::watch(demo.folder.clone()).expect("read");
    let sourced = sourced.borrow().clone();
    assert_eq!(sourced.problems, []);

    let translation = translate(&sourced.resources, &Options::default());
    for status in &translation.statuses {
        for condition in &status.conditions {
            let bad_if_true = condition.type_ == "Conflicted";
            let expected = ConditionStatus::from(!bad_if_true);
            assert_eq!(condition.status, expected, "{status:?}");
        }
    }

    let snapshot = &translation.snapshots[""];
    let listeners: Vec<_> = snapshot
        .listeners
        .iter()
        .map(|listener| {
            (
                listener.id.as_str(),
                listener.port,
                listener.http3.is_some(),
            )
        })
        .collect();
    let expected = [
        ("default/demo/http", 8080, false),
        ("default/demo/https", 8443, true),
    ];
    assert_eq!(listeners, expected);
    assert_eq!(snapshot.certificates.len(), 1);
    assert_eq!(snapshot.routes[0].attachments.len(), 2);
    let endpoint = v1::Endpoint {
        address: demo.upstream().ip().to_string(),
        port: demo.upstream().port().into(),
    };
    assert_eq!(
        translation.endpoints["default/demo:80"].endpoints,
        [endpoint]
    );
    let filters: Vec<_> = snapshot.routes[0]
        .rules
        .iter()
        .flat_map(|rule| &rule.filters)
        .filter_map(|filter| filter.kind.as_ref())
        .collect();
    assert!(filters.iter().any(|kind| matches!(kind, Kind::Redirect(_))));
    assert!(
        filters
            .iter()
            .any(|kind| matches!(kind, Kind::RequestHeaders(_)))
    );
}
