//! What is asked and answered by one message each, or by several: the part that is alike in all protocols that speak so.
//!
//! In: where both begin and end. Out: the exchange, as far as that says it; what becomes of what is open at the end; and a queue of it that knows
//! what it takes.

use std::collections::VecDeque;
use std::collections::vec_deque::{Iter, IterMut};
use std::ops::{Index, IndexMut};

use crate::stream::Mark;
use crate::{CloseReason, Code, Exchange, Failure, Kind, Messages, Outcome, Propagated, Side};

/// Where something that is asked begins and ends, and what answers it.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub start: Mark,
    pub end: Mark,
    /// The first byte of the answer, and the end of it or of what has come of it.
    pub answer: Option<(Mark, Mark)>,
}

impl Span {
    /// The exchange, which went as it should; what else there is to tell is for the protocol to add.
    pub fn exchange<'a>(&self, protocol: &'static str, method: &'a str, now_ns: u64) -> Exchange<'a> {
        Exchange {
            request_position: self.start.position,
            response_position: self.answer.map(|(start, _)| start.position),
            method,
            path: "",
            path_truncated: false,
            named: "",
            resource: "",
            addresses: &[],
            propagated: Propagated::default(),
            status: None,
            request_bytes: self.end.position.since(self.start.position),
            response_bytes: self.answer.map_or(0, |(start, end)| end.position.since(start.position)),
            request_started_ns: self.start.at_ns,
            request_ended_ns: self.end.at_ns,
            response_started_ns: self.answer.map(|(start, _)| start.at_ns),
            response_ended_ns: self.answer.map(|(_, end)| end.at_ns),
            completed_ns: now_ns,
            protocol,
            kind: Kind::Call,
            outcome: Outcome::Ok,
            code: Code::default(),
            failure: None,
            messages: Messages::default(),
        }
    }
}

impl CloseReason {
    /// What becomes of something that is open when the connection ends so; `begun` says whether a part of its answer has come. None: nobody
    /// will see what becomes of it.
    pub(crate) fn of_open(self, begun: bool) -> Option<(Failure, Outcome)> {
        let failure = match self {
            Self::Unobserved => return None,
            Self::TimedOut => Failure::TimedOut,
            Self::Finished { by: Side::Client } | Self::Reset { by: Side::Client } if begun => Failure::ClientLeft,
            Self::Reset { .. } => Failure::Reset,
            Self::Finished { .. } if begun => Failure::ResponseIncomplete,
            Self::Finished { .. } => Failure::NoResponse,
        };
        let outcome = match (failure, begun) {
            (Failure::ClientLeft, _) => Outcome::Unknown,
            (_, true) => Outcome::ServerError,
            (_, false) => Outcome::Unanswered,
        };
        Some((failure, outcome))
    }
}

/// Something that waits in a [`Queue`].
pub trait Waits {
    /// What is allocated for it, itself not included. It stays the same as long as it waits.
    fn heap_bytes(&self) -> usize;
}

/// What waits for its answer, in the order in which it was asked.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: VecDeque<T>,
    bytes: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0 }
    }
}

impl<T: Waits> Queue<T> {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn push(&mut self, waits: T) {
        self.bytes += waits.heap_bytes();
        self.waiting.push_back(waits);
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<T> {
        self.remove(0)
    }

    pub fn pop_if(&mut self, takes: impl FnOnce(&T) -> bool) -> Option<T> {
        if self.waiting.front().is_some_and(takes) { self.pop() } else { None }
    }

    pub fn remove(&mut self, at: usize) -> Option<T> {
        let waits = self.waiting.remove(at)?;
        self.bytes -= waits.heap_bytes();
        Some(waits)
    }

    /// Takes all that are such, in their order.
    pub fn take(&mut self, is_it: impl FnMut(&T) -> bool) -> Vec<T> {
        let (taken, left) = std::mem::take(&mut self.waiting).into_iter().partition::<Vec<T>, _>(is_it);
        self.waiting = left.into();
        self.bytes -= taken.iter().map(T::heap_bytes).sum::<usize>();
        taken
    }

    /// Where the first is that is such.
    pub fn position(&self, is_it: impl FnMut(&T) -> bool) -> Option<usize> {
        self.waiting.iter().position(is_it)
    }

    pub fn first(&self) -> Option<&T> {
        self.waiting.front()
    }

    pub fn iter(&self) -> Iter<'_, T> {
        self.waiting.iter()
    }

    pub fn iter_mut(&mut self) -> IterMut<'_, T> {
        self.waiting.iter_mut()
    }

    /// What is allocated for all.
    pub fn heap_bytes(&self) -> usize {
        self.waiting.capacity() * size_of::<T>() + self.bytes
    }
}

impl<T> Index<usize> for Queue<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        &self.waiting[at]
    }
}

impl<T> IndexMut<usize> for Queue<T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.waiting[at]
    }
}
