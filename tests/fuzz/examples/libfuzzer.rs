//! libFuzzer on the target that `FUZZ_TARGET` names.

#![no_main]
#![cfg(debug_assertions)]

use std::{env, sync::OnceLock};

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::Target;

static TARGET: OnceLock<&Target> = OnceLock::new();

fn chosen() -> &'static Target {
    let name = env::var("FUZZ_TARGET").unwrap_or_default();
    tidegate_fuzz::target(&name).unwrap_or_else(|| panic!("FUZZ_TARGET: no target {name:?}"))
}

fuzz_target!(|data: &[u8]| (TARGET.get_or_init(chosen).run)(data));
