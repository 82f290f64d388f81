//! Queries and bodies of the admin API.

use tidegate_controlplane::{fuzzing, selector::Selector};

pub(super) fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _understood = fuzzing::query(text);
    }
    let _understood = fuzzing::capture(data);
    if let Some(Ok(selector)) = fuzzing::selector_of_body(data) {
        let again = Selector::parse(selector.to_wire()).expect("it was one");
        assert_eq!(again, selector, "a dataplane is asked for the same");
    }
}
