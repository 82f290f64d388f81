use super::*;

const DATAGRAM: u64 = 1_350;
const LIMITS: Limits = Limits {
    max_rate: None,
    initial_window: 10,
};

fn window(bytes: u64, rtt: u64) -> Window {
    Window {
        bytes,
        datagram: DATAGRAM,
        rtt: Some(Duration::from_millis(rtt)),
        slow_start: false,
    }
}

/// Sends datagrams for as long as it may. Says how many they were, and when to go on.
fn send(
    bucket: &mut Bucket,
    window: &Window,
    now: Instant,
    most: usize,
) -> (usize, Option<Instant>) {
    for sent in 0..most {
        if bucket.is_empty()
            && let Some(until) = bucket.fill(window, now)
        {
            return (sent, Some(until));
        }
        bucket.take(DATAGRAM as usize);
    }
    (most, None)
}

/// Datagrams that leave in each turn of a round trip, with timers that are late by `late`.
fn round(limits: Limits, window: &Window, late: Duration) -> Vec<usize> {
    let start = Instant::now();
    let (mut now, mut bucket) = (start, Bucket::new(limits));
    let mut turns = Vec::new();
    let mut left = (window.bytes / DATAGRAM) as usize;
    while left > 0 {
        let (sent, until) = send(&mut bucket, window, now, left);
        turns.push(sent);
        left -= sent;
        let Some(until) = until else { break };
        assert!(until > now && until - now < Duration::from_millis(20));
        now = until + late;
    }
    assert!(
        now - start <= window.rtt.unwrap(),
        "a window takes no longer than a round trip"
    );
    turns
}

#[test]
fn a_window_is_spread_over_the_round_trip() {
    let turns = round(LIMITS, &window(200 * DATAGRAM, 100), Duration::ZERO);
    assert!(turns.len() >= 20, "{turns:?}");
    assert!(turns.iter().all(|sent| *sent <= 16), "{turns:?}");
}

#[test]
fn in_slow_start_it_takes_half_of_the_round_trip() {
    let slow_start = Window {
        slow_start: true,
        ..window(200 * DATAGRAM, 100)
    };
    let turns = round(LIMITS, &slow_start, Duration::ZERO);
    assert!((10..30).contains(&turns.len()), "{turns:?}");
}

#[test]
fn late_timers_cost_no_rate() {
    for (packets, rtt) in [(200, 100), (2_000, 20), (20_000, 50), (1_000, 4)] {
        round(
            LIMITS,
            &window(packets * DATAGRAM, rtt),
            Duration::from_millis(1),
        );
    }
}

#[test]
fn an_initial_window_leaves_at_once_after_a_pause_and_no_more() {
    let start = Instant::now();
    let (mut bucket, window) = (Bucket::new(LIMITS), window(50 * DATAGRAM, 100));
    for seconds in [0, 1, 1_000_000] {
        let now = start + Duration::from_secs(seconds);
        let (sent, until) = send(&mut bucket, &window, now, 100);
        assert_eq!(sent, 10);
        assert!(until.is_some());
    }
    let wide = Limits {
        initial_window: 32,
        ..LIMITS
    };
    let mut bucket = Bucket::new(wide);
    assert_eq!(send(&mut bucket, &window, start, 100).0, 32);
}

#[test]
fn where_timers_are_too_coarse_nothing_is_held() {
    let start = Instant::now();
    let mut bucket = Bucket::new(LIMITS);
    let near = Window {
        rtt: None,
        ..window(400 * DATAGRAM, 1)
    };
    assert_eq!(send(&mut bucket, &near, start, 1_000), (1_000, None));
}

#[test]
fn a_small_window_is_limit_enough() {
    let start = Instant::now();
    let limits = Limits {
        initial_window: 1,
        ..LIMITS
    };
    let (mut bucket, window) = (Bucket::new(limits), window(2 * DATAGRAM, 5_000));
    let (_, until) = send(&mut bucket, &window, start, 10);
    let wait = until.expect("it is held") - start;
    assert!(wait < Duration::from_millis(20), "{wait:?}");
}

#[test]
fn what_is_as_small_as_an_acknowledgment_is_free() {
    let start = Instant::now();
    let (mut bucket, window) = (Bucket::new(LIMITS), window(10 * DATAGRAM, 100));
    for _ in 0..100_000 {
        assert!(!bucket.is_empty() || bucket.fill(&window, start).is_none());
        bucket.take(60);
    }
}

#[test]
fn the_configured_rate_is_not_exceeded() {
    let max_rate = 1_000_000;
    let limits = Limits {
        max_rate: Some(max_rate),
        ..LIMITS
    };
    for rtt in [
        None,
        Some(Duration::from_micros(50)),
        Some(Duration::from_millis(30)),
    ] {
        let start = Instant::now();
        let (mut now, mut bucket) = (start, Bucket::new(limits));
        let window = Window {
            rtt,
            ..window(10_000 * DATAGRAM, 1)
        };
        let mut sent = 0;
        while now < start + Duration::from_secs(2) {
            let (datagrams, until) = send(&mut bucket, &window, now, 10_000);
            sent += datagrams as u64 * DATAGRAM;
            now = until.expect("it is held");
        }
        let expected = 2 * max_rate;
        assert!(
            (expected..expected + 20 * DATAGRAM).contains(&sent),
            "{sent}"
        );
    }
}

#[test]
fn absurd_windows_overflow_nothing() {
    let start = Instant::now();
    let mut bucket = Bucket::new(LIMITS);
    for (bytes, rtt) in [(u64::MAX / 8, 1), (0, 1), (0, u64::MAX / 2_000_000)] {
        for _ in 0..10 {
            bucket.fill(&window(bytes, rtt), start);
            bucket.take(usize::MAX >> 20);
        }
    }
}
