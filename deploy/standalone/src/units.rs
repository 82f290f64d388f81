//! Durations, sizes and rates as people write and read them.
//!
//! Pure. The command line parses with it, the tables print with it.

use std::time::Duration;

/// Reads `500ms`, `30s`, `2m`, `1h` or `1d`. A number without a unit is refused, because
/// nobody can tell whether seconds or milliseconds were meant.
///
/// # Errors
/// What is wrong with the text, for the command line to show.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let millis_per_unit: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("expected a number and a unit: 500ms, 30s, 2m, 1h or 1d".into()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a number in front of the unit, as in 30s".to_owned())?;
    number
        .checked_mul(millis_per_unit)
        .map(Duration::from_millis)
        .ok_or_else(|| "that is longer than a duration can be".into())
}

/// `850ms`, `12.3s`, `4m12s`, `3h05m`, `2d04h`.
#[must_use]
pub fn duration(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{}.{}s", seconds, millis % 1_000 / 100),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Microseconds as milliseconds with three significant digits: `0.31ms`, `12.4ms`, `250ms`.
#[must_use]
pub fn micros(us: u64) -> String {
    let ms = us as f64 / 1_000.0;
    match us {
        0..10_000 => format!("{ms:.2}ms"),
        10_000..100_000 => format!("{ms:.1}ms"),
        _ => format!("{ms:.0}ms"),
    }
}

/// `17 B`, `1.2 KiB`, `3.0 MiB`: powers of 1024.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1_024.0;
    let mut unit = 0;
    // 1023.95 would print as 1024.0.
    while value >= 1_023.95 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Bits per second in powers of 1000, as links are sold: `12.5 Mbit/s`.
#[must_use]
pub fn bit_rate(bits_per_second: u64) -> String {
    let value = bits_per_second as f64;
    match bits_per_second {
        0..1_000 => format!("{bits_per_second} bit/s"),
        1_000..1_000_000 => format!("{:.1} kbit/s", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} Mbit/s", value / 1e6),
        _ => format!("{:.1} Gbit/s", value / 1e9),
    }
}

/// A part of a whole in percent: `0%`, `0.02%`, `12%`; `-` of nothing.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    let value = part as f64 * 100.0 / whole as f64;
    if part == 0 {
        "0%".into()
    } else if value < 10.0 {
        format!("{value:.2}%")
    } else {
        format!("{value:.0}%")
    }
}

/// `1 request`, `2 requests`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// UNIX milliseconds as `2026-01-31 23:59:58Z`, or `-` of 0, which stands for "never".
#[must_use]
pub fn timestamp(unix_millis: i64) -> String {
    let Ok(at) = time::OffsetDateTime::from_unix_timestamp(unix_millis.div_euclid(1_000)) else {
        return "-".into();
    };
    if unix_millis == 0 {
        return "-".into();
    }
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "-3s",
            "1.5s",
            "3 s",
            "3w",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_written_with_two_parts_at_most() {
        let written = [0, 850, 12_345, 252_000, 11_100_000, 187_200_000].map(duration);
        assert_eq!(
            written,
            ["0ms", "850ms", "12.3s", "4m12s", "3h05m", "2d04h"]
        );
    }

    #[test]
    fn sizes_change_unit_where_people_expect_it() {
        let written = [0, 1_023, 1_024, 1_536, 1_048_575, 1_048_576, u64::MAX].map(bytes);
        let expected = [
            "0 B",
            "1023 B",
            "1.0 KiB",
            "1.5 KiB",
            "1.0 MiB",
            "1.0 MiB",
            "16384.0 PiB",
        ];
        assert_eq!(written, expected);
    }

    #[test]
    fn times_of_a_round_trip_keep_three_digits() {
        assert_eq!(
            [0, 312, 12_440, 250_700].map(micros),
            ["0.00ms", "0.31ms", "12.4ms", "251ms"]
        );
    }

    #[test]
    fn a_part_of_nothing_is_no_number() {
        assert_eq!(
            [
                percent(0, 0),
                percent(0, 9),
                percent(1, 3_000),
                percent(1, 2)
            ],
            ["-", "0%", "0.03%", "50%"]
        );
    }

    #[test]
    fn one_is_singular() {
        let written = [0, 1, 2].map(|number| count(number, "packet"));
        assert_eq!(written, ["0 packets", "1 packet", "2 packets"]);
    }

    #[test]
    fn rates_are_decimal() {
        assert_eq!(
            [999, 1_500, 12_500_000, 3_000_000_000].map(bit_rate),
            ["999 bit/s", "1.5 kbit/s", "12.5 Mbit/s", "3.0 Gbit/s"]
        );
    }

    #[test]
    fn timestamps_are_utc_and_never_is_a_dash() {
        assert_eq!(timestamp(1_769_903_998_123), "2026-01-31 23:59:58Z");
        assert_eq!(timestamp(0), "-");
        assert_eq!(timestamp(i64::MAX), "-");
    }
}
