//! How far nodes are, in order, so that what a window waits for is known without a look at each of them.
//!
//! In: what each node that runs said last. Out: how far most of them are, and whether any of them holds a window up. Bounded by the nodes. With n of them
//! a change costs O(log n), and so does a question, but for one that leaves silent nodes out: that passes those that are in question.

use std::collections::{BTreeMap, BTreeSet};

use super::symbols::Symbol;

/// What a node that runs said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub up_to_us: i64,
    /// The time that had gone by then.
    pub heard_us: i64,
}

/// All nodes that run.
#[derive(Debug, Default)]
pub struct Reached {
    /// When they were heard, by how far they are.
    running: BTreeMap<(i64, Symbol), i64>,
    /// Of these, those that are not silent: by when they were heard, with how far they are.
    heard: BTreeSet<(i64, i64, Symbol)>,
    /// Of those, the half that is less far, rounded down, and the others.
    lower: BTreeSet<(i64, Symbol)>,
    upper: BTreeSet<(i64, Symbol)>,
}

impl Reached {
    /// A node is somewhere else than it was, if it ran, and if it runs.
    pub fn moves(&mut self, node: Symbol, from: Option<Place>, to: Option<Place>) {
        if let Some(Place { up_to_us, heard_us }) = from {
            self.running.remove(&(up_to_us, node));
            self.falls_silent((heard_us, up_to_us, node));
        }
        if let Some(Place { up_to_us, heard_us }) = to {
            self.running.insert((up_to_us, node), heard_us);
            self.heard.insert((heard_us, up_to_us, node));
            let is_far = self.upper.first().is_some_and(|middle| (up_to_us, node) > *middle);
            if is_far { &mut self.upper } else { &mut self.lower }.insert((up_to_us, node));
        }
        self.balance();
    }

    /// Those that were heard last when so much time had gone by, or before, are silent.
    pub fn silence(&mut self, through_us: i64) {
        while let Some(first) = self.heard.first().copied().filter(|(heard_us, ..)| *heard_us <= through_us) {
            self.falls_silent(first);
        }
        self.balance();
    }

    /// How far the furthest node is, but for those that are further than most by more than this, and silent ones. None if all are silent.
    pub fn front_us(&self, ahead_us: i64) -> Option<i64> {
        let (most_us, _) = *self.upper.first()?;
        let mut plausible = self.upper.range(..=(most_us.saturating_add(ahead_us), Symbol::LAST));
        plausible.next_back().map(|(up_to_us, _)| *up_to_us)
    }

    /// Whether a node is that far and no further, and was heard after so much time had gone by, if that is asked for.
    pub fn is_any_within(&self, from_us: i64, before_us: i64, heard_after_us: Option<i64>) -> bool {
        // Whoever is heard is further than those that fell silent, mostly.
        let mut within = self.running.range((from_us, Symbol::FIRST)..(before_us.max(from_us), Symbol::FIRST)).rev();
        within.any(|(_, heard_us)| heard_after_us.is_none_or(|after_us| *heard_us > after_us))
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    fn falls_silent(&mut self, (heard_us, up_to_us, node): (i64, i64, Symbol)) {
        if self.heard.remove(&(heard_us, up_to_us, node)) && !self.lower.remove(&(up_to_us, node)) {
            self.upper.remove(&(up_to_us, node));
        }
    }

    /// Each change moves the middle by a step at most; many nodes may fall silent at once.
    fn balance(&mut self) {
        while self.lower.len() > self.upper.len() {
            self.upper.extend(self.lower.pop_last());
        }
        while self.upper.len() > self.lower.len() + 1 {
            self.lower.extend(self.upper.pop_first());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::join::symbols::Symbols;

    const SILENT_US: i64 = 40;
    const AHEAD_US: i64 = 25;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// A node says how far it is, or that it stops.
        Says(usize, Option<i64>),
        Passes(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..9_usize, prop::option::weighted(0.9, 0..200_i64)).prop_map(|(node, up_to_us)| Step::Says(node, up_to_us)),
            2 => (0..30_i64).prop_map(Step::Passes),
        ]
    }

    /// The same, by a look at each node.
    fn front_us(nodes: &[Option<Place>], now_us: i64) -> Option<i64> {
        let is_heard = |place: &&Place| now_us - place.heard_us < SILENT_US;
        let mut reached: Vec<i64> = nodes.iter().flatten().filter(is_heard).map(|place| place.up_to_us).collect();
        reached.sort_unstable();
        let most_us = *reached.get(reached.len() / 2)?;
        reached.into_iter().filter(|up_to_us| *up_to_us <= most_us + AHEAD_US).max()
    }

    proptest! {
        #[test]
        fn it_is_as_by_a_look_at_each_node(steps in prop::collection::vec(step(), 1..200)) {
            let mut reached = Reached::default();
            let mut symbols = Symbols::default();
            let numbers: Vec<Symbol> = (0..9).map(|node| symbols.intern(&format!("node-{node}"))).collect();
            let mut nodes = [None; 9];
            let mut now_us = 0;
            for step in steps {
                match step {
                    Step::Says(node, up_to_us) => {
                        let place = up_to_us.map(|up_to_us| Place { up_to_us, heard_us: now_us });
                        reached.moves(numbers[node], nodes[node], place);
                        nodes[node] = place;
                    }
                    Step::Passes(us) => now_us += us,
                }
                reached.silence(now_us - SILENT_US);
                prop_assert_eq!(reached.front_us(AHEAD_US), front_us(&nodes, now_us));
                prop_assert_eq!(reached.is_empty(), nodes.iter().all(Option::is_none));
                for (from_us, before_us) in [(0, 50), (50, 60), (100, 200), (70, 20)] {
                    for after_us in [None, Some(now_us - 20), Some(now_us)] {
                        let is_within = |place: &Place| (from_us..before_us).contains(&place.up_to_us) && after_us.is_none_or(|after_us| place.heard_us > after_us);
                        prop_assert_eq!(reached.is_any_within(from_us, before_us, after_us), nodes.iter().flatten().any(is_within));
                    }
                }
            }
        }
    }
}
