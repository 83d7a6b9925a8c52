//! Times as people type them: exact ones, and how long ago.

use jiff::civil::{Time, Weekday};
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};
use thiserror::Error;

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is no time")]
pub struct DateError(String);

/// A time and the offset of the clock that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
    /// Offset from UTC in minutes.
    pub offset_minutes: i16,
}

impl Date {
    fn of(time: &Zoned) -> Self {
        let offset_minutes = (time.offset().seconds() / 60) as i16;
        Self { seconds: time.timestamp().as_second(), offset_minutes }
    }
}

/// Reads a time: `@` and seconds since 1970, RFC 3339, RFC 2822, `2026-01-31` (midnight) and
/// `2026-01-31 10:00` (on the local clock), `now`, `today`, `yesterday`, `noon`, `friday`,
/// `last friday`, `2 weeks ago`, `2.weeks.ago`, `last month`.
pub fn parse_date(text: &str) -> Result<Date, DateError> {
    parse_at(text.trim(), &Zoned::now()).ok_or_else(|| DateError(text.to_owned()))
}

fn parse_at(text: &str, now: &Zoned) -> Option<Date> {
    if let Some(seconds) = text.strip_prefix('@') {
        return Some(Date { seconds: seconds.parse().ok()?, offset_minutes: 0 });
    }
    exact(text, now.time_zone()).or_else(|| relative(text, now))
}

fn exact(text: &str, zone: &TimeZone) -> Option<Date> {
    if let Ok(time) = text.parse::<Timestamp>() {
        let offset = Pieces::parse(text).ok().and_then(|pieces| pieces.to_numeric_offset());
        let offset_minutes = offset.map_or(0, |offset| (offset.seconds() / 60) as i16);
        return Some(Date { seconds: time.as_second(), offset_minutes });
    }
    if let Ok(time) = jiff::fmt::rfc2822::parse(text) {
        return Some(Date::of(&time));
    }
    // git's own form, with a space before the offset.
    if let Ok(time) = Zoned::strptime("%Y-%m-%d %H:%M:%S %z", text) {
        return Some(Date::of(&time));
    }
    let civil = text.parse::<jiff::civil::DateTime>().ok()?;
    Some(Date::of(&civil.to_zoned(zone.clone()).ok()?))
}

fn relative(text: &str, now: &Zoned) -> Option<Date> {
    let text = text.to_ascii_lowercase();
    let words: Vec<&str> = text
        .split(|ch: char| ch.is_whitespace() || ch == '.' || ch == '_')
        .filter(|word| !word.is_empty())
        .collect();
    let time = match words.as_slice() {
        ["now"] => now.clone(),
        ["today" | "midnight"] => now.start_of_day().ok()?,
        ["yesterday"] => now.checked_sub(Span::new().days(1)).ok()?,
        ["noon"] => last_at(now, Time::constant(12, 0, 0, 0))?,
        ["last", unit] if unit_span(1, unit).is_some() => {
            now.checked_sub(unit_span(1, unit)?).ok()?
        }
        [day] | ["last", day] => last_weekday(now, day)?,
        _ => ago(&words, now)?,
    };
    Some(Date::of(&time))
}

/// `2 weeks 3 days ago`.
fn ago(words: &[&str], now: &Zoned) -> Option<Zoned> {
    let (last, pairs) = words.split_last()?;
    if *last != "ago" || pairs.is_empty() || pairs.len() % 2 != 0 {
        return None;
    }
    let mut time = now.clone();
    for pair in pairs.chunks_exact(2) {
        let count = match pair[0] {
            "a" | "an" | "one" => 1,
            number => number.parse().ok()?,
        };
        time = time.checked_sub(unit_span(count, pair[1])?).ok()?;
    }
    Some(time)
}

fn unit_span(count: u32, unit: &str) -> Option<Span> {
    let (span, count) = (Span::new(), i64::from(count));
    match unit.strip_suffix('s').unwrap_or(unit) {
        "second" | "sec" => span.try_seconds(count),
        "minute" | "min" => span.try_minutes(count),
        "hour" => span.try_hours(count),
        "day" => span.try_days(count),
        "week" => span.try_weeks(count),
        "month" => span.try_months(count),
        "year" => span.try_years(count),
        _ => return None,
    }
    .ok()
}

/// The last time that the clock showed `time`.
fn last_at(now: &Zoned, time: Time) -> Option<Zoned> {
    let today = now.with().time(time).build().ok()?;
    if today <= *now { Some(today) } else { today.checked_sub(Span::new().days(1)).ok() }
}

/// The last such day before today, at this time.
fn last_weekday(now: &Zoned, name: &str) -> Option<Zoned> {
    let days = [
        ("monday", Weekday::Monday),
        ("tuesday", Weekday::Tuesday),
        ("wednesday", Weekday::Wednesday),
        ("thursday", Weekday::Thursday),
        ("friday", Weekday::Friday),
        ("saturday", Weekday::Saturday),
        ("sunday", Weekday::Sunday),
    ];
    let is_meant = |day: &&(&str, Weekday)| name.len() >= 3 && day.0.starts_with(name);
    let (_, day) = days.iter().find(is_meant)?;
    now.nth_weekday(-1, *day).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        // A Wednesday.
        let now: Zoned = "2026-03-11T15:30:00+02:00[+02:00]".parse().unwrap();
        let date = parse_at(text, &now)?;
        let offset = jiff::tz::Offset::from_seconds(i32::from(date.offset_minutes) * 60).unwrap();
        let time = Timestamp::from_second(date.seconds).unwrap().to_zoned(offset.to_time_zone());
        Some(time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
    }

    #[test]
    fn exact_times_keep_their_offset() {
        for (text, time) in [
            ("@-5", "1969-12-31T23:59:55+00:00"),
            ("1970-01-01T02:00:10+02:00", "1970-01-01T02:00:10+02:00"),
            ("1970-01-01T00:00:10Z", "1970-01-01T00:00:10+00:00"),
            ("2026-01-31", "2026-01-31T00:00:00+02:00"),
            ("2026-01-31 10:05", "2026-01-31T10:05:00+02:00"),
            ("2026-01-31 10:05:06 -0330", "2026-01-31T10:05:06-03:30"),
            ("Mon, 02 Jan 2006 15:04:05 -0700", "2006-01-02T15:04:05-07:00"),
        ] {
            assert_eq!(read(text).as_deref(), Some(time), "{text}");
        }
    }

    #[test]
    fn relative_times_count_from_now() {
        for (text, time) in [
            ("now", "2026-03-11T15:30:00+02:00"),
            ("today", "2026-03-11T00:00:00+02:00"),
            ("yesterday", "2026-03-10T15:30:00+02:00"),
            ("noon", "2026-03-11T12:00:00+02:00"),
            ("2 weeks ago", "2026-02-25T15:30:00+02:00"),
            ("2.weeks.ago", "2026-02-25T15:30:00+02:00"),
            ("1 month 1 day ago", "2026-02-10T15:30:00+02:00"),
            ("an hour ago", "2026-03-11T14:30:00+02:00"),
            ("last year", "2025-03-11T15:30:00+02:00"),
            ("last Friday", "2026-03-06T15:30:00+02:00"),
            ("wed", "2026-03-04T15:30:00+02:00"),
        ] {
            assert_eq!(read(text).as_deref(), Some(time), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday-ish", "2 ago", "2 fortnights ago", "ago", "@x", "x weeks ago"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read("99999999 years ago"), None);
    }
}
