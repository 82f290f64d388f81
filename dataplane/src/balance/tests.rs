use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng};

use super::*;
use crate::snapshot::BackendProtocol;

fn weighted(weights: &[u32]) -> Vec<WeightedBackend> {
    let backend = |(index, weight): (usize, &u32)| WeightedBackend {
        backend: Some(Arc::new(Backend {
            id: index.to_string().into(),
            protocol: BackendProtocol::Auto,
            tls: None,
            connect_timeout: Duration::from_secs(1),
        })),
        weight: *weight,
        filters: Vec::new(),
    };
    weights.iter().enumerate().map(backend).collect()
}

fn endpoints(count: u16) -> Vec<SocketAddr> {
    (1..=count)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .collect()
}

/// How often each endpoint is chosen.
fn choices(
    balancer: &Balancer,
    endpoints: &[SocketAddr],
    tried: &[SocketAddr],
    now: Instant,
) -> HashMap<SocketAddr, u32> {
    let mut rng = StdRng::seed_from_u64(3);
    let mut count = HashMap::new();
    for _ in 0..2_000 {
        let chosen = balancer.choose(endpoints, tried, now, &mut rng);
        *count.entry(chosen.expect("an endpoint")).or_default() += 1;
    }
    count
}

#[test]
fn each_backend_has_the_share_of_its_weight() {
    let mut rng = StdRng::seed_from_u64(4);
    for weights in [
        &[70, 30, 0][..],
        &[1, 1, 1, 1],
        &[0, 1_000_000],
        &[1, 999_999],
        &[5],
    ] {
        let backends = weighted(weights);
        let total: u32 = weights.iter().sum();
        let mut count = vec![0_u32; weights.len()];
        const ROUNDS: u32 = 20_000;
        for _ in 0..ROUNDS {
            let picked = pick(&backends, &mut rng).expect("a backend");
            let id = &picked.backend.as_ref().expect("it resolves").id;
            count[id.parse::<usize>().expect("an index")] += 1;
        }
        for (weight, count) in weights.iter().zip(count) {
            let share = f64::from(*weight) / f64::from(total);
            let found = f64::from(count) / f64::from(ROUNDS);
            assert!(
                (share - found).abs() < 0.02,
                "{weights:?}: {found} for {share}"
            );
            assert!(
                *weight > 0 || count == 0,
                "{weights:?}: a weight of 0 has requests"
            );
        }
    }
}

#[test]
fn without_weight_nothing_is_picked() {
    let mut rng = StdRng::seed_from_u64(5);
    for weights in [&[][..], &[0], &[0, 0, 0]] {
        assert!(pick(&weighted(weights), &mut rng).is_none(), "{weights:?}");
    }
}

#[test]
fn the_largest_weights_do_not_overflow() {
    let mut rng = StdRng::seed_from_u64(6);
    assert!(pick(&weighted(&[u32::MAX, u32::MAX, u32::MAX]), &mut rng).is_some());
}

#[test]
fn idle_endpoints_are_chosen_equally() {
    let endpoints = endpoints(4);
    let count = choices(&Balancer::default(), &endpoints, &[], Instant::now());
    for endpoint in &endpoints {
        assert!((400..600).contains(&count[endpoint]), "{count:?}");
    }
}

#[test]
fn of_two_endpoints_the_less_loaded_is_chosen() {
    let (balancer, endpoints, now) = (Balancer::default(), endpoints(2), Instant::now());
    let mut rng = StdRng::seed_from_u64(7);
    let busy = balancer.begin(endpoints[0]);
    for _ in 0..100 {
        // The draws that do not find a second one leave the first.
        assert_eq!(
            balancer.choose(&endpoints, &[], now, &mut rng),
            Some(endpoints[1])
        );
    }
    drop(busy);
    assert_eq!(choices(&balancer, &endpoints, &[], now).len(), 2);
}

#[test]
fn load_spreads_over_many_endpoints() {
    let (balancer, endpoints, now) = (Balancer::default(), endpoints(10), Instant::now());
    let mut rng = StdRng::seed_from_u64(8);
    let mut count = HashMap::<_, u32>::new();
    let mut requests = Vec::new();
    for _ in 0..1_000 {
        let chosen = balancer
            .choose(&endpoints, &[], now, &mut rng)
            .expect("an endpoint");
        requests.push(balancer.begin(chosen));
        *count.entry(chosen).or_default() += 1;
    }
    assert!(
        count.len() == 10 && count.values().all(|count| (95..=105).contains(count)),
        "{count:?}"
    );
}

#[test]
fn an_endpoint_that_failed_is_left_out_for_a_while() {
    let (balancer, endpoints, now) = (Balancer::default(), endpoints(3), Instant::now());
    balancer.connect_failed(endpoints[0], now);
    let just = now + Duration::from_millis(999);
    assert!(!choices(&balancer, &endpoints, &[], just).contains_key(&endpoints[0]));
    let later = now + Duration::from_secs(1);
    assert!(choices(&balancer, &endpoints, &[], later).contains_key(&endpoints[0]));
}

#[test]
fn failures_in_a_row_leave_it_out_longer_up_to_a_bound() {
    let (balancer, endpoints) = (Balancer::default(), endpoints(2));
    let mut now = Instant::now();
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        balancer.connect_failed(endpoints[0], now);
        // The attempts that were under way at the same time do not add up.
        balancer.connect_failed(endpoints[0], now + Duration::from_millis(10));
        let just = now + Duration::from_secs(seconds) - Duration::from_millis(1);
        assert_eq!(
            choices(&balancer, &endpoints, &[], just).len(),
            1,
            "{seconds}"
        );
        now += Duration::from_secs(seconds);
        assert_eq!(
            choices(&balancer, &endpoints, &[], now).len(),
            2,
            "{seconds}"
        );
    }
}

#[test]
fn a_success_forgives_the_failures() {
    let (balancer, endpoints, now) = (Balancer::default(), endpoints(2), Instant::now());
    for _ in 0..5 {
        balancer.connect_failed(endpoints[0], now);
    }
    balancer.connected(endpoints[0]);
    assert_eq!(choices(&balancer, &endpoints, &[], now).len(), 2);
    balancer.connect_failed(endpoints[0], now);
    let later = now + Duration::from_secs(1);
    assert_eq!(choices(&balancer, &endpoints, &[], later).len(), 2);
}

#[test]
fn if_all_failed_any_will_do() {
    let (balancer, endpoints, now) = (Balancer::default(), endpoints(3), Instant::now());
    for endpoint in &endpoints {
        balancer.connect_failed(*endpoint, now);
    }
    assert_eq!(choices(&balancer, &endpoints, &[], now).len(), 3);
}

#[test]
fn what_was_tried_is_not_chosen_again() {
    let (balancer, endpoints, now) = (Balancer::default(), endpoints(3), Instant::now());
    let mut rng = StdRng::seed_from_u64(9);
    let count = choices(&balancer, &endpoints, &endpoints[..2], now);
    assert_eq!(count.keys().collect::<Vec<_>>(), [&endpoints[2]]);
    // One that failed is better than one that this request was refused by.
    balancer.connect_failed(endpoints[2], now);
    let count = choices(&balancer, &endpoints, &endpoints[..2], now);
    assert_eq!(count.keys().collect::<Vec<_>>(), [&endpoints[2]]);
    assert_eq!(balancer.choose(&endpoints, &endpoints, now, &mut rng), None);
    assert_eq!(balancer.choose(&[], &[], now, &mut rng), None);
}

#[test]
fn endpoints_that_are_gone_are_forgotten_and_requests_are_not() {
    let (balancer, now) = (Balancer::default(), Instant::now());
    let busy = SocketAddr::from(([127, 0, 0, 2], 1));
    let request = balancer.begin(busy);
    for endpoint in endpoints(5_000) {
        drop(balancer.begin(endpoint));
    }
    assert!(balancer.remembered() <= 1_024, "{}", balancer.remembered());
    let idle = SocketAddr::from(([127, 0, 0, 2], 2));
    let mut rng = StdRng::seed_from_u64(10);
    assert_eq!(
        balancer.choose(&[busy, idle], &[], now, &mut rng),
        Some(idle)
    );
    drop(request);
}
