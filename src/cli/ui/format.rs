//! Numbers and texts as people read them.

use std::borrow::Cow;
use std::time::Duration;

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// `1.2 GiB`; below a KiB the exact number of bytes.
pub fn bytes(count: u64) -> String {
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = 0;
    // From 1023.95 on, one decimal would show 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `17,137`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at != 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1 file`, `17,137 files`; an irregular plural is the caller's own.
pub fn counted(number: u64, noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if number == 1 => format!("{} {noun}", count(number)),
        Some(stem) => format!("{} {stem}ies", count(number)),
        None => format!("{} {noun}s", count(number)),
    }
}

/// `3 ms`, `0.8 s`, `3 min 20 s`, `2 h 05 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match time.as_secs_f64() {
        short if short < 0.0995 => format!("{} ms", time.as_millis()),
        short if short < 59.95 => format!("{short:.1} s"),
        _ if seconds < 3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `523.4 MB/s`, in millions of bytes; nothing when no time has passed.
pub fn byte_rate(bytes: u64, time: Duration) -> Option<String> {
    per_second(bytes, time).map(|rate| format!("{:.1} MB/s", rate / 1e6))
}

/// `1,130 files/s`; nothing when no time has passed.
pub fn file_rate(files: u64, time: Duration) -> Option<String> {
    per_second(files, time).map(|rate| format!("{} files/s", count(rate.round() as u64)))
}

fn per_second(amount: u64, time: Duration) -> Option<f64> {
    (!time.is_zero()).then(|| amount as f64 / time.as_secs_f64())
}

/// A text that cannot drive the terminal: control and direction-changing characters escaped, but
/// for line ends and tabs. What [`crate::path::escape`] made passes unchanged.
pub fn printable(text: &str) -> Cow<'_, str> {
    let hidden = |ch: char| {
        (ch.is_control() && !matches!(ch, '\n' | '\t'))
            || matches!(ch, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for ch in text.chars() {
        if hidden(ch) {
            shown.extend(ch.escape_default());
        } else {
            shown.push(ch);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_one_decimal_and_never_reach_the_next_unit() {
        let shown = [0, 1023, 1024, 1536, 1_048_575, 1 << 20, 1_288_490_189].map(bytes);
        let expected = ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 MiB", "1.2 GiB"];
        assert_eq!(shown, expected);
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
    }

    #[test]
    fn counts_have_thousands() {
        assert_eq!(
            [0, 999, 1000, 17_137, 1_234_567].map(count),
            ["0", "999", "1,000", "17,137", "1,234,567"]
        );
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(0, "file"), "0 files");
        assert_eq!(counted(2, "empty directory"), "2 empty directories");
    }

    #[test]
    fn durations_get_coarser_as_they_get_longer() {
        let shown = |millis| duration(Duration::from_millis(millis));
        assert_eq!(shown(3), "3 ms");
        assert_eq!(shown(99), "99 ms");
        assert_eq!(shown(100), "0.1 s");
        assert_eq!(shown(800), "0.8 s");
        assert_eq!(shown(59_960), "1 min 00 s");
        assert_eq!(shown(200_000), "3 min 20 s");
        assert_eq!(shown(7_500_000), "2 h 05 min");
    }

    #[test]
    fn rates_need_time() {
        assert_eq!(byte_rate(1, Duration::ZERO), None);
        assert_eq!(byte_rate(5_000_000, Duration::from_secs(2)).unwrap(), "2.5 MB/s");
        assert_eq!(file_rate(17_137, Duration::from_secs(15)).unwrap(), "1,142 files/s");
    }

    #[test]
    fn nothing_printed_drives_the_terminal() {
        assert_eq!(printable("plain\tline\n"), "plain\tline\n");
        assert_eq!(printable("a\x1b[31mb\r\u{202e}"), "a\\u{1b}[31mb\\r\\u{202e}");
        let escaped = crate::path::escape(b"a\\b\x1b\xff\n");
        assert_eq!(printable(&escaped), escaped);
    }
}
