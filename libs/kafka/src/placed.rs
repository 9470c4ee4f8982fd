//! Where the records of a producer stand, as the brokers have acknowledged them: what it may say of a partition to whoever reads there.
//!
//! In: each delivery report. Out: by topic and partition how many, and between which offsets; from one look to the next as a [`Stretch`].
//! The brokers acknowledge the records of a partition in their order, so all that came before one that is acknowledged stand before it.

use crate::{Offset, Partition};

/// The acknowledged messages of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Placed {
    /// How many stand there.
    pub records: u64,
    /// How many were given up after they had been handed over.
    pub failed: u64,
    /// The offset of the first one.
    pub first: Option<Offset>,
    /// That of the last one.
    pub last: Option<Offset>,
    /// Of the newest ones it is not known where they stand: a broker had taken them already when a request was repeated.
    pub is_open: bool,
}

impl Placed {
    /// One more is acknowledged, and stands there if that is known.
    pub(crate) fn acknowledged(&mut self, at: Option<Offset>) {
        self.records += 1;
        self.is_open = at.is_none();
        // Offsets that begin again are of a topic that was made anew.
        if self.records == 1 || at.is_some_and(|at| Some(at) < self.last) {
            (self.first, self.last) = (at, at);
        }
        self.last = at.max(self.last);
    }

    /// All of them stand before this offset.
    pub(crate) fn end(&mut self, end: Offset) {
        if std::mem::take(&mut self.is_open) {
            self.last = Some(end.before()).max(self.last);
        }
    }

    /// Those whose fate is known.
    pub fn known(&self) -> u64 {
        self.records + self.failed
    }
}

/// A part of a partition, and how many records of one writer are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// They stand behind this offset: [`Offset::BEFORE_ALL`] if they may stand anywhere.
    pub after: Offset,
    /// And up to this one: [`Offset::BEFORE_ALL`] if there are none at all.
    pub through: Offset,
    /// So many.
    pub records: u64,
}

/// Stretches of one partition, of which each begins where the one before it ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stretches {
    through: Option<Offset>,
    records: u64,
}

impl Stretches {
    /// The first one begins where a partition ended before anything was handed over.
    pub fn behind(end: Offset) -> Stretches {
        Stretches { through: Some(end.before()), records: 0 }
    }

    /// What has come since the last call.
    pub fn next(&mut self, placed: &Placed) -> Stretch {
        if placed.last.is_some_and(|last| Some(last) < self.through) {
            self.through = None;
        }
        let after = self.through.or(placed.first.map(Offset::before)).unwrap_or(Offset::BEFORE_ALL);
        let records = placed.records - std::mem::replace(&mut self.records, placed.records);
        self.through = placed.last.max(self.through);
        Stretch { after, through: self.through.unwrap_or(Offset::BEFORE_ALL), records }
    }
}

/// All partitions of all topics of a producer. Bounded by the partitions that it wrote into.
#[derive(Debug, Default)]
pub(crate) struct Places(Vec<Vec<Placed>>);

impl Places {
    pub fn of(&mut self, topic: usize, partition: Partition) -> Option<&mut Placed> {
        let at = usize::try_from(partition.0).ok()?;
        if self.0.len() <= topic {
            self.0.resize_with(topic + 1, Vec::new);
        }
        let places = &mut self.0[topic];
        if places.len() <= at {
            places.resize_with(at + 1, Placed::default);
        }
        places.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(after: i64, through: i64, records: u64) -> Stretch {
        Stretch { after: Offset(after), through: Offset(through), records }
    }

    #[test]
    fn stretches_follow_each_other_and_begin_at_the_first_record() {
        let (mut placed, mut stretches) = (Placed::default(), Stretches::default());
        assert_eq!(stretches.next(&placed), stretch(-1, -1, 0), "nothing is written");
        [7, 9].into_iter().for_each(|at| placed.acknowledged(Some(Offset(at))));
        assert_eq!(stretches.next(&placed), stretch(6, 9, 2));
        assert_eq!(stretches.next(&placed), stretch(9, 9, 0));
        placed.acknowledged(Some(Offset(30)));
        assert_eq!(stretches.next(&placed), stretch(9, 30, 1));
        [2, 3].into_iter().for_each(|at| placed.acknowledged(Some(Offset(at))));
        assert_eq!(stretches.next(&placed), stretch(1, 3, 2), "the topic was made anew");
    }

    #[test]
    fn the_first_stretch_begins_behind_what_others_have_written() {
        let (mut placed, mut stretches) = (Placed::default(), Stretches::behind(Offset(5)));
        assert_eq!(stretches.next(&placed), stretch(4, 4, 0));
        placed.acknowledged(Some(Offset(8)));
        assert_eq!(stretches.next(&placed), stretch(4, 8, 1));
        assert_eq!(Stretches::behind(Offset(0)).next(&Placed::default()), stretch(-1, -1, 0));
    }

    #[test]
    fn one_that_stands_nobody_knows_where_stands_before_what_comes_next_or_the_end() {
        let mut placed = Placed::default();
        placed.acknowledged(None);
        assert!(placed.is_open);
        placed.end(Offset(12));
        assert_eq!((placed.is_open, Stretches::default().next(&placed)), (false, stretch(-1, 11, 1)));
        placed.acknowledged(None);
        placed.acknowledged(Some(Offset(20)));
        assert_eq!((placed.is_open, placed.last, placed.known()), (false, Some(Offset(20)), 3));
    }
}
