use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tokio::time::timeout;

use super::*;
use crate::harness::{ApiServer, PATIENCE};

const LEASES: &str = "/apis/coordination.k8s.io/v1/leases";
const QUICK: Pace = Pace {
    duration: Duration::from_secs(1),
    deadline: Duration::from_millis(600),
    renewal: Duration::from_millis(100),
    look: Duration::from_millis(50),
};

struct Running {
    leads: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<anyhow::Error>,
}

fn candidate(server: &ApiServer, me: &str) -> Running {
    let gauge = SdkMeterProvider::default()
        .meter("test")
        .u64_gauge("leader")
        .build();
    let mut candidate = Candidate::new(server.client(), "tidegate", me.into(), gauge);
    candidate.pace = QUICK;
    let leads = candidate.leads();
    let stop = watch::Sender::new(false);
    let task = tokio::spawn(candidate.run(stop.subscribe()));
    Running { leads, stop, task }
}

impl Running {
    async fn is(&mut self, leading: bool) {
        let changed = self.leads.wait_for(|leads| *leads == leading);
        timeout(PATIENCE, changed).await.expect("in time").unwrap();
    }
}

#[tokio::test]
async fn one_leads_and_another_takes_over_when_it_is_gone_without_a_word() {
    let server = ApiServer::new(&[LEASES]);
    let mut first = candidate(&server, "first");
    first.is(true).await;
    let mut second = candidate(&server, "second");
    tokio::time::sleep(QUICK.duration * 2).await;
    assert!(!*second.leads.borrow(), "renewed, it stays the first one's");

    first.task.abort();
    let gone = Instant::now();
    second.is(true).await;
    assert!(gone.elapsed() + QUICK.renewal >= QUICK.duration - QUICK.deadline);
    let lease = server.get(LEASES, "tidegate", LEASE).unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "second");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
}

#[tokio::test]
async fn a_leader_that_stops_gives_the_lease_back() {
    let server = ApiServer::new(&[LEASES]);
    let mut first = candidate(&server, "first");
    first.is(true).await;
    first.stop.send_replace(true);
    timeout(PATIENCE, first.task)
        .await
        .expect("it ends")
        .unwrap();
    let lease = server.get(LEASES, "tidegate", LEASE).unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "");
    candidate(&server, "second").is(true).await;
}

#[tokio::test]
async fn a_leader_that_cannot_renew_stops_before_the_lease_is_over() {
    let server = ApiServer::new(&[LEASES]);
    let mut first = candidate(&server, "first");
    first.is(true).await;
    server.set_down(true);
    let down = Instant::now();
    first.is(false).await;
    assert!(down.elapsed() < QUICK.duration, "{:?}", down.elapsed());
    server.set_down(false);
    first.is(true).await;
}
