//! Which records of the two sides of a connection may tell of the same exchanges.
//!
//! A record tells of exchanges at positions of the stream: of one, or of several between two positions. Two records of different
//! sides can tell of the same exchanges if their ranges overlap and their status class is one. Their operation is one too, unless the
//! agents named it differently: a name that the other side does not use on this connection may be any of its names.

use headwater_schemas::ids::StreamPosition;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::symbols::Symbol;

/// Where the exchanges of a record lie, and what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    pub from: StreamPosition,
    /// Position of the last exchange.
    pub to: StreamPosition,
    pub operation: Symbol,
    pub status_class: Symbol,
}

impl Range {
    pub fn name(&self) -> (Symbol, Symbol) {
        (self.operation, self.status_class)
    }
}

/// Operations with their status classes, as one side names them.
pub type Names = FxHashSet<(Symbol, Symbol)>;

/// Ranges of one side of a connection, and what each belongs to. Sorted once, before it is asked.
pub struct Ranges<T> {
    sorted: Vec<(Range, T)>,
    /// How far the ranges up to this one reach.
    reach: Vec<StreamPosition>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Ranges { sorted: Vec::new(), reach: Vec::new() }
    }
}

impl<T: Copy> Ranges<T> {
    pub fn push(&mut self, range: Range, of: T) {
        self.sorted.push((range, of));
    }

    /// What is there, by name.
    pub fn names(&self) -> impl Iterator<Item = (Symbol, Symbol)> {
        self.sorted.iter().map(|(range, _)| range.name())
    }

    /// Sorts what was pushed.
    pub fn sort(&mut self) {
        self.sorted.sort_by_key(|(range, _)| (range.from, range.to));
        let mut furthest = StreamPosition(i64::MIN);
        self.reach = self
            .sorted
            .iter()
            .map(|(range, _)| {
                furthest = furthest.max(range.to);
                furthest
            })
            .collect();
    }

    /// Those that overlap, in the order of their first positions.
    pub fn overlapping(&self, with: Range) -> impl Iterator<Item = (Range, T)> {
        let end = self.sorted.partition_point(|(range, _)| range.from <= with.to);
        let start = self.reach[..end].partition_point(|reach| *reach < with.from);
        self.sorted[start..end].iter().copied().filter(move |(range, _)| range.to >= with.from)
    }

    /// What of those that may tell of the same exchanges, of which `names` are all names that this side uses.
    pub fn alike(&self, with: Range, names: &Names) -> impl Iterator<Item = T> {
        self.alike_where(with, names, |_| true)
    }

    /// The same, of those of which this holds.
    pub fn alike_where(&self, with: Range, names: &Names, holds: impl Fn(&Range) -> bool) -> impl Iterator<Item = T> {
        let is_named_alike = names.contains(&with.name());
        let is_alike = move |range: &Range| {
            let is_named = range.operation == with.operation || !is_named_alike;
            range.status_class == with.status_class && is_named && holds(range)
        };
        self.overlapping(with).filter(move |(range, _)| is_alike(range)).map(|(_, of)| of)
    }
}
