//! Which threads moved the first bytes of what is asked and answered on a connection: evidence for traces.
//!
//! In: the calls that the probes tell of, in their order: those of one thread come in that in which it made them. Out: the call of a time. Bounds: the call that began the newest turn of each direction is kept, and the last
//! [`RECENT_MAX`] calls that began none; of what began in another one, the thread is not known.

use std::collections::VecDeque;

use headwater_probe_loader::types::DataEvent;
use headwater_protocols::Direction;

/// Enough for a few streams, or requests behind one another, at a time.
const RECENT_MAX: usize = 16;

/// One call of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    at_ns: u64,
    /// Of the machine; 0 if it is not known.
    pub thread: u32,
    /// The how-manieth call that was told of, of all threads; 0 if that is not known.
    pub call: i64,
}

/// The calls of one connection. One that is idle has none.
#[derive(Default)]
pub struct Callers(Option<Box<Calls>>);

#[derive(Default)]
struct Calls {
    /// By direction.
    turns: [Caller; 2],
    newest: Option<Direction>,
    recent: VecDeque<(Direction, Caller)>,
}

impl Callers {
    /// `outlives_turn`: what is asked may still be open when its side begins to say something else.
    pub fn note(&mut self, way: Direction, (event, call): (&DataEvent, i64), outlives_turn: bool) {
        let calls = self.0.get_or_insert_default();
        let caller = Caller { at_ns: event.at_ns, thread: event.thread, call };
        let (begins, newest) = (calls.newest.replace(way) != Some(way), calls.turn(way));
        let is_part = |last: &Caller| last.at_ns == caller.at_ns;
        // The parts of one call are told of one by one.
        if !begins && (is_part(newest) || calls.recent.back().is_some_and(|(_, last)| is_part(last))) {
            return;
        }
        let older = if begins { std::mem::replace(calls.turn(way), caller) } else { caller };
        if !begins || (outlives_turn && older.at_ns != 0) {
            if calls.recent.len() == RECENT_MAX {
                calls.recent.pop_front();
            }
            calls.recent.push_back((way, older));
        }
    }

    /// The call of this time.
    pub fn at(&self, way: Direction, at_ns: u64) -> Caller {
        let Some(calls) = &self.0 else { return Caller::default() };
        let recent = calls.recent.iter().rev().filter(|(of, _)| *of == way).map(|(_, caller)| caller);
        [&calls.turns[way as usize]]
            .into_iter()
            .chain(recent)
            .find(|caller| caller.at_ns == at_ns)
            .copied()
            .unwrap_or_default()
    }

    /// Nothing is open any more.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    pub fn heap_bytes(&self) -> usize {
        let of = |calls: &Calls| size_of::<Calls>() + calls.recent.capacity() * size_of::<(Direction, Caller)>();
        self.0.as_deref().map_or(0, of)
    }
}

impl Calls {
    fn turn(&mut self, way: Direction) -> &mut Caller {
        &mut self.turns[way as usize]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::observe::tests::data;
    use Direction::{Request, Response};

    fn note(callers: &mut Callers, way: Direction, at_ns: u64, thread: u32, outlives_turn: bool) {
        callers.note(way, (&DataEvent { thread, ..data(1, 0, at_ns, 10, 0) }, at_ns as i64), outlives_turn);
    }

    #[test]
    fn the_call_that_began_a_turn_is_known_however_long_it_is() {
        let mut callers = Callers::default();
        for at_ns in 1..100 {
            note(&mut callers, Request, at_ns, 7, false);
        }
        note(&mut callers, Response, 100, 8, false);
        assert_eq!(callers.at(Request, 1), Caller { at_ns: 1, thread: 7, call: 1 });
        assert_eq!(callers.at(Response, 100).thread, 8);
        // One in the middle is forgotten, and nothing is taken for it.
        assert_eq!(callers.at(Request, 50), Caller::default());
        assert_eq!(callers.at(Response, 1), Caller::default());
        assert_eq!(callers.0.unwrap().recent.len(), RECENT_MAX);
    }

    #[test]
    fn where_requests_are_asked_one_by_one_nothing_is_kept_of_those_before() {
        let mut callers = Callers::default();
        for at_ns in 1..100 {
            note(&mut callers, if at_ns % 2 == 1 { Request } else { Response }, at_ns, 7, false);
        }
        assert_eq!((callers.at(Request, 99).thread, callers.at(Response, 98).thread), (7, 7));
        assert_eq!((callers.at(Request, 97).thread, callers.heap_bytes()), (0, size_of::<Calls>()));
    }

    #[test]
    fn of_several_requests_at_a_time_each_has_its_own() {
        let mut callers = Callers::default();
        for (at_ns, thread) in [(1, 7), (2, 8), (3, 9)] {
            note(&mut callers, Request, at_ns, thread, true);
            note(&mut callers, Response, 10 + at_ns, 1, true);
        }
        // The second part of a call.
        note(&mut callers, Response, 13, 2, true);
        assert_eq!([1, 2, 3].map(|at_ns| callers.at(Request, at_ns).thread), [7, 8, 9]);
        assert_eq!(callers.at(Response, 13).thread, 1);
        callers.forget();
        assert_eq!((callers.heap_bytes(), callers.at(Request, 3).thread), (0, 0));
    }
}
