//! One of the two topics that are judged, in the order in which its windows are closed.
//!
//! In: records of a partition of `edges` or `latencies`, and what closes their windows. Out: both as one, each record before the first that speaks of what stands so far.
//! So what is judged when is decided by what closes windows and the offsets that it names, however far the reading of records is ahead. Bounded:
//! what waits (the runtime stops reading).

use std::collections::VecDeque;

use headwater_schemas::place::Offset;
use headwater_schemas::records::WindowClosed;

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
        // Also where the topic was made anew.
        self.next = offset.next();
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

    /// The first that waits: of records, and of what closes windows.
    pub fn first_offsets(&self) -> [Option<Offset>; 2] {
        [self.records.front().map(|(offset, _)| *offset), self.closed.front().map(|(offset, _)| *offset)]
    }

    pub fn waiting(&self) -> usize {
        self.records.len() + self.closed.len()
    }
}
