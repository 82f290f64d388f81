//! What the objects of a Gateway are called.

use sha2::{Digest, Sha256};

/// Longest name of a Service, and longest value of a label.
const LONGEST: usize = 63;
/// Hexadecimal digits that tell apart what was cut.
const HASH: usize = 8;

/// Name of everything that is provisioned for a Gateway: `<gateway>-<class>`.
///
/// It is a DNS label, as Services need. Where a name is too long for that, or has letters
/// that a label lacks, a hash takes the place of what was lost.
pub fn name(gateway: &str, class: &str) -> String {
    let whole = format!("{gateway}-{class}");
    let is_label = whole.len() <= LONGEST
        && whole.starts_with(|c: char| c.is_ascii_lowercase())
        && whole.bytes().all(allowed);
    if is_label {
        return whole;
    }
    // The slash is in neither name, so that no two pairs hash alike.
    let hash = hash(&format!("{gateway}/{class}"));
    let mut kept: String = whole
        .chars()
        .map(|c| {
            if c.is_ascii() && allowed(c as u8) {
                c
            } else {
                '-'
            }
        })
        .collect();
    if !kept.starts_with(|c: char| c.is_ascii_lowercase()) {
        kept.insert_str(0, "gw-");
    }
    kept.truncate(LONGEST - HASH - 1);
    format!("{}-{hash}", kept.trim_end_matches('-'))
}

/// Value of a label that carries the name of an object: the name, or, where that is too
/// long for a label, its beginning and a hash.
pub fn label(object: &str) -> String {
    if object.len() <= LONGEST {
        return object.to_owned();
    }
    let kept: String = object.chars().take(LONGEST - HASH - 1).collect();
    let kept = kept.trim_end_matches(['-', '.']);
    format!("{kept}-{}", hash(object))
}

fn allowed(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(HASH / 2)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_label(name: &str) -> bool {
        name.len() <= LONGEST
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.ends_with(|c: char| c.is_ascii_alphanumeric())
            && name.bytes().all(allowed)
    }

    #[test]
    fn a_short_name_is_kept_as_it_is() {
        assert_eq!(name("edge", "tidegate"), "edge-tidegate");
        assert_eq!(label("edge"), "edge");
    }

    #[test]
    fn whatever_a_gateway_is_called_a_service_can_be_called_so() {
        let long = "a".repeat(253);
        for gateway in ["edge.example", "0edge", long.as_str(), "a.-b", "x"] {
            for class in ["tidegate", "my.class", long.as_str()] {
                let name = name(gateway, class);
                assert!(is_label(&name), "{name}");
            }
        }
    }

    #[test]
    fn what_is_cut_or_replaced_is_still_told_apart() {
        let (one, other) = ("a".repeat(100), "a".repeat(101));
        assert_ne!(name(&one, "c"), name(&other, "c"));
        assert_ne!(name("a.b", "c"), name("a-b", "c"));
        assert_ne!(name(&one, "c"), name(&one, "d"));
        assert_ne!(label(&one), label(&other));
        assert!(label(&other).len() <= LONGEST);
    }
}
