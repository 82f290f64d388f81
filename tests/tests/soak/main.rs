//! The soak: clients that come, go, rebind, stall and lie, at half of what a shard can do. It
//! ends with flat memory, no failed request of an honest client, and an audit record for each
//! connection; and every lie was told, every habit had, and the shard had something to do.
//!
//! `make soak MINUTES=20` is the long version; without [`plan::MINUTES`] it takes half a
//! minute, so that it is known to work. Both planes are processes of their own; their upstream
//! and all clients are in this one.

#![forbid(unsafe_code)]

mod audit;
mod course;
mod diary;
mod honest;
mod liars;
mod load;
mod plan;
mod watch;
mod world;

use std::sync::Arc;

use tidegate_tests::{Process, Upstream};

use self::{plan::Plan, world::World};

/// That of the dataplane's own binary, whose memory is to be judged.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Not a test: a plane of the one below.
#[test]
#[ignore = "a process that the soak starts"]
fn plane() {
    Process::serve();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_clients_are_served_and_recorded_beside_liars_in_flat_memory() {
    let plan = Plan::of_environment();
    let upstream = Upstream::forgetful().await;
    let mut gateway = world::start(&plan, &upstream).await;
    let world = Arc::new(World::new(&plan, &gateway));
    let before = watch::Holdings::of(&mut gateway);

    let course = course::run(&plan, &world, &mut gateway).await;
    let records = audit::collect(&gateway).await;
    drop(upstream);
    let after = watch::given_back(&mut gateway, before).await;

    course.tell();
    world.diary.tell();
    records.tell();
    println!("held before: {before}; after: {after}");
    let mut problems = world.diary.failures();
    problems.extend(records.problems(&world.diary));
    problems.extend(records.unseen(&world.diary));
    problems.extend(liars::untold(&world.diary));
    problems.extend(course.problems(&plan));
    problems.extend(after.problems(before));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
