//! Objects of an API server: one that does not decode is left out, the rest is served.

use serde_json::Value;
use tidegate_controlplane::{fuzzing, resources::Resources};

use crate::planes;

pub(super) fn run(data: &[u8]) {
    let Ok(objects) = serde_json::from_slice::<Vec<Value>>(data) else {
        return;
    };
    let mut resources = Resources::default();
    for object in objects {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        if let Some(Err(problem)) = fuzzing::object(&kind, object, &mut resources) {
            assert!(!problem.message.is_empty() && !problem.remedy.is_empty());
        }
    }
    planes::serve(&resources);
}
