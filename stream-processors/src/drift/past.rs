//! What is usual of an hour: what this hour of the week was in the last weeks, or of the day where less is known.
//!
//! In: levels of hours. Out: the most that comparable hours had. An hour beside it counts too, for what is done each day is not done to the minute. Pure; bounded: hours of four weeks.

use std::collections::BTreeMap;

use headwater_histogram::Histogram;

/// So far back anything is usual.
pub const WEEKS: i64 = 4;
const DAY_HOURS: i64 = 24;
pub const WEEK_HOURS: i64 = 7 * DAY_HOURS;
/// With fewer weeks, days are compared, which says nothing of the end of a week.
const WEEKS_MIN: usize = 2;
const DAYS: i64 = 7;
const DAYS_MIN: usize = 3;

/// Fewer requests say nothing of the median of an hour, or of the slowest of them.
const REQUESTS_MIN: [i64; QUANTILES] = [100, 1000];
const SHARES: [f64; QUANTILES] = [0.5, 0.95];
pub const QUANTILES: usize = 2;

/// An hour of one edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    pub requests: u32,
    pub errors: u32,
    /// Median and 95th percentile, in microseconds.
    pub quantiles_us: [f32; QUANTILES],
}

impl Level {
    pub fn of(requests: i64, errors: i64, duration_ns: &Histogram) -> Level {
        let count = |value: i64| u32::try_from(value.max(0)).unwrap_or(u32::MAX);
        Level {
            requests: count(requests),
            errors: count(errors),
            quantiles_us: SHARES.map(|share| (duration_ns.quantile(share) / 1000.0) as f32),
        }
    }

    /// What it says of a quantile, if enough requests do.
    pub fn quantile_us(&self, quantile: usize) -> Option<f64> {
        (i64::from(self.requests) >= REQUESTS_MIN[quantile]).then_some(f64::from(self.quantiles_us[quantile]))
    }
}

/// The most of comparable hours.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usual {
    pub quantiles_us: [Option<f64>; QUANTILES],
    pub errors: Option<Errors>,
}

/// The share of requests that fail, and of how many that is known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Errors {
    pub share: f64,
    pub requests: f64,
}

/// The past of one edge, by the number of the hour since the epoch.
#[derive(Debug, Clone, Default)]
pub struct Past(BTreeMap<i64, Level>);

impl Past {
    pub fn learn(&mut self, hour: i64, level: Level) {
        self.0.insert(hour, level);
    }

    /// Forgets what no hour from this one on is compared with. Whether anything is left.
    pub fn forget(&mut self, hour: i64) -> bool {
        self.0 = self.0.split_off(&(hour - WEEKS * WEEK_HOURS - 1));
        !self.0.is_empty()
    }

    /// What is usual of an hour; where it is not known, nothing is.
    pub fn usual(&self, hour: i64) -> Usual {
        let quantiles_us = std::array::from_fn(|quantile| {
            let of = |level: &Level| level.quantile_us(quantile);
            Some(self.comparable(hour, of)?.0)
        });
        let share = |level: &Level| {
            let requests = f64::from(level.requests);
            (i64::from(level.requests) >= REQUESTS_MIN[0]).then(|| f64::from(level.errors) / requests)
        };
        let errors = self.comparable(hour, share).map(|(share, requests)| Errors { share, requests });
        Usual { quantiles_us, errors }
    }

    /// The most that anything was in comparable hours, and the requests of these. Those of weeks count, else those of days and the one week that is known; nothing if neither are
    /// enough. What was once does not count: of three and more, the largest is left out.
    fn comparable(&self, hour: i64, of: impl Fn(&Level) -> Option<f64>) -> Option<(f64, f64)> {
        let told = |period: i64, count: i64| {
            let mut requests = 0.0;
            let mut tell = |back: i64| {
                let at = hour - back * period;
                let told = self.0.range(at - 1..=at + 1).filter_map(|(_, level)| Some((of(level)?, level.requests)));
                told.inspect(|(_, count)| requests += f64::from(*count)).map(|(value, _)| value).reduce(f64::max)
            };
            let mut groups: Vec<f64> = (1..=count).filter_map(&mut tell).collect();
            groups.sort_by(f64::total_cmp);
            (groups, requests)
        };
        let most =
            |groups: &[f64]| groups.get(groups.len().checked_sub(if groups.len() > 2 { 2 } else { 1 })?).copied();
        let (weeks, of_weeks) = told(WEEK_HOURS, WEEKS);
        if weeks.len() >= WEEKS_MIN {
            return Some((most(&weeks)?, of_weeks));
        }
        let (days, of_days) = told(DAY_HOURS, DAYS);
        let week = most(&weeks).unwrap_or(0.0);
        if days.len() < DAYS_MIN { None } else { Some((most(&days)?.max(week), of_days)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(median_us: f32, errors: u32) -> Level {
        Level { requests: 1000, errors, quantiles_us: [median_us, 2.0 * median_us] }
    }

    fn median(past: &Past, hour: i64) -> Option<f64> {
        past.usual(hour).quantiles_us[0]
    }

    #[test]
    fn weeks_count_and_days_where_there_are_not_enough() {
        let (mut past, now) = (Past::default(), 10_000);
        for (days, us) in [(1, 100.0), (2, 110.0)] {
            past.learn(now - days * DAY_HOURS, level(us, 0));
        }
        assert_eq!(past.usual(now), Usual::default(), "two days are no past");
        past.learn(now - 3 * DAY_HOURS + 1, level(120.0, 0));
        assert_eq!(median(&past, now), Some(110.0), "of three, the largest may be an accident");
        past.learn(now - 4 * DAY_HOURS + 2, level(900.0, 0));
        assert_eq!(median(&past, now), Some(110.0), "that is another hour of the day");
        past.learn(now - WEEK_HOURS, level(300.0, 0));
        assert_eq!(median(&past, now), Some(300.0), "so it was a week ago");
        past.learn(now - 2 * WEEK_HOURS - 1, level(200.0, 0));
        assert_eq!(median(&past, now), Some(300.0));
    }

    #[test]
    fn hours_with_few_requests_tell_nothing_and_old_ones_are_forgotten() {
        let (mut past, now) = (Past::default(), 10_000);
        for week in 1..=WEEKS {
            past.learn(now - week * WEEK_HOURS, Level { requests: 500, ..level(100.0, 5) });
        }
        let usual = past.usual(now);
        assert_eq!(
            (usual.quantiles_us, usual.errors),
            ([Some(100.0), None], Some(Errors { share: 0.01, requests: 2000.0 }))
        );
        assert!(past.forget(now) && median(&past, now).is_some());
        assert!(past.forget(now + WEEK_HOURS + 2) && median(&past, now).is_some());
        assert!(past.forget(now + 2 * WEEK_HOURS + 2) && median(&past, now).is_none());
        assert!(!past.forget(now + 5 * WEEK_HOURS));
    }
}
