//! Which edges of a window may lack something: those that an end of was seen by a node of which anything is missing.
//!
//! In: what is missing of a window, and the workloads that these nodes had lately. Out: whether an edge may lack anything. Where it is not
//! known which workloads a node had, or which node it is, all may: the node is not listed, or its workloads are [`MORE`], which stands for any. An end that no
//! agent named may be anywhere. Bounded: workloads that are listed, and their text; of a node that does not fit [`MORE`] are listed.

use std::collections::{BTreeMap, BTreeSet};

use headwater_schemas::records::{ADDRESS, HOST, MORE, Missing, Touch, UNKNOWN, Workload};
use rustc_hash::FxHashSet;

use crate::join::MEMORY_WINDOWS;

/// A node that was silent for longer had whom it had before that: half of what is remembered is left to tell.
const SILENT_WINDOWS_MAX: i64 = MEMORY_WINDOWS / 2;

/// Workloads of all nodes of a list together.
pub const WORKLOADS_MAX: usize = 1000;
/// And their text: it stands in markers, as what is missing does.
const TEXT_BYTES_MAX: usize = 128 * 1024;

/// What a node saw: when last, and the keys of workloads.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub last_us: i64,
    pub workloads: BTreeSet<String>,
}

/// The list of what nodes saw, within the bounds.
pub fn listed(by_node: BTreeMap<String, Seen>) -> Vec<Touch> {
    let (mut count, mut text_bytes) = (0, 0);
    let list = by_node.into_iter().map(|(node, Seen { last_us, workloads })| {
        let more_bytes: usize = workloads.iter().map(String::len).sum();
        if workloads.contains(MORE)
            || count + workloads.len() > WORKLOADS_MAX
            || text_bytes + more_bytes > TEXT_BYTES_MAX
        {
            return Touch { node, last_us, workloads: vec![MORE.to_owned()] };
        }
        (count, text_bytes) = (count + workloads.len(), text_bytes + more_bytes);
        Touch { node, last_us, workloads: workloads.into_iter().collect() }
    });
    list.collect()
}

/// What several say of one window: each of the connections of its own partition.
pub fn joined<'a>(lists: impl IntoIterator<Item = &'a Touch>, start_us: i64, window_us: i64) -> Vec<Touch> {
    let mut by_node: BTreeMap<String, Seen> = BTreeMap::new();
    for Touch { node, last_us, workloads } in lists {
        let seen = by_node.entry(node.clone()).or_insert(Seen { last_us: *last_us, workloads: BTreeSet::new() });
        seen.last_us = seen.last_us.max(*last_us);
        seen.workloads.extend(workloads.iter().cloned());
    }
    let heard_us = start_us.saturating_sub(window_us.saturating_mul(SILENT_WINDOWS_MAX));
    for seen in by_node.values_mut().filter(|seen| seen.last_us < heard_us) {
        seen.workloads = BTreeSet::from([MORE.to_owned()]);
    }
    listed(by_node)
}

/// The edges of one window that may lack something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Touched {
    #[default]
    Nothing,
    /// Those of these workloads, by their keys, and of ends that nobody named.
    EdgesOf(FxHashSet<String>),
    All,
}

impl Touched {
    /// What is missing touches, if these nodes had these workloads.
    pub fn of(missing: &[Missing], touches: &[Touch]) -> Touched {
        if missing.is_empty() {
            return Touched::Nothing;
        }
        let known: FxHashSet<&str> = touches.iter().map(|touch| touch.node.as_str()).collect();
        let is_known = |missing: &Missing| missing.node != UNKNOWN && known.contains(missing.node.as_str());
        let workloads: FxHashSet<String> = touches.iter().flat_map(|touch| touch.workloads.iter().cloned()).collect();
        if workloads.contains(MORE) || !missing.iter().all(is_known) {
            return Touched::All;
        }
        Touched::EdgesOf(workloads)
    }

    /// Whether an edge may lack something.
    pub fn has(&self, client: &Workload, server: &Workload) -> bool {
        match self {
            Touched::Nothing => false,
            Touched::All => true,
            Touched::EdgesOf(workloads) => {
                [client, server].into_iter().any(|end| !is_named(end) || workloads.contains(&end.key()))
            }
        }
    }
}

/// Whether the agent of its own node said who it is.
fn is_named(end: &Workload) -> bool {
    ![ADDRESS, HOST, UNKNOWN].contains(&end.kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(node: &str) -> Missing {
        Missing { node: node.into(), reason: "no-data".into(), count: 0, from_us: 0, to_us: 1 }
    }

    const WINDOW_US: i64 = 10_000_000;

    fn touch(node: &str, names: &[&str]) -> Touch {
        let workloads = names.iter().map(|name| unit(name).key()).collect();
        Touch { node: node.into(), last_us: 0, workloads }
    }

    fn unit(name: &str) -> Workload {
        Workload::local("unit", name)
    }

    #[test]
    fn an_edge_is_touched_by_nodes_that_had_one_of_its_ends() {
        let touches = [touch("n1", &["a"]), touch("n2", &[])];
        let touched = Touched::of(&[missing("n1"), missing("n2")], &touches);
        assert!(touched.has(&unit("a"), &unit("b")) && touched.has(&unit("b"), &unit("a")));
        assert!(!touched.has(&unit("b"), &unit("c")));
        for nobody in [Workload::local(ADDRESS, "10.0.0.1:80"), Workload::local(HOST, "b:80"), Workload::unknown()] {
            assert!(touched.has(&unit("b"), &nobody) && touched.has(&nobody, &unit("b")), "{nobody:?} may be anywhere");
        }
    }

    #[test]
    fn where_a_node_is_not_known_all_edges_are_touched() {
        let touches = [touch("n1", &["a"])];
        for node in ["n2", UNKNOWN] {
            assert!(Touched::of(&[missing("n1"), missing(node)], &touches).has(&unit("b"), &unit("c")), "{node}");
        }
        let more = Touch { workloads: vec![MORE.into()], ..touch("n2", &[]) };
        assert!(Touched::of(&[missing("n1"), missing("n2")], &[touch("n1", &["a"]), more]).has(&unit("b"), &unit("c")));
        assert!(!Touched::of(&[], &[]).has(&Workload::unknown(), &unit("b")), "nothing is missing");
    }

    /// Nodes, and how many workloads are listed of each; none where these are [`MORE`].
    fn counts(list: Vec<Touch>) -> Vec<(String, Option<usize>)> {
        let count = |touch: &Touch| (touch.workloads != [MORE]).then_some(touch.workloads.len());
        list.into_iter().map(|touch| (touch.node.clone(), count(&touch))).collect()
    }

    #[test]
    fn a_node_that_does_not_fit_may_have_had_any() {
        let many: Vec<String> = (0..WORKLOADS_MAX).map(|i| format!("w{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let long = "x".repeat(TEXT_BYTES_MAX);
        let lists =
            [touch("n1", &["a"]), touch("n2", &many), touch("n3", &[&long]), touch("n4", &["b"]), touch("n1", &["c"])];
        let of = |node: &str, count| (node.to_owned(), count);
        let expected = [of("n1", Some(2)), of("n2", None), of("n3", None), of("n4", Some(1))];
        assert_eq!(counts(joined(&lists, 0, WINDOW_US)), expected);
        let elsewhere = [touch("n2", &["a"])];
        let both = joined(&lists, 0, WINDOW_US);
        assert_eq!(counts(joined(both.iter().chain(&elsewhere), 0, WINDOW_US)), expected, "one of two had no room");
    }

    #[test]
    fn a_node_that_no_partition_heard_of_late_may_have_had_any() {
        let at = |last_us| Touch { last_us, ..touch("n1", &["a"]) };
        let count = |lists: &[Touch]| counts(joined(lists, 4 * WINDOW_US, WINDOW_US))[0].1;
        assert_eq!((count(&[at(-1)]), count(&[at(0)]), count(&[at(-1), at(0)])), (None, Some(1), Some(1)));
    }
}
