//! The corpus that is kept: each input goes through its target.

#![cfg(debug_assertions)]

use std::{fs, path::Path};

/// Files of a target, and one that is empty.
fn replay(name: &str) {
    let target = tidegate_fuzz::target(name).expect("the target of this name");
    (target.run)(&[]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("each target has a corpus") {
        let path = entry.expect("it can be listed").path();
        // Shown where the target panics.
        println!("{}", path.display());
        (target.run)(&fs::read(&path).expect("it can be read"));
        count += 1;
    }
    assert!(count >= 3, "only {count} inputs in {}", folder.display());
}

macro_rules! corpora {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_here() {
            let names: Vec<_> = tidegate_fuzz::TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

corpora! {
    admin demux documents ech enroll filters frames http3 listener messages objects parameters
    path pem relay request response routes selector snapshot token
}

#[test]
fn the_corpus_is_small() {
    let mut whole = 0;
    for target in tidegate_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target.name);
        for entry in fs::read_dir(folder).expect("each target has a corpus") {
            let size = entry
                .and_then(|entry| entry.metadata())
                .expect("it can be read")
                .len();
            assert!(size <= 16 * 1024, "{}: {size} bytes", target.name);
            whole += size;
        }
    }
    assert!(whole <= 1 << 20, "{whole} bytes in all");
}
