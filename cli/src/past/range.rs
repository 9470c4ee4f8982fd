//! A range of time of one set of topics, as people write it.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::clock::{parse_time_us, rfc3339};

/// Windows that lie within this time, of the topics whose names start like this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub prefix: String,
    pub from_us: i64,
    pub to_us: i64,
}

impl Range {
    /// Reads `START/LENGTH` or `START..END`, with `PREFIX@` in front if it is of other topics, such as those of a replay.
    pub fn parse(text: &str, prefix: &str, now_us: i64) -> Result<Range> {
        let (prefix, times) = text.split_once('@').unwrap_or((prefix, text));
        let doing = || format!("read the time range `{text}`");
        let (from_us, to_us) = if let Some((from, to)) = times.split_once("..") {
            (parse_time_us(from, now_us).with_context(doing)?, parse_time_us(to, now_us).with_context(doing)?)
        } else if let Some((from, length)) = times.split_once('/') {
            let from_us = parse_time_us(from, now_us).with_context(doing)?;
            (from_us, from_us.saturating_add(micros(length).with_context(doing)?))
        } else {
            bail!("{}: give START/LENGTH or START..END, such as 2026-01-31T12:00/10m, -1h/10m or -10m..now", doing());
        };
        if from_us >= to_us {
            bail!("{}: it ends at {}, and not after it begins", doing(), rfc3339(to_us));
        }
        if from_us >= now_us {
            bail!("{}: it begins at {}, which is yet to come", doing(), rfc3339(from_us));
        }
        Ok(Range { prefix: prefix.to_owned(), from_us, to_us })
    }
}

fn micros(length: &str) -> Result<i64> {
    let length: Duration =
        humantime::parse_duration(length).with_context(|| format!("`{length}` is no length such as 10m"))?;
    Ok(i64::try_from(length.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW_US: i64 = 1_769_860_810_000_000;
    const MINUTE_US: i64 = 60_000_000;

    fn parse(text: &str) -> Result<Range> {
        Range::parse(text, "headwater.", NOW_US)
    }

    #[test]
    fn ranges_have_a_start_and_a_length_or_an_end() {
        let range = |prefix: &str, from_us, to_us| Range { prefix: prefix.into(), from_us, to_us };
        let twelve = NOW_US - 10_000_000;
        assert_eq!(parse("2026-01-31T12:00/10m").unwrap(), range("headwater.", twelve, twelve + 10 * MINUTE_US));
        assert_eq!(parse("-1h/10m").unwrap(), range("headwater.", NOW_US - 60 * MINUTE_US, NOW_US - 50 * MINUTE_US));
        assert_eq!(parse("again.@-10m..now").unwrap(), range("again.", NOW_US - 10 * MINUTE_US, NOW_US));
    }

    #[test]
    fn what_is_no_range_says_what_is_one() {
        let refused = |text: &str| format!("{:#}", parse(text).unwrap_err());
        assert!(refused("yesterday").contains("START/LENGTH or START..END"));
        assert!(refused("-10m..-20m").contains("not after it begins"));
        assert!(refused("2026-02-01T12:00/10m").contains("yet to come"));
        assert!(refused("-10m/soon").contains("`soon` is no length such as 10m"));
        assert!(refused("soon/10m").contains("`soon` is not a time"));
    }
}
