//! Lists of what is missing from a window, brought into one form so that equal facts are equal lists.

use headwater_schemas::records::{Missing, UNKNOWN};

/// A longer list is cut; what it says of completeness stays, and its last entry says how many entries are not there.
const ENTRIES_MAX: usize = 1000;
/// As is one with more text: it stands in markers, which must fit into one message of Kafka.
const TEXT_BYTES_MAX: usize = 128 * 1024;
/// The reason of the entry that stands for those that were cut off.
const CUT_OFF: &str = "list-cut-off";

/// The reason given where writers spread what they write among different numbers of partitions, so that what belongs together may be
/// apart: partitions were added, and some do not know it yet.
pub const PARTITIONS_DIFFER: &str = "partitions-differ";

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
    cut(&mut joined);
    joined
}

/// Cuts a list at its bounds, and says so in the list.
fn cut(list: &mut Vec<Missing>) {
    let mut text_bytes = 0;
    let mut fits = |missing: &Missing| {
        text_bytes += missing.node.len() + missing.reason.len();
        text_bytes <= TEXT_BYTES_MAX
    };
    let kept = list.iter().take(ENTRIES_MAX).take_while(|missing| fits(missing)).count();
    let gone = list.split_off(kept);
    let times = gone.iter().map(|missing| missing.from_us).min().zip(gone.iter().map(|missing| missing.to_us).max());
    let Some((from_us, to_us)) = times else { return };
    list.push(Missing {
        node: UNKNOWN.to_owned(),
        reason: CUT_OFF.to_owned(),
        count: i64::try_from(gone.len()).unwrap_or(i64::MAX),
        from_us,
        to_us,
    });
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
    fn a_list_is_cut_at_its_entries_and_its_text_and_says_so() {
        let many = (0..2 * ENTRIES_MAX as i64).map(|i| entry(&format!("{i:06}"), 1, i, i + 1)).collect();
        let cut = coalesce(many, |a, b| a + b);
        let last = cut.last().map(|last| (last.reason.as_str(), last.count, last.from_us, last.to_us));
        assert_eq!((cut.len(), last), (ENTRIES_MAX + 1, Some((CUT_OFF, 1000, 1000, 2000))));
        let long = (0..100).map(|i| entry(&format!("{i:04000}"), 1, 0, 1)).collect();
        let cut = coalesce(long, |a, b| a + b);
        let bytes: usize = cut.iter().map(|missing| missing.node.len() + missing.reason.len()).sum();
        assert!(bytes < TEXT_BYTES_MAX + 100, "{bytes}");
        assert_eq!(cut.len() as i64 - 1 + cut.last().map_or(0, |last| last.count), 100);
    }

    #[test]
    fn completeness_is_below_one_if_anything_is_missing() {
        assert_eq!(honest(1.0, false), 1.0);
        assert!(honest(1.0, true) < 1.0);
        assert_eq!(honest(f64::NAN, false), 0.0);
    }
}
