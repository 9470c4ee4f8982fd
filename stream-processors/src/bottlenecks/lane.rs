//! One of the two topics that are judged, in the order in which its windows are closed.
//!
//! In: records of a partition of `edges` or `latencies`, and what closes their windows. Out: both as one, each record before the first that speaks of what stands so far.
//! So what is judged when is decided by what closes windows and the offsets that it names, however far the reading of records is ahead. Bounded:
//! what waits (the runtime stops reading).

use std::collections::VecDeque;

use headwater_schemas::place::Offset;
use headwater_schemas::records::WindowClosed;

use super::window::FirstOffsets;

/// Records that nothing has spoken of yet: more are read only as far as something does.
const RECORDS_MAX: usize = 10_000;
const CLOSED_MAX: usize = 1_000;

/// What comes next.
pub enum Step<R> {
    Record(Offset, R),
    Closed(Offset, Box<WindowClosed>),
}

#[derive(Debug)]
pub struct Lane<R> {
    records: VecDeque<(Offset, R)>,
    closed: VecDeque<(Offset, Box<WindowClosed>)>,
    /// The record that is read next.
    next: Offset,
    /// The partition ended there a moment ago.
    end: Option<Offset>,
}

impl<R> Lane<R> {
    /// Reads on from a record.
    pub fn from(next: Offset) -> Lane<R> {
        Lane { records: VecDeque::new(), closed: VecDeque::new(), next, end: None }
    }

    /// The next record, if anything can be made of it.
    pub fn record(&mut self, offset: Offset, record: Option<R>) {
        // Also where the topic was made anew. It goes on, wherever it ended a moment ago.
        (self.next, self.end) = (offset.next(), None);
        self.records.extend(record.map(|record| (offset, record)));
    }

    /// Records up to here will never be read.
    pub fn deleted(&mut self, last: Offset) {
        self.next = self.next.max(last.next());
    }

    /// The partition ends there now.
    pub fn ends(&mut self, end: Offset) {
        self.end = Some(end);
    }

    /// The next thing that closes a window.
    pub fn closed(&mut self, offset: Offset, closed: WindowClosed) {
        self.closed.push_back((offset, Box::new(closed)));
    }

    /// What is next, if all is there that it needs.
    pub fn step(&mut self) -> Option<Step<R>> {
        if self.waits_for().is_some() {
            return None;
        }
        let through = Offset(self.closed.front()?.1.through_offset);
        match self.records.pop_front_if(|(offset, _)| *offset <= through) {
            Some((offset, record)) => Some(Step::Record(offset, record)),
            None => self.closed.pop_front().map(|(offset, closed)| Step::Closed(offset, closed)),
        }
    }

    /// The record without which nothing goes on.
    pub fn waits_for(&self) -> Option<Offset> {
        let through = Offset(self.closed.front()?.1.through_offset);
        let has_read = through < self.next || self.end.is_some_and(|end| end <= through);
        (!has_read).then_some(through)
    }

    pub fn wants_records(&self) -> bool {
        self.records.len() < RECORDS_MAX || self.waits_for().is_some()
    }

    pub fn wants_closed(&self) -> bool {
        self.closed.len() < CLOSED_MAX
    }

    /// The first that waits.
    pub fn first_offsets(&self) -> FirstOffsets {
        [self.records.front().map(|(offset, _)| *offset), self.closed.front().map(|(offset, _)| *offset)]
    }

    pub fn waiting(&self) -> usize {
        self.records.len() + self.closed.len()
    }
}

#[cfg(test)]
mod tests {
    use headwater_schemas::samples;

    use super::*;

    /// Everything that may be taken by now: numbers of records, and of windows behind a hundred.
    fn steps(lane: &mut Lane<i64>) -> Vec<i64> {
        let step = |step| match step {
            Step::Record(offset, record) => {
                assert_eq!(offset.0, record);
                record
            }
            Step::Closed(_, closed) => 100 + closed.window_start_us,
        };
        std::iter::from_fn(|| lane.step()).map(step).collect()
    }

    fn closed(window_start_us: i64, through_offset: i64) -> WindowClosed {
        WindowClosed { window_start_us, through_offset, ..samples::window_closed() }
    }

    fn lane(records: std::ops::Range<i64>, windows: &[(i64, i64)]) -> Lane<i64> {
        let mut lane = Lane::from(Offset::FIRST);
        records.for_each(|at| lane.record(Offset(at), Some(at)));
        windows.iter().for_each(|(window, through)| lane.closed(Offset(*window), closed(*window, *through)));
        lane
    }

    #[test]
    fn each_record_comes_before_the_first_that_speaks_of_it_and_none_before_that() {
        let windows = [(0, 1), (1, -1), (2, 1), (3, 4)];
        let expected = [0, 1, 100, 101, 102, 2, 3, 4, 103];
        // However far the one or the other was read ahead.
        assert_eq!(steps(&mut lane(0..6, &windows)), expected);
        let mut lane = lane(0..0, &windows);
        let mut came = Vec::new();
        for at in 0..6 {
            came.extend(steps(&mut lane));
            assert_eq!(lane.waits_for().is_some(), came.len() < expected.len());
            lane.record(Offset(at), Some(at));
        }
        assert_eq!(came, expected);
        assert_eq!(lane.first_offsets(), [Some(Offset(5)), None]);
    }

    #[test]
    fn what_is_not_there_any_more_is_not_waited_for() {
        let mut deleted = lane(0..1, &[(0, 3), (1, 6)]);
        assert_eq!((steps(&mut deleted), deleted.waits_for()), (vec![], Some(Offset(3))));
        deleted.deleted(Offset(4));
        assert_eq!((steps(&mut deleted), deleted.waits_for()), (vec![0, 100], Some(Offset(6))));

        let mut ended = lane(0..1, &[(0, 3), (1, 6)]);
        ended.ends(Offset(1));
        assert_eq!(steps(&mut ended), [0, 100, 101]);
        ended.closed(Offset(2), closed(2, 9));
        ended.record(Offset(1), Some(1));
        assert_eq!((steps(&mut ended), ended.waits_for()), (vec![], Some(Offset(9))), "it goes on");
    }

    #[test]
    fn more_is_read_only_where_something_waits_for_it() {
        let mut lane = lane(0..RECORDS_MAX as i64, &[]);
        assert!(!lane.wants_records() && lane.wants_closed());
        lane.closed(Offset(0), closed(0, RECORDS_MAX as i64));
        assert!(lane.wants_records());
    }
}
