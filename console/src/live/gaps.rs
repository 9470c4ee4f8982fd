//! Which node's data is missing, from when to when: the gaps of many windows made into a short list.
//!
//! Each input's marker of a window names its gaps: within a window one gap counts once. Over the windows, gaps that touch become one, and
//! their counts are added. Bound: [`GAPS_MAX`] gaps.

use headwater_schemas::records::Missing;
use serde::Serialize;

pub const GAPS_MAX: usize = 50;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    pub node: String,
    pub reason: String,
    /// Records known to be missing; 0 if unknown.
    pub count: i64,
    pub from_us: i64,
    pub to_us: i64,
}

/// Joins the gaps of windows, given as one list a window.
pub fn join<'a>(windows: impl Iterator<Item = Vec<&'a Missing>>) -> Vec<Gap> {
    let mut all: Vec<&Missing> = Vec::new();
    for mut window in windows {
        window.sort();
        window.dedup();
        all.extend(window);
    }
    all.sort_by(|a, b| (&a.node, &a.reason, a.from_us).cmp(&(&b.node, &b.reason, b.from_us)));
    let mut gaps: Vec<Gap> = Vec::new();
    for missing in all {
        match gaps.last_mut() {
            Some(last)
                if last.node == missing.node && last.reason == missing.reason && missing.from_us <= last.to_us =>
            {
                last.count = last.count.saturating_add(missing.count);
                last.to_us = last.to_us.max(missing.to_us);
            }
            _ => gaps.push(Gap {
                node: missing.node.clone(),
                reason: missing.reason.clone(),
                count: missing.count,
                from_us: missing.from_us,
                to_us: missing.to_us,
            }),
        }
    }
    gaps.sort_by_key(|gap| std::cmp::Reverse(gap.to_us));
    gaps.truncate(GAPS_MAX);
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(node: &str, count: i64, from_us: i64, to_us: i64) -> Missing {
        Missing { node: node.into(), reason: "no-data".into(), count, from_us, to_us }
    }

    #[test]
    fn gaps_that_touch_become_one_and_repeats_in_a_window_count_once() {
        let (a, b, c) = (missing("n1", 2, 0, 10), missing("n1", 3, 10, 20), missing("n2", 0, 5, 10));
        let gaps = join([vec![&a, &a, &c], vec![&b, &b]].into_iter());
        let seen: Vec<_> = gaps.iter().map(|g| (g.node.as_str(), g.count, g.from_us, g.to_us)).collect();
        assert_eq!(seen, [("n1", 5, 0, 20), ("n2", 0, 5, 10)]);
    }

    #[test]
    fn gaps_apart_stay_apart() {
        let (a, b) = (missing("n1", 0, 0, 10), missing("n1", 0, 30, 40));
        assert_eq!(join([vec![&a], vec![&b]].into_iter()).len(), 2);
    }
}
