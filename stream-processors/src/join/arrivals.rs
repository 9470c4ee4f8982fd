//! Records of one partition that were read and that no agent has vouched for yet.
//!
//! In: records in the order of their partition. Out: those of a node up to an offset, once that was read. So which records count when is decided by
//! the log of progress and the offsets that it names, however far the reading of records is ahead. Bounded: [`RECORDS_MAX`], behind which nothing is
//! read but what is waited for; and what nobody vouches for is given up with the memory of its window.

use std::collections::VecDeque;

use headwater_schemas::place::Offset;
use headwater_schemas::records::Share;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::items::Item;
use super::symbols::Symbol;

/// Records that wait; more than agents write into a partition in a second.
const RECORDS_MAX: usize = 100_000;

/// Stretches of a partition of which nobody could make anything: the oldest are forgotten.
const GAPS_MAX: usize = 10_000;

/// Progress of so many offsets shares what is remembered of where its records stand.
const BLOCK: i64 = 64;

/// Where records of a node stand, as its agent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub after: Offset,
    pub through: Offset,
    pub records: i64,
}

impl Stretch {
    pub fn of(share: &Share) -> Stretch {
        Stretch { after: Offset(share.after_offset), through: Offset(share.through_offset), records: share.records }
    }
}

/// Why records are not there that an agent has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// They could not be read.
    Unreadable,
    /// They were deleted before they were read.
    Deleted,
    /// Nobody knows.
    Lost,
}

impl Gap {
    pub fn reason(self) -> &'static str {
        match self {
            Gap::Unreadable => "unreadable",
            Gap::Deleted => "deleted",
            Gap::Lost => "lost",
        }
    }
}

/// Records of a node.
#[derive(Debug)]
struct Queue<T> {
    /// What is of no use is only counted.
    records: VecDeque<(Offset, Option<T>)>,
    /// Those up to here may have been given up.
    given_up_to: Offset,
}

/// What waits of one partition, and is read again by whoever goes on from a snapshot.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Arrivals<T> {
    #[serde(skip)]
    nodes: FxHashMap<Symbol, Queue<T>>,
    #[serde(skip)]
    records: usize,
    /// From there on it is known which records came.
    #[serde(skip)]
    known_from: Option<Offset>,
    #[serde(skip)]
    next: Offset,
    /// The partition ended there a moment ago.
    #[serde(skip)]
    end: Option<Offset>,
    #[serde(skip)]
    gaps: VecDeque<(Offset, Offset, Gap)>,
    /// The oldest record that progress from here on, by its offset, has vouched for: rising in both.
    taken: VecDeque<(Offset, Offset)>,
}

/// What an agent vouches for.
#[derive(Debug)]
pub struct Taken<T> {
    pub items: Vec<T>,
    /// So many are not there.
    pub missing: Option<(Gap, i64)>,
}

impl<T> Default for Arrivals<T> {
    fn default() -> Arrivals<T> {
        Arrivals {
            nodes: FxHashMap::default(),
            records: 0,
            known_from: None,
            next: Offset::FIRST,
            end: None,
            gaps: VecDeque::new(),
            taken: VecDeque::new(),
        }
    }
}

impl<T: Item> Arrivals<T> {
    /// Reading goes on there, for progress from `progress` on.
    pub fn from(at: Offset, progress: Offset) -> Arrivals<T> {
        Arrivals { known_from: Some(at), next: at, taken: [(progress, at)].into(), ..Arrivals::default() }
    }

    /// Goes on from a snapshot, at progress of this offset.
    pub fn go_on(&mut self, at: Offset, progress: Offset) {
        self.next = at;
        self.remember(progress, at);
        // Which is somewhat earlier if other progress of its block needs that.
        self.next = self.needed(progress);
        self.known_from = Some(self.next);
    }

    /// Whether this offset is no later than those that were read: then the partition was made anew, and nothing that was known of it holds.
    pub fn begins_again(&mut self, offset: Offset) -> bool {
        let begins_again = offset < self.next;
        if begins_again {
            *self = Arrivals { known_from: Some(offset), next: offset, ..Arrivals::default() };
        }
        begins_again
    }

    /// A record of a node; one that is of no use only counts.
    pub fn push(&mut self, offset: Offset, node: Symbol, item: Option<T>) {
        self.passed(offset);
        let queue = self
            .nodes
            .entry(node)
            .or_insert_with(|| Queue { records: VecDeque::new(), given_up_to: Offset::BEFORE_ALL });
        queue.records.push_back((offset, item));
        self.records += 1;
    }

    /// Nobody could make anything of the next record.
    pub fn unreadable(&mut self, offset: Offset) {
        self.gap(offset, offset, Gap::Unreadable);
        self.passed(offset);
    }

    /// What stood up to here was deleted before it was read.
    pub fn deleted(&mut self, last: Offset) {
        self.gap(self.next, last, Gap::Deleted);
        self.passed(last);
    }

    /// The partition ends there now.
    pub fn ends(&mut self, end: Offset) {
        self.end = Some(end);
    }

    /// Whether all up to this offset was read, or never will be.
    pub fn has_read(&self, through: Offset) -> bool {
        // Once anything was read behind it, the partition goes on.
        through < self.next || self.end.is_some_and(|end| end == self.next && end <= through)
    }

    pub fn wants_more(&self) -> bool {
        self.records < RECORDS_MAX
    }

    pub fn records(&self) -> usize {
        self.records
    }

    /// Takes out what a node's agent vouches for at this offset of the log of progress. What it had vouched for up to `known` was taken before; what an
    /// agent before it has left behind that is taken too.
    pub fn take(&mut self, progress: Offset, node: Symbol, known: Option<Offset>, stretch: Stretch) -> Taken<T> {
        let Stretch { after, through, records } = stretch;
        let from = known.unwrap_or(after);
        let (mut items, mut counted, mut oldest) = (Vec::new(), 0, None);
        let mut given_up_to = Offset::BEFORE_ALL;
        if let Some(queue) = self.nodes.get_mut(&node) {
            given_up_to = queue.given_up_to;
            while let Some((offset, item)) = queue.records.pop_front_if(|(offset, _)| *offset <= through) {
                self.records -= 1;
                if offset <= from {
                    continue;
                }
                counted += i64::from(offset > after);
                oldest = oldest.or(Some(offset));
                items.extend(item);
            }
            if queue.records.is_empty() && given_up_to <= through {
                self.nodes.remove(&node);
            }
        }
        if let Some(oldest) = oldest {
            self.remember(progress, oldest);
        }
        let is_whole = self.known_from.is_some_and(|known_from| known_from <= after.next())
            && given_up_to <= after
            && known.is_none_or(|known| known <= after);
        let missing = (is_whole && counted < records).then(|| (self.why(after, through), records - counted));
        Taken { items, missing }
    }

    /// The oldest record that progress from this offset on, and what nobody has vouched for yet, needs.
    pub fn needed(&self, progress: Offset) -> Offset {
        let taken = self.taken.get(self.taken.partition_point(|(at, _)| *at < progress)).map(|(_, oldest)| *oldest);
        let waiting = self.nodes.values().filter_map(|queue| queue.records.front()).map(|(offset, _)| *offset).min();
        taken.into_iter().chain(waiting).fold(self.next, Offset::min)
    }

    /// Where reading goes on.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Forgets what progress before this offset needed, and gives up records of before this time, which nobody has vouched for: how many.
    pub fn forget(&mut self, progress: Offset, before_us: i64) -> u64 {
        while self.taken.pop_front_if(|(at, _)| *at < progress).is_some() {}
        let mut given_up = 0;
        for queue in self.nodes.values_mut() {
            let is_old =
                |(_, item): &mut (Offset, Option<T>)| item.as_ref().is_some_and(|item| item.at_us() < before_us);
            while let Some((offset, _)) = queue.records.pop_front_if(is_old) {
                queue.given_up_to = offset;
                given_up += 1;
            }
        }
        self.records -= given_up;
        // What was given up is known of as long as what is needed.
        let needed = self.needed(progress);
        self.nodes.retain(|_, queue| !queue.records.is_empty() || queue.given_up_to >= needed);
        self.known_from = self.known_from.max(Some(needed));
        self.gaps.retain(|(_, to, _)| *to >= needed);
        given_up as u64
    }

    pub fn symbols(&self) -> impl Iterator<Item = Symbol> {
        let items = self.nodes.values().flat_map(|queue| &queue.records).filter_map(|(_, item)| item.as_ref());
        self.nodes.keys().copied().chain(items.flat_map(Item::symbols))
    }

    fn passed(&mut self, offset: Offset) {
        self.known_from.get_or_insert(offset);
        self.next = self.next.max(offset.next());
    }

    fn gap(&mut self, from: Offset, to: Offset, gap: Gap) {
        if self.gaps.len() == GAPS_MAX {
            self.gaps.pop_front();
        }
        self.gaps.push_back((from, to, gap));
    }

    fn why(&self, after: Offset, through: Offset) -> Gap {
        let is_in = |(from, to, _): &&(Offset, Offset, Gap)| *from <= through && *to > after;
        self.gaps.iter().find(is_in).map_or(Gap::Lost, |(_, _, gap)| *gap)
    }

    /// Progress at this offset has vouched for records from this one on.
    fn remember(&mut self, progress: Offset, oldest: Offset) {
        let mut oldest = oldest;
        while let Some((_, before)) = self
            .taken
            .pop_back_if(|(at, before)| *before >= oldest || at.0.div_euclid(BLOCK) == progress.0.div_euclid(BLOCK))
        {
            oldest = oldest.min(before);
        }
        self.taken.push_back((progress, oldest));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use headwater_schemas::ids::ConnectionId;
    use headwater_schemas::records::Side;
    use proptest::prelude::*;

    use super::*;

    /// The offset of a record, which is its time, too.
    #[derive(Debug, PartialEq)]
    struct At(i64);

    impl Item for At {
        fn at_us(&self) -> i64 {
            self.0
        }
        fn connection(&self) -> ConnectionId {
            ConnectionId(0)
        }
        fn side(&self) -> Side {
            Side::Client
        }
        fn workload(&self) -> Symbol {
            Symbol::EMPTY
        }
        fn node(&self) -> Symbol {
            Symbol::EMPTY
        }
        fn protocol(&self) -> Symbol {
            Symbol::EMPTY
        }
        fn remote(&self) -> Symbol {
            Symbol::EMPTY
        }
        fn symbols(&self) -> [Symbol; 6] {
            [Symbol::EMPTY; 6]
        }
    }

    const NODES: [Symbol; 2] = [Symbol::UNKNOWN, Symbol::EMPTY];

    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// The next record is this node's.
        Record(usize),
        /// This node vouches for all but its last so many records.
        Vouch(usize, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![5 => (0..2_usize).prop_map(Step::Record), 1 => (0..2_usize, 0..3_usize).prop_map(|(node, but)| Step::Vouch(node, but))]
    }

    proptest! {
        /// Each record comes once, with the first word that vouches for it; and whoever reads again from where a word needs it finds all that this
        /// word and later ones vouch for.
        #[test]
        fn each_record_comes_once_and_what_is_needed_is_known(steps in prop::collection::vec(step(), 1..300)) {
            let mut arrivals = Arrivals::default();
            let mut of_node: [Vec<i64>; 2] = Default::default();
            let mut told = [0, 0];
            let mut oldest: BTreeMap<i64, i64> = BTreeMap::new();
            let (mut next, mut progress) = (0, 0);
            for step in steps {
                match step {
                    Step::Record(node) => {
                        arrivals.push(Offset(next), NODES[node], Some(At(next)));
                        of_node[node].push(next);
                        next += 1;
                    }
                    Step::Vouch(node, but) => {
                        let count = of_node[node].len().saturating_sub(but).max(told[node]);
                        let new = &of_node[node][told[node]..count];
                        let after = told[node].checked_sub(1).map_or(-1, |last| of_node[node][last]);
                        let stretch = Stretch { after: Offset(after), through: Offset(new.last().copied().unwrap_or(after)), records: new.len() as i64 };
                        let taken = arrivals.take(Offset(progress), NODES[node], None, stretch);
                        prop_assert_eq!(taken.items.iter().map(|at| at.0).collect::<Vec<_>>(), new);
                        prop_assert_eq!(taken.missing, None);
                        if let Some(first) = new.first() {
                            oldest.insert(progress, *first);
                        }
                        (told[node], progress) = (count, progress + 40);
                    }
                }
                let waits = (0..2).filter_map(|node| of_node[node].get(told[node])).min();
                for from in (0..progress).step_by(120) {
                    let needed = oldest.range(from..).map(|(_, at)| at).chain(waits).min();
                    prop_assert!(arrivals.needed(Offset(from)).0 <= *needed.unwrap_or(&next), "from {}", from);
                }
            }
        }
    }

    #[test]
    fn a_partition_that_ended_early_goes_on() {
        let mut arrivals = Arrivals::default();
        (0..3).for_each(|at| arrivals.push(Offset(at), NODES[0], Some(At(at))));
        assert!(!arrivals.has_read(Offset(7)));
        arrivals.ends(Offset(3));
        assert!(arrivals.has_read(Offset(7)), "it never comes");
        arrivals.push(Offset(3), NODES[0], Some(At(3)));
        assert!(arrivals.has_read(Offset(3)) && !arrivals.has_read(Offset(7)), "it may come");
    }

    #[test]
    fn what_is_given_up_is_not_taken_for_lost() {
        let mut arrivals = Arrivals::default();
        (0..6).for_each(|at| arrivals.push(Offset(at), NODES[0], Some(At(at))));
        assert_eq!((arrivals.forget(Offset(0), 3), arrivals.records()), (3, 3));
        let stretch = Stretch { after: Offset(-1), through: Offset(5), records: 6 };
        let taken = arrivals.take(Offset(1), NODES[0], None, stretch);
        assert_eq!((taken.items, taken.missing), (vec![At(3), At(4), At(5)], None));
        arrivals.push(Offset(7), NODES[0], None);
        let stretch = Stretch { after: Offset(5), through: Offset(7), records: 2 };
        let taken = arrivals.take(Offset(2), NODES[0], Some(Offset(5)), stretch);
        assert_eq!((taken.items, taken.missing), (vec![], Some((Gap::Lost, 1))), "of no use, but there");
    }
}
