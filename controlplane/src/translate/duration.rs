//! The Gateway API's durations (GEP-2257).

use std::ops::RangeInclusive;

/// Milliseconds of a duration like `1h30m`, `500ms` or `0s`.
///
/// What is longer than some 34 years is cut to that, the longest that a dataplane takes.
/// One to four parts of one to five digits and a unit of `h`, `m`, `s`, `ms`. Nothing
/// else is a duration: no sign, no fraction, no space.
pub(crate) fn milliseconds(text: &str) -> Result<u64, String> {
    let parse = || {
        let mut rest = text;
        let mut total = 0_u64;
        let mut parts = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            let unit_length = after.bytes().take_while(u8::is_ascii_lowercase).count();
            let (unit, after) = after.split_at(unit_length);
            let scale = match unit {
                "h" => HOUR,
                "m" => 60_000,
                "s" => SECOND,
                "ms" => 1,
                _ => return None,
            };
            parts += 1;
            if parts > 4 || !(1..=5).contains(&digits) {
                return None;
            }
            // Four parts of five digits cannot overflow.
            total += number.parse::<u64>().ok()? * scale;
            rest = after;
        }
        (parts > 0).then_some(total.min(LONGEST))
    };
    parse().ok_or_else(|| {
        format!("`{text}` is no duration; write whole numbers with units h, m, s, ms, like `1m30s`")
    })
}

/// The same of a duration that has to be in a range of milliseconds.
pub(crate) fn within(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let milliseconds = milliseconds(text)?;
    if range.contains(&milliseconds) {
        return Ok(milliseconds);
    }
    let (least, most) = (shown(*range.start()), shown(*range.end()));
    Err(format!(
        "{text} is out of range; write a time from {least} to {most}"
    ))
}

fn shown(milliseconds: u64) -> String {
    match milliseconds {
        whole if whole % HOUR == 0 => format!("{}h", whole / HOUR),
        whole if whole % SECOND == 0 => format!("{}s", whole / SECOND),
        rest => format!("{rest}ms"),
    }
}

const LONGEST: u64 = 1 << 40;
/// Milliseconds.
pub(crate) const HOUR: u64 = 3_600 * SECOND;
/// Milliseconds.
pub(crate) const SECOND: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        for (text, expected) in [
            ("0s", 0),
            ("0h", 0),
            ("500ms", 500),
            ("1s", 1_000),
            ("1h30m", 5_400_000),
            ("1h1m1s1ms", 3_661_001),
            ("30m1h", 5_400_000),
            ("99999h99999h99999h99999h", LONGEST),
        ] {
            assert_eq!(milliseconds(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_range_is_named_in_the_largest_units() {
        let range = 100..=2 * HOUR;
        assert_eq!(within("100ms", &range), Ok(100));
        assert_eq!(within("2h", &range), Ok(2 * HOUR));
        let refused = within("2h1ms", &range).unwrap_err();
        assert_eq!(
            refused,
            "2h1ms is out of range; write a time from 100ms to 2h"
        );
        assert!(within("99ms", &range).is_err());
        assert!(within("1", &range).unwrap_err().contains("no duration"));
    }

    #[test]
    fn what_gep_2257_excludes_is_refused() {
        for text in [
            "",
            "1",
            "s",
            "1.5s",
            "-1s",
            "+1s",
            "1 s",
            " 1s",
            "1S",
            "1d",
            "1us",
            "100000s",
            "1h1m1s1ms1s",
            "1s1",
            "١s",
        ] {
            assert!(milliseconds(text).is_err(), "{text:?}");
        }
    }
}
