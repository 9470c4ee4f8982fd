//! Lists of what is missing from a window, brought into one form so that equal facts are equal lists.

use headwater_schemas::records::Missing;

/// A list is cut here; what it says of completeness stays.
const ENTRIES_MAX: usize = 1000;

/// No completeness below 1 may round up to 1.
const INCOMPLETE_AT_MOST: f64 = 0.999_999;

/// Sorts the list and joins entries of one node and reason whose times touch.
///
/// `counts` says how the counts of two such entries become one: they add up if they are different records (two topics), the
/// larger one holds if both tell of the same records (two partitions hearing the same agent).
pub fn coalesce(mut list: Vec<Missing>, counts: fn(i64, i64) -> i64) -> Vec<Missing> {
    let mut joined: Vec<Missing> = Vec::with_capacity(list.len());
    list.sort_by(|a, b| {
        (&a.node, &a.reason, a.from_us, a.to_us, a.count).cmp(&(&b.node, &b.reason, b.from_us, b.to_us, b.count))
    });
    for entry in list {
        match joined.last_mut() {
            Some(last) if last.node == entry.node && last.reason == entry.reason && entry.from_us <= last.to_us => {
                last.to_us = last.to_us.max(entry.to_us);
                last.count = counts(last.count, entry.count);
            }
            _ => joined.push(entry),
        }
    }
    joined.truncate(ENTRIES_MAX);
    joined
}

/// A completeness that is below 1 if anything is missing, and never below 0.
pub fn honest(completeness: f64, anything_missing: bool) -> f64 {
    let most = if anything_missing { INCOMPLETE_AT_MOST } else { 1.0 };
    if completeness.is_finite() { completeness.clamp(0.0, most) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(node: &str, count: i64, from_us: i64, to_us: i64) -> Missing {
        Missing { node: node.into(), reason: "no-data".into(), count, from_us, to_us }
    }

    #[test]
    fn touching_times_of_one_node_become_one_entry() {
        let list = vec![entry("b", 1, 0, 5), entry("a", 2, 5, 10), entry("a", 3, 0, 5), entry("a", 1, 12, 13)];
        let expected = vec![entry("a", 5, 0, 10), entry("a", 1, 12, 13), entry("b", 1, 0, 5)];
        assert_eq!(coalesce(list, |a, b| a + b), expected);
    }

    #[test]
    fn what_two_partitions_say_alike_is_said_once() {
        let list = vec![entry("a", 7, 0, 5), entry("a", 7, 0, 5)];
        assert_eq!(coalesce(list, i64::max), vec![entry("a", 7, 0, 5)]);
    }

    #[test]
    fn completeness_is_below_one_if_anything_is_missing() {
        assert_eq!(honest(1.0, false), 1.0);
        assert!(honest(1.0, true) < 1.0);
        assert_eq!(honest(f64::NAN, false), 0.0);
    }
}
