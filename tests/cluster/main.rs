//! What only a Kubernetes can show: from `helm install` to `helm uninstall`, told in one
//! story whose chapters build on each other. `make test-cluster` runs it; it needs a
//! KUBECONFIG, `kubectl`, `helm`, and the image that `TIDEGATE_IMAGE` names.

#![forbid(unsafe_code)]

mod bad_input;
mod bench;
mod client;
mod install;
mod leader;
mod load;
mod operate;
mod policy;
mod routes;
mod scale;
mod secrets;
mod tools;
mod uninstall;
mod upgrade;
mod world;

use std::{process::ExitCode, time::Instant};

use futures_util::FutureExt;
use world::World;

macro_rules! story {
    ($($chapter:path),* $(,)?) => {
        /// Runs the chapters in order. The others need the first two.
        async fn tell(world: &mut World, filter: &[String]) -> (usize, usize) {
            let (mut passed, mut failed) = (0, 0);
            $({
                let name = stringify!($chapter).replace(' ', "");
                let wanted = passed + failed < 2
                    || filter.is_empty()
                    || filter.iter().any(|part| name.contains(part));
                if wanted {
                    let began = Instant::now();
                    let outcome = std::panic::AssertUnwindSafe($chapter(world)).catch_unwind().await;
                    let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
                    println!("test {name} ... {verdict} ({:.1} s)", began.elapsed().as_secs_f32());
                    if outcome.is_ok() { passed += 1 } else {
                        failed += 1;
                        world.show_what_is_there();
                    }
                }
            })*
            (passed, failed)
        }
    };
}

story! {
    install::one_helm_install_ends_with_a_response_over_http3,
    install::a_gateway_gets_its_own_data_plane_and_address,
    install::pods_have_no_privileges,
    routes::an_edited_route_is_served_on_the_same_connection,
    routes::a_route_that_leads_nowhere_answers_500_and_the_others_serve_on,
    routes::five_hundred_routes_are_served_by_all_pods,
    bad_input::each_mistake_gets_its_condition_and_everything_else_serves_on,
    bad_input::nonsense_in_a_policy_is_refused_at_apply,
    policy::a_policy_turns_http3_off_and_on_again,
    secrets::a_rotated_certificate_is_served_and_no_connection_is_lost,
    secrets::names_are_hidden_by_keys_from_a_secret,
    operate::a_viewer_may_look_and_not_close,
    operate::an_operator_closes_a_connection,
    scale::scaling_the_data_plane_fails_no_request,
    scale::a_client_that_changes_its_address_keeps_its_connection,
    leader::another_replica_takes_over_from_a_dead_leader_and_no_connection_notices,
    upgrade::an_upgrade_fails_no_request,
    uninstall::uninstalling_leaves_nothing,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let listing = arguments.iter().any(|argument| argument == "--list");
    if listing || std::env::var_os("TIDEGATE_IMAGE").is_none() {
        // Part of `cargo test --workspace`, where there is no cluster.
        println!("test result: ok. 0 passed; 0 failed; 0 ignored (`make test-cluster` runs these)");
        return ExitCode::SUCCESS;
    }
    let filter: Vec<_> = arguments
        .into_iter()
        .filter(|one| !one.starts_with('-'))
        .collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let [bench, counts @ ..] = filter.as_slice()
        && ["push-latency", "controlplane-cost"].contains(&bench.as_str())
    {
        runtime.block_on(measure(bench, counts));
        return ExitCode::SUCCESS;
    }
    let (passed, failed) = runtime.block_on(async {
        let mut world = World::new();
        tell(&mut world, &filter).await
    });
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {passed} passed; {failed} failed; 0 ignored");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// `push-latency 100 1000`: installs, and measures with so many routes.
/// `controlplane-cost 100 1000`: the same, and 10,000 Services after them.
async fn measure(bench: &str, counts: &[String]) {
    let mut world = World::new();
    install::one_helm_install_ends_with_a_response_over_http3(&mut world).await;
    install::a_gateway_gets_its_own_data_plane_and_address(&mut world).await;
    for count in counts {
        let count = count.parse().expect("a number of routes");
        match bench {
            "push-latency" => bench::push_latency(&mut world, count).await,
            _ => bench::cost_of_routes(&mut world, count).await,
        }
    }
    if bench == "controlplane-cost" {
        bench::cost_of_services(10_000).await;
    }
}
