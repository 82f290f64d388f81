//! The course of a soak: the load is found, and then held until the end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_tests::Gateway;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    honest, liars,
    load::{Load, Meter, Shares},
    plan::Plan,
    watch::Watch,
    world::World,
};

/// The part of the wanted load that there is at least, on average, where others use the machine
/// too.
const LEAST_OF_LOAD: f64 = 0.35;
const TICK: Duration = Duration::from_millis(20);

/// How it went.
pub(crate) struct Course {
    watch: Watch,
    length: Duration,
    load: Load,
    /// Sessions that were not begun because too many were under way.
    held_back: u64,
    /// Parts of a core that the dataplane and this process had after the warm-up.
    shares: Shares,
}

/// Runs clients until the time is over and all of them have ended.
pub(crate) async fn run(plan: &Plan, world: &Arc<World>, gateway: &mut Gateway) -> Course {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let lying = tokio::spawn(liars::lie(world.clone(), stopped));
    let mut sessions = JoinSet::new();
    let mut watch = Watch::new(plan);
    let begin = Instant::now();
    let mut step = Meter::new(gateway);
    let mut steady = None;
    let (mut load, mut due, mut held_back) = (Load::new(plan.load), 0.0, 0);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = begin;
    while begin.elapsed() < plan.length {
        ticks.tick().await;
        due += load.rate() * last.elapsed().as_secs_f64();
        last = Instant::now();
        while due >= 1.0 {
            due -= 1.0;
            if load.bears(sessions.len()) {
                sessions.spawn(honest::session(world.clone()));
            } else {
                held_back += 1;
            }
        }
        while let Some(ended) = sessions.try_join_next() {
            note(world, ended);
        }
        let warming_up = begin.elapsed() < plan.warm_up();
        load.look(sessions.len(), warming_up);
        watch.look(begin.elapsed(), gateway);
        if step.elapsed() >= plan.step {
            let shares = step.read(gateway);
            println!(
                "at {:.0} s: {:.1} sessions a second, {} under way; {shares}; {}",
                begin.elapsed().as_secs_f64(),
                load.rate(),
                sessions.len(),
                watch.last()
            );
            load.adjust(shares, warming_up);
            step = Meter::new(gateway);
        }
        if !warming_up && steady.is_none() {
            steady = Some(Meter::new(gateway));
        }
    }
    let shares = steady.unwrap_or(step).read(gateway);
    let _all_stop = stop.send(true);
    while let Some(ended) = sessions.join_next().await {
        note(world, ended);
    }
    lying.await.expect("liars are waited for");
    Course {
        watch,
        length: begin.elapsed(),
        load,
        held_back,
        shares,
    }
}

fn note(world: &World, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        world
            .diary
            .failed(&format!("an honest client broke: {error}"));
    }
}

impl Course {
    /// Memory that grew, or too little load for that to say anything.
    pub(crate) fn problems(&self, plan: &Plan) -> Vec<String> {
        let mut problems = self.watch.problems(plan);
        let least = plan.load * LEAST_OF_LOAD;
        if self.shares.dataplane < least {
            problems.push(format!(
                "the dataplane had less than {:.0} % of a core to do: {}",
                least * 100.0,
                self.shares
            ));
        }
        problems
    }

    pub(crate) fn tell(&self) {
        println!(
            "soak: {:.1} minutes; {}, {} held back; after the warm-up, of a core: {}",
            self.length.as_secs_f64() / 60.0,
            self.load,
            self.held_back,
            self.shares
        );
        self.watch.tell();
    }
}
