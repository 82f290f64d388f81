use std::time::Duration;

use super::{
    pressure::{Pressure, RETRY_FROM, RETRY_UNTIL},
    *,
};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

/// An address of prefix `prefix`.
fn peer(prefix: u16, host: u8) -> IpAddr {
    let [high, low] = prefix.to_be_bytes();
    IpAddr::from([192, high, low, host])
}

const HANDLE: Handle = Handle {
    slot: 0,
    generation: 0,
};

struct World {
    table: HalfOpen,
    next: u32,
}

impl World {
    fn new() -> Self {
        Self {
            table: HalfOpen::default(),
            next: 0,
        }
    }

    /// Begins handshakes as long as that is admitted, `most` at the most, and says how many.
    fn flood(&mut self, most: usize, validated: bool, mode: RetryMode, prefixes: u16) -> usize {
        for begun in 0..most {
            let peer = peer(begun as u16 % prefixes, begun as u8);
            let token = validated.then_some(at(0));
            if self.table.admit(peer, token, mode, at(0)) != Entrance::Begin {
                return begun;
            }
            self.begin(peer, validated);
        }
        most
    }

    fn begin(&mut self, peer: IpAddr, validated: bool) {
        let initial = self.next.to_be_bytes();
        self.table.begin(&initial, HANDLE, peer, validated);
        self.next += 1;
    }

    fn entrance(&mut self, peer: IpAddr, validated: bool, mode: RetryMode) -> Entrance {
        let token = validated.then_some(at(0));
        self.table.admit(peer, token, mode, at(0))
    }
}

const ADAPTIVE: RetryMode = RetryMode::Adaptive;
const NEVER: RetryMode = RetryMode::Never;

#[test]
fn beyond_the_threshold_everybody_proves_the_address() {
    let mut world = World::new();
    assert_eq!(world.flood(10_000, false, ADAPTIVE, 1_000), RETRY_FROM);
    let other = peer(5_000, 1);
    assert_eq!(world.entrance(other, false, ADAPTIVE), Entrance::Validate);
    assert_eq!(world.entrance(other, true, ADAPTIVE), Entrance::Begin);
    assert_eq!(world.entrance(other, false, NEVER), Entrance::Begin);
}

#[test]
fn one_prefix_is_asked_before_all_are() {
    let mut world = World::new();
    let most = MOST_UNVALIDATED_OF_PREFIX;
    assert_eq!(world.flood(10_000, false, ADAPTIVE, 1), most);
    assert_eq!(
        world.entrance(peer(0, 9), false, ADAPTIVE),
        Entrance::Validate
    );
    assert_eq!(world.entrance(peer(1, 9), false, ADAPTIVE), Entrance::Begin);
    assert_eq!(
        world.entrance(peer(0, 9), false, NEVER),
        Entrance::Refuse(DatagramDrop::PrefixLimit)
    );
    let proven = world.flood(10_000, true, ADAPTIVE, 1);
    assert_eq!(proven, MOST_VALIDATED_OF_PREFIX, "they still come in");
    assert_eq!(
        world.entrance(peer(0, 9), true, ADAPTIVE),
        Entrance::Refuse(DatagramDrop::PrefixLimit)
    );
    assert_eq!(world.entrance(peer(1, 9), true, ADAPTIVE), Entrance::Begin);
}

#[test]
fn there_is_an_end_to_it_for_proven_addresses_too() {
    let mut world = World::new();
    assert_eq!(world.flood(10_000, true, ADAPTIVE, 1_000), MOST);
    for validated in [false, true] {
        let refused = Entrance::Refuse(DatagramDrop::HandshakeLimit);
        assert_eq!(world.entrance(peer(1, 1), validated, ADAPTIVE), refused);
    }
    let mut world = World::new();
    assert_eq!(world.flood(10_000, false, NEVER, 1_000), MOST);
}

#[test]
fn what_ends_gives_its_place_back_and_leaves_nothing_behind() {
    let mut world = World::new();
    world.flood(200, false, ADAPTIVE, 50);
    world.flood(200, true, ADAPTIVE, 50);
    for initial in 0..world.next {
        world.table.end(&initial.to_be_bytes());
        assert_eq!(world.table.of_initial(&initial.to_be_bytes()), None);
    }
    assert_eq!(world.table.all, Counts::default());
    assert!(world.table.prefixes.is_empty() && world.table.by_initial.is_empty());
    assert_eq!(world.table.end(b"never was"), Counts::default());
}

#[test]
fn the_same_id_is_counted_once() {
    let mut table = HalfOpen::default();
    table.begin(b"id", HANDLE, peer(0, 0), false);
    let counts = table.begin(b"id", HANDLE, peer(1, 0), true);
    let expected = Counts {
        unvalidated: 0,
        validated: 1,
    };
    assert_eq!((counts, table.prefixes.len()), (expected, 1));
}

#[test]
fn a_prefix_is_a_24th_of_ipv4_and_a_56th_of_ipv6() {
    let of = |text: &str| prefix(text.parse().expect("an address"));
    assert_eq!(of("192.0.2.7"), of("192.0.2.255"));
    assert_ne!(of("192.0.2.7"), of("192.0.3.7"));
    assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.1"));
    assert_eq!(of("2001:db8:0:11::1"), of("2001:db8:0:12:f::1"));
    assert_ne!(of("2001:db8:0:100::1"), of("2001:db8:0:200::1"));
}

#[test]
fn retry_goes_on_and_off_at_different_counts() {
    let mut pressure = Pressure::default();
    assert!(!pressure.wants_retry(RETRY_FROM - 1, at(0)));
    assert!(pressure.wants_retry(RETRY_FROM, at(0)));
    assert!(pressure.wants_retry(RETRY_UNTIL + 1, at(0)));
    assert!(!pressure.wants_retry(RETRY_UNTIL, at(0)));
    assert!(!pressure.wants_retry(RETRY_FROM - 1, at(0)));
}

#[test]
fn a_flood_that_retry_keeps_out_does_not_switch_it_off() {
    let mut pressure = Pressure::default();
    assert!(pressure.wants_retry(RETRY_FROM, at(0)));
    for second in 0..100 {
        // From the tenth second on the first handshakes have timed out.
        let half_open = if second < 10 { RETRY_FROM } else { 0 };
        for _ in 0..50 {
            assert!(pressure.wants_retry(half_open, at(second)), "{second}");
            pressure.asked(at(second));
        }
    }
    let off = (100..200).find(|second| !pressure.wants_retry(0, at(*second)));
    let off = off.expect("it ends");
    assert!((105..=111).contains(&off), "{off}");
}

#[test]
fn clients_that_answer_leave_nothing_to_wait_for() {
    let mut pressure = Pressure::default();
    assert!(pressure.wants_retry(RETRY_FROM, at(0)));
    for second in 0..20 {
        for _ in 0..200 {
            pressure.asked(at(second));
        }
        for _ in 0..200 {
            pressure.answered(at(second), at(second + 1));
        }
    }
    assert!(!pressure.wants_retry(RETRY_UNTIL, at(20)));
}

#[test]
fn a_clock_that_jumps_does_no_harm() {
    let mut pressure = Pressure::default();
    pressure.asked(at(100));
    pressure.asked(at(0));
    pressure.answered(at(1_000), at(50));
    pressure.answered(at(0), at(50));
    assert_eq!(pressure.unanswered(), 2);
    pressure.wants_retry(0, at(1_000_000));
    assert_eq!(pressure.unanswered(), 0);
}
