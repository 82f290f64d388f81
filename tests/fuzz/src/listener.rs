//! Datagrams from strangers, among those of genuine clients, into a listener: whatever comes,
//! it keeps to its bounds, and the next genuine handshake completes.
//!
//! Strangers see all that clients send, and send it again from where they are, changed, cut or
//! put together; and Initials of their own, with keys that open and frames that may be anything.

mod client;
mod echo;
mod gateway;
pub(super) mod ledger;
mod scene;
pub(super) mod seeds;
mod shard;

use arbitrary::Unstructured;
use tokio::{
    runtime::{Builder, Runtime},
    task::LocalSet,
};

use self::scene::Scene;

pub(super) fn run(data: &[u8]) {
    thread_local! {
        static RUNTIME: Runtime =
            Builder::new_current_thread().enable_all().build().expect("a runtime");
    }
    let data = &data[..data.len().min(LONGEST)];
    RUNTIME.with(|runtime| {
        LocalSet::new().block_on(runtime, async {
            let mut input = Unstructured::new(data);
            let mode = input.arbitrary::<u8>().unwrap_or_default();
            let mut scene = Scene::new(mode);
            let _at_the_end = scene.play(&mut input).await;
            scene.complete_a_handshake().await;
        });
    });
}

/// Of an input that counts.
const LONGEST: usize = 4096;
