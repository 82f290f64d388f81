//! Files of resources: what is read is translated, and what is translated is served.

use tidegate_controlplane::fuzzing;

use crate::planes;

pub(super) fn run(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    match fuzzing::file(text, how & 1 == 0) {
        Ok(resources) => planes::serve(&resources),
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(!problem.message.is_empty() && !problem.remedy.is_empty());
            }
        }
    }
}
