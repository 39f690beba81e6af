//! Numbers, times and names, as people read them.

use jiff::Timestamp;

/// Between the thousands of a number: U+202F, a narrow space at which no line breaks.
const THIN: char = '\u{202f}';

/// Milliseconds.
pub fn dur(ms: u64) -> String {
    let seconds = ms / 1_000;
    match ms {
        0..1_000 => format!("{ms}{THIN}ms"),
        1_000..10_000 => format!("{}.{:02}{THIN}s", seconds, ms % 1_000 / 10),
        10_000..60_000 => format!("{}.{}{THIN}s", seconds, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{}{THIN}min {:02}{THIN}s", seconds / 60, seconds % 60),
        _ => format!("{}{THIN}h {:02}{THIN}min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Bytes, in powers of ten.
pub fn size(bytes: u64) -> String {
    let scaled = |unit: u64, name: &str| {
        let tenths = bytes.saturating_mul(10) / unit;
        format!("{}.{}{THIN}{name}", tenths / 10, tenths % 10)
    };
    match bytes {
        0..1_000 => format!("{bytes}{THIN}B"),
        1_000..1_000_000 => scaled(1_000, "kB"),
        1_000_000..1_000_000_000 => scaled(1_000_000, "MB"),
        _ => scaled(1_000_000_000, "GB"),
    }
}

/// A whole number with its thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(THIN);
        }
        out.push(digit);
    }
    out
}

/// A large whole number, short.
pub fn short(number: u64) -> String {
    let scaled = |unit: u64, name: &str| format!("{}.{}{THIN}{name}", number / unit, number % unit * 10 / unit);
    match number {
        0..10_000 => count(number),
        10_000..1_000_000 => scaled(1_000, "k"),
        1_000_000..1_000_000_000 => scaled(1_000_000, "M"),
        _ => scaled(1_000_000_000, "G"),
    }
}

/// A number of any kind, with at most four digits after the point.
pub fn number(value: f64) -> String {
    if value != 0.0 && (value.abs() < 0.000_1 || value.abs() >= 1e12) {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// An RFC 3339 moment, to the minute.
pub fn moment(text: &str) -> String {
    text.parse::<Timestamp>().map_or_else(
        |_| text.to_owned(),
        |moment| moment.strftime("%-d %B %Y, %H:%M UTC").to_string(),
    )
}

/// A kind of work.
pub fn work(kind: &str) -> &str {
    match kind {
        "prepare" => "Prepare",
        "snapshot" => "Snapshot",
        "plan" => "Plan",
        "step" => "Step",
        "fix" => "Fix",
        "verify" => "Verify",
        "decide" => "Decide",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_them() {
        let plain = |text: String| text.replace(THIN, " ");
        let durations = [0, 999, 1_234, 59_940, 61_000, 3_725_000].map(|ms| plain(dur(ms)));
        assert_eq!(
            durations,
            ["0 ms", "999 ms", "1.23 s", "59.9 s", "1 min 01 s", "1 h 02 min"]
        );
        assert_eq!(
            [999, 1_500, 10_000_000].map(|n| plain(size(n))),
            ["999 B", "1.5 kB", "10.0 MB"]
        );
        assert_eq!(
            [7, 1_234, 1_234_567].map(|n| plain(count(n))),
            ["7", "1 234", "1 234 567"]
        );
        assert_eq!(
            [9_999, 12_345, 3_210_000].map(|n| plain(short(n))),
            ["9 999", "12.3 k", "3.2 M"]
        );
        assert_eq!(
            [0.0, 0.8, 1.0, 12.3456789, 1e-7].map(number),
            ["0", "0.8", "1", "12.3457", "1.000e-7"]
        );
        assert_eq!(moment("2026-11-26T02:23:21.6Z"), "26 November 2026, 02:23 UTC");
        assert_eq!(moment("<never>"), "<never>");
    }
}
