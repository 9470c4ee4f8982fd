//! Times as people write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
pub use headwater_console::clock::now_us;

/// `2026-01-31T12:00:10Z`; with a fraction where there is one.
pub fn rfc3339(us: i64) -> String {
    let time = UNIX_EPOCH + Duration::from_micros(us.clamp(0, YEAR_9999_US) as u64);
    let text = humantime::format_rfc3339_micros(time).to_string();
    text.strip_suffix(".000000Z").map(|seconds| format!("{seconds}Z")).unwrap_or(text)
}

/// The same to the millisecond, always of the same width: `2026-01-31T12:00:10.250Z`.
pub fn rfc3339_ms(us: i64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_micros(us.clamp(0, YEAR_9999_US) as u64)).to_string()
}

/// From one time to another as the page shows it: `2026-01-31 12:00:10 – 12:01:10 UTC`.
pub fn period(from_us: i64, to_us: i64) -> String {
    let [from, to] = [from_us, to_us].map(|us| rfc3339_ms(us).get(..19).unwrap_or_default().replace('T', " "));
    // Without the day where that is the same.
    let to = if from.get(..10) == to.get(..10) { to.get(11..).unwrap_or_default().to_owned() } else { to };
    format!("{from} – {to} UTC")
}

/// From here on a number is milliseconds since 1970, no longer seconds: those of the year 5138, these of 1973.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// Reads `2026-01-31T12:00:10Z`, seconds or milliseconds since 1970, a time before now such as `-5m`, or `now`.
pub fn parse_time_us(text: &str, now_us: i64) -> Result<i64> {
    if text == "now" {
        return Ok(now_us);
    }
    if let Ok(number) = text.parse::<i64>()
        && number >= 0
    {
        let factor = if number < MILLISECONDS_FROM { 1_000_000 } else { 1_000 };
        return Ok(number.saturating_mul(factor).min(YEAR_9999_US));
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago = humantime::parse_duration(ago).with_context(|| format!("`{text}` is not a time such as -5m"))?;
        return Ok(now_us - i64::try_from(ago.as_micros()).unwrap_or(now_us));
    }
    match humantime::parse_rfc3339_weak(&with_seconds(text)) {
        Ok(time) => Ok(us(time)),
        Err(_) => bail!("`{text}` is not a time; give one such as 2026-01-31T12:00:00Z (UTC), -5m or now"),
    }
}

/// Seconds may be left out: `2026-01-31T12:00`.
fn with_seconds(text: &str) -> std::borrow::Cow<'_, str> {
    let time = text.strip_suffix('Z').unwrap_or(text);
    if time.len() == "2026-01-31T12:00".len() { format!("{time}:00").into() } else { text.into() }
}

const YEAR_9999_US: i64 = 253_402_300_799_000_000;

fn us(time: SystemTime) -> i64 {
    // A clock before 1970 is as good as none.
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        let at = 1_769_860_810_000_000;
        assert_eq!(rfc3339(at), "2026-01-31T12:00:10Z");
        assert_eq!(rfc3339(at + 250_000), "2026-01-31T12:00:10.250000Z");
        assert_eq!(rfc3339_ms(at), "2026-01-31T12:00:10.000Z");
        assert_eq!(period(at, at + 10_000_000), "2026-01-31 12:00:10 – 12:00:20 UTC");
        assert_eq!(period(at, at + 86_400_000_000), "2026-01-31 12:00:10 – 2026-02-01 12:00:10 UTC");
        assert_eq!(parse_time_us("2026-01-31T12:00:10Z", 0).unwrap(), at);
        assert_eq!(parse_time_us("2026-01-31 12:00:10", 0).unwrap(), at);
        for text in ["2026-01-31T12:00", "2026-01-31 12:00", "2026-01-31T12:00Z"] {
            assert_eq!(parse_time_us(text, 0).unwrap(), at - 10_000_000);
        }
        assert_eq!(parse_time_us("1769860810", 0).unwrap(), at);
        assert_eq!(parse_time_us("1769860810250", 0).unwrap(), at + 250_000);
        assert_eq!(parse_time_us("-5m", at).unwrap(), at - 300_000_000);
        assert_eq!(parse_time_us("now", at).unwrap(), at);
        assert!(parse_time_us("yesterday", at).unwrap_err().to_string().contains("-5m"));
    }

    #[test]
    fn times_out_of_all_bounds_do_not_panic() {
        assert_eq!(rfc3339(-1), "1970-01-01T00:00:00Z");
        assert!(rfc3339(i64::MAX).starts_with("9999"));
    }
}
