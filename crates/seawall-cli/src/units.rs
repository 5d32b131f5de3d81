//! Durations, times and sizes: as people write them, and as they are shown.

use bytesize::ByteSize;
use seawall::{At, Version};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A duration, as in `15min`, `24h` or `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim()).map_err(|_| {
        "it is no duration: write a number and a unit (s, min, h, d, w), as in 15min, 24h or 7d".to_owned()
    })
}

/// How long from now on: a duration, or the time when it ends, as in `2026-12-24` or `2026-12-24 18:00:00` (UTC).
pub(crate) fn from_now_on(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let is_time = text.len() >= 10 && text.as_bytes()[4] == b'-';
    if !is_time {
        return duration(text)
            .map_err(|why| format!("{why}; or a time, as in 2026-12-24 or \"2026-12-24 18:00:00\" (UTC)"));
    }
    let whole = if text.len() == 10 { format!("{text} 00:00:00") } else { text.to_owned() };
    let end = humantime::parse_rfc3339_weak(&whole)
        .map_err(|_| "it is no time: write it as in 2026-12-24 or \"2026-12-24 18:00:00\" (UTC)".to_owned())?;
    let left = end.duration_since(SystemTime::now());
    left.map(to_seconds).map_err(|_| "it is over already: name a time in the future".to_owned())
}

/// The next whole number of seconds, up or down: a pin has whole seconds.
fn to_seconds(length: Duration) -> Duration {
    Duration::from_secs(length.as_secs() + u64::from(length.subsec_millis() >= 500))
}

/// A version: its number, or the newest at a time (UTC), or so long ago.
pub(crate) fn at(text: &str) -> Result<At, String> {
    let text = text.trim();
    if let Ok(version) = text.parse() {
        return Ok(At::Version(Version(version)));
    }
    let is_time = text.len() >= 10 && text.as_bytes()[4] == b'-';
    let whole = if text.len() == 10 { format!("{text} 00:00:00") } else { text.to_owned() };
    let then = match is_time {
        true => humantime::parse_rfc3339_weak(&whole).ok(),
        false => duration(text.trim_end_matches("ago")).ok().and_then(|ago| SystemTime::now().checked_sub(ago)),
    };
    let millis = then.and_then(|then| then.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_millis() as u64);
    millis.map(At::Time).ok_or_else(|| {
        "it is no version: write its number; or a time, as in 2026-12-24 or \"2026-12-24 18:00:00\" (UTC); or how long ago, as in 2h"
            .to_owned()
    })
}

/// A number of bytes, as in `64MiB` or `2GiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let size: Result<ByteSize, _> = text.trim().parse();
    size.map(|size| size.0).map_err(|_| {
        "it is no size: write a number of bytes, or a number and a unit (KiB, MiB, GiB, TiB), as in 64MiB or 2GiB"
            .to_owned()
    })
}

/// A number of bytes that may be `none`.
pub(crate) fn limit(text: &str) -> Result<Limit, String> {
    match text.trim() {
        "none" => Ok(Limit(None)),
        text => size(text).map(|bytes| Limit(Some(bytes))).map_err(|why| format!("{why}; or none")),
    }
}

/// The most bytes that something may take, if that is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<u64>);

/// A number of bytes, for people.
pub(crate) fn bytes(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// A number of bytes that comes back when it is parsed.
pub(crate) fn exact_bytes(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// A duration that comes back when it is parsed: whole seconds, in the largest unit in which it is whole.
pub(crate) fn exact_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    // A day is written as people write the default: 24h.
    match unit {
        Some((86_400, _)) if seconds == 86_400 => "24h".into(),
        Some((unit, name)) => format!("{}{name}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

/// About how long, for people: its largest unit.
pub(crate) fn about(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (unit, name) = match seconds {
        0..120 => (1, "s"),
        120..7200 => (60, "min"),
        7200..172_800 => (3600, "h"),
        _ => (86_400, "days"),
    };
    format!("{} {name}", seconds / unit)
}

/// How long ago a time was, in milliseconds since 1970.
pub(crate) fn age(millis: u64) -> Duration {
    SystemTime::now().duration_since(moment(millis)).unwrap_or_default()
}

/// A time in milliseconds since 1970, as JSON has it.
pub(crate) fn iso(millis: u64) -> String {
    humantime::format_rfc3339_millis(moment(millis)).to_string()
}

/// A time in milliseconds since 1970, for people, with how long ago that is, or how long it is until then.
pub(crate) fn time(millis: u64) -> String {
    let then = moment(millis);
    let text = humantime::format_rfc3339_seconds(then).to_string().replace('T', " ").replace('Z', " UTC");
    match SystemTime::now().duration_since(then) {
        Ok(ago) => format!("{text} ({} ago)", about(ago)),
        Err(ahead) => format!("{text} (in {})", about(ahead.duration())),
    }
}

fn moment(millis: u64) -> SystemTime {
    // What lies beyond the year 9999 cannot be written.
    const LAST: u64 = 253_402_300_799_000;
    UNIX_EPOCH + Duration::from_millis(millis.min(LAST))
}

/// A number of files, and their bytes, for people.
pub(crate) fn files(sum: seawall::Sum) -> String {
    let plural = if sum.files == 1 { "" } else { "s" };
    if sum.files == 0 { "nothing".into() } else { format!("{} file{plural}, {}", sum.files, bytes(sum.bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood_and_the_rest_gets_an_example() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        for (text, expected) in
            [("7d", hours(168)), ("24h", hours(24)), ("15min", hours(1) / 4), ("1h 30min", hours(3) / 2)]
        {
            assert_eq!(duration(text), Ok(expected), "{text}");
        }
        for wrong in ["", "7", "7 parsecs", "-1h", "soon"] {
            assert!(duration(wrong).unwrap_err().contains("15min"), "{wrong}");
        }
        for (text, expected) in
            [("2GiB", 2 << 30), ("64MiB", 64 << 20), ("64 MiB", 64 << 20), ("1024", 1024), ("1.5KiB", 1536)]
        {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for wrong in ["", "much", "-1", "2 GiBs", "1e400"] {
            assert!(size(wrong).unwrap_err().contains("64MiB"), "{wrong}");
        }
        assert_eq!((limit("none"), limit("1KiB")), (Ok(Limit(None)), Ok(Limit(Some(1024)))));
        assert!(from_now_on("2999-01-01").unwrap() > hours(24 * 365 * 900));
        assert!(from_now_on("2001-01-01 12:00:00").unwrap_err().contains("over already"));
        assert!(from_now_on("2026-13-01").unwrap_err().contains("2026-12-24"));
        assert_eq!(from_now_on("7d"), Ok(hours(168)));
    }

    #[test]
    fn a_version_is_a_number_a_time_or_how_long_ago() {
        assert_eq!(at("4711"), Ok(At::Version(Version(4711))));
        assert_eq!(at("1970-01-02"), Ok(At::Time(86_400_000)));
        assert_eq!(at("1970-01-01 00:00:01"), Ok(At::Time(1000)));
        assert_eq!(at("1970-01-01T00:00:01.500Z"), Ok(At::Time(1500)));
        let Ok(At::Time(ago)) = at("2h ago") else { panic!() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        assert!((now - 7_205_000..=now - 7_200_000).contains(&ago));
        for wrong in ["", "-1", "yesterday", "2026-13-01", "1969-01-01"] {
            assert!(at(wrong).unwrap_err().contains("or how long ago, as in 2h"), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_exactly_comes_back() {
        for seconds in [1, 900, 86_400, 604_800, 90_061] {
            let long = Duration::from_secs(seconds);
            assert_eq!(duration(&exact_duration(long)), Ok(long), "{}", exact_duration(long));
        }
        for number in [0, 1, 1 << 10, 64 << 20, (1 << 30) + 1, u64::MAX] {
            assert_eq!(size(&exact_bytes(number)), Ok(number), "{}", exact_bytes(number));
        }
        assert_eq!((iso(0), bytes(64 << 20)), ("1970-01-01T00:00:00.000Z".into(), "64.0 MiB".into()));
        assert!(time(u64::MAX).starts_with("9999-12-31 23:59:59 UTC (in "));
    }
}
