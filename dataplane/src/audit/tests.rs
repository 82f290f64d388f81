mod replica;

use std::{thread, time::Duration};

use prost::Message as _;
use tidegate_proto::v1::{Connection, Record, record::Kind};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use self::replica::{Replica, Temper};
use super::{Reporter, Sink, Spool, channel, deliver};
use crate::control::{Dialer, Replica as Address};

const PATIENCE: Duration = Duration::from_secs(30);

fn closed(id: impl Into<String>) -> Kind {
    Kind::Closed(Connection {
        id: id.into(),
        ..Default::default()
    })
}

/// What comes after a number, as it is understood elsewhere.
fn after(spool: &Spool, sequence: u64, limit: usize) -> Vec<Record> {
    let Some((records, last)) = spool.after(sequence, limit) else {
        return Vec::new();
    };
    let decoded = records
        .into_iter()
        .map(|record| Record::decode(record).unwrap());
    let records: Vec<_> = decoded.collect();
    assert_eq!(records.last().map(|record| record.sequence), Some(last));
    records
}

fn reporter(replicas: &[&Replica]) -> Reporter {
    let known = replicas.iter().map(|replica| Address {
        address: replica.address(),
        name: None,
    });
    Reporter {
        dataplane: "edge".into(),
        instance: "first".into(),
        replicas: watch::channel(known.collect()).1,
        dialer: Dialer::default(),
    }
}

fn start(spool: Spool, reporter: Reporter) -> (watch::Sender<bool>, JoinHandle<()>) {
    let (finish, finished) = watch::channel(false);
    (finish, tokio::spawn(deliver(spool, reporter, finished)))
}

/// Ends the delivery as a shutdown does, which must not take long.
async fn finish(finish: watch::Sender<bool>, delivery: JoinHandle<()>) {
    finish.send_replace(true);
    timeout(PATIENCE, delivery)
        .await
        .expect("in time")
        .expect("no panic");
}

/// `threads` shards that offer `each` records at the same time.
fn offer_from_threads(sink: &Sink, threads: usize, each: usize) {
    thread::scope(|scope| {
        for shard in 0..threads {
            scope.spawn(move || {
                for number in 0..each {
                    sink.offer(closed(format!("{shard}.{number}")));
                }
            });
        }
    });
}

#[test]
fn a_full_spool_drops_and_counts_and_takes_again_once_records_are_stored() {
    let (sink, mut spool) = channel(4);
    for number in 0..6 {
        sink.offer(closed(number.to_string()));
    }
    let ledger = sink.ledger();
    assert_eq!(
        (ledger.waiting(), ledger.accepted(), ledger.dropped()),
        (4, 4, 2)
    );

    // Collecting is no way around the bound.
    spool.collect();
    sink.offer(closed("6"));
    assert_eq!((ledger.waiting(), ledger.dropped()), (4, 3));

    spool.acknowledge(3);
    assert_eq!((ledger.waiting(), ledger.acknowledged()), (1, 3));
    for number in 7..11 {
        sink.offer(closed(number.to_string()));
    }
    spool.collect();
    let waiting = after(&spool, 0, 100);
    let numbers: Vec<_> = waiting.iter().map(|record| record.sequence).collect();
    assert_eq!(
        numbers,
        [4, 5, 6, 7],
        "without a gap where records were dropped"
    );
    assert_eq!(waiting[1].kind, Some(closed("7")));
    assert_eq!((ledger.waiting(), ledger.dropped()), (4, 4));
}

#[test]
fn a_sink_without_a_spool_counts_what_it_loses() {
    let (sink, spool) = channel(4);
    drop(spool);
    sink.offer(closed("1"));
    let ledger = sink.ledger();
    assert_eq!(
        (ledger.waiting(), ledger.accepted(), ledger.dropped()),
        (0, 0, 1)
    );
}

#[test]
fn what_comes_after_a_number_is_found_whatever_was_acknowledged() {
    let (sink, mut spool) = channel(100);
    for number in 1..=10 {
        sink.offer(closed(number.to_string()));
    }
    spool.collect();
    let after = |spool: &Spool, sequence, limit| {
        let records = after(spool, sequence, limit);
        records
            .iter()
            .map(|record| record.sequence)
            .collect::<Vec<_>>()
    };
    assert_eq!(after(&spool, 0, 3), [1, 2, 3]);
    spool.acknowledge(4);
    assert_eq!(after(&spool, 0, 2), [5, 6]);
    assert_eq!(after(&spool, 8, 5), [9, 10]);
    assert_eq!(after(&spool, 10, 5), [0; 0]);
    // A number that was never given frees no more than there is.
    spool.acknowledge(u64::MAX);
    assert!(spool.is_empty());
    assert_eq!(sink.ledger().acknowledged(), 10);
}

#[tokio::test]
async fn records_of_several_threads_arrive_once_and_each_threads_in_order() {
    let replica = Replica::start(Temper::Good).await;
    let (sink, spool) = channel(10_000);
    let (finished, delivery) = start(spool, reporter(&[&replica]));
    let offering = sink.clone();
    tokio::task::spawn_blocking(move || offer_from_threads(&offering, 3, 700))
        .await
        .unwrap();
    finish(finished, delivery).await;

    let stored = replica.stored();
    assert_eq!(stored.len(), 2100);
    for shard in 0..3 {
        let prefix = format!("{shard}.");
        let of_shard: Vec<_> = stored
            .iter()
            .filter(|id| id.starts_with(&prefix))
            .cloned()
            .collect();
        let expected: Vec<_> = (0..700).map(|number| format!("{shard}.{number}")).collect();
        assert_eq!(of_shard, expected);
    }
    assert_eq!(sink.ledger().acknowledged(), 2100);
    assert_eq!(sink.ledger().waiting(), 0);
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_when_streams_break_before_the_acknowledgement() {
    let replica = Replica::start(Temper::BreaksBeforeAck { streams: 3 }).await;
    let (sink, spool) = channel(10_000);
    let (finished, delivery) = start(spool, reporter(&[&replica]));
    for number in 0..1500 {
        sink.offer(closed(number.to_string()));
        if number % 300 == 0 {
            sleep(Duration::from_millis(60)).await;
        }
    }
    finish(finished, delivery).await;

    let expected: Vec<_> = (0..1500).map(|number: i32| number.to_string()).collect();
    assert_eq!(replica.stored(), expected);
    assert!(
        replica.repeated() > 0,
        "the broken streams made no record come again"
    );
    assert_eq!(sink.ledger().dropped(), 0);
}

#[tokio::test]
async fn the_next_replica_takes_over_from_one_that_is_away() {
    let away = Replica::away().await;
    let replica = Replica::start(Temper::Good).await;
    let (sink, spool) = channel(100);
    let (finished, delivery) = start(spool, reporter(&[&away, &replica]));
    sink.offer(closed("1"));
    let deadline = Instant::now() + PATIENCE;
    while replica.stored().is_empty() {
        assert!(Instant::now() < deadline, "the record never arrived");
        sleep(Duration::from_millis(10)).await;
    }
    finish(finished, delivery).await;
    assert_eq!(replica.stored(), ["1"]);
}

#[tokio::test]
async fn a_delivery_without_replicas_ends_when_it_is_told_to() {
    let (sink, spool) = channel(2);
    let (finished, delivery) = start(spool, reporter(&[]));
    for _ in 0..3 {
        sink.offer(closed("1"));
    }
    assert_eq!(sink.ledger().dropped(), 1);
    finish(finished, delivery).await;
}
