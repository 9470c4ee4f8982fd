//! What a client has asked and the server has not answered yet, in the order in which it answers.
//!
//! In: messages of the client. Out: the steps that they are, and the exchanges that steps make up.
//!
//! A **group** is an exchange's messages: what stands before an Execute, from the last Execute, Flush or Sync on. A **unit** is what one
//! ReadyForQuery ends: a Query, a call of a function, or all up to a Sync.

use std::collections::VecDeque;

use crate::statements::{Name, Operation};
use crate::stream::Mark;

#[derive(Debug)]
pub(super) struct Step {
    pub what: What,
    /// Where the group begins that it belongs to.
    pub group: Mark,
    pub end: Mark,
}

/// A name that was not captured is None.
#[derive(Debug)]
pub(super) enum What {
    Startup,
    Query(Operation),
    FunctionCall,
    Parse { name: Option<Name>, operation: Operation },
    Bind { portal: Option<Name>, statement: Option<Name> },
    Describe { is_portal: bool, name: Option<Name> },
    Close { is_portal: bool, name: Option<Name> },
    Execute { portal: Option<Name> },
    Sync,
    CopyData,
    CopyEnd,
}

impl Step {
    /// Something that an exchange is made of.
    pub fn is_executed(&self) -> bool {
        matches!(self.what, What::Query(_) | What::FunctionCall | What::Execute { .. })
    }

    /// The server says that it is ready once it is done.
    pub fn ends_unit(&self) -> bool {
        matches!(self.what, What::Startup | What::Query(_) | What::FunctionCall | What::Sync)
    }

    pub fn is_copied(&self) -> bool {
        matches!(self.what, What::CopyData | What::CopyEnd)
    }

    /// What is allocated for it.
    pub fn heap_bytes(&self) -> usize {
        let name = |name: &Option<Name>| name.as_ref().map_or(0, |name| name.len());
        let of = |operation: &Operation| operation.as_ref().map_or(0, |text| text.len() + 2 * size_of::<usize>());
        match &self.what {
            What::Query(operation) => of(operation),
            What::Parse { name: statement, operation } => name(statement) + of(operation),
            What::Bind { portal, statement } => name(portal) + name(statement),
            What::Describe { name: of, .. } | What::Close { name: of, .. } | What::Execute { portal: of } => name(of),
            What::Startup | What::FunctionCall | What::Sync | What::CopyData | What::CopyEnd => 0,
        }
    }
}

/// Steps in their order, with what is allocated for them.
#[derive(Debug, Default)]
pub(super) struct Steps {
    steps: VecDeque<Step>,
    bytes: usize,
}

impl Steps {
    pub fn push(&mut self, step: Step) {
        self.bytes += step.heap_bytes();
        self.steps.push_back(step);
    }

    pub fn pop(&mut self) -> Option<Step> {
        let step = self.steps.pop_front()?;
        self.bytes -= step.heap_bytes();
        // The room of a burst is given back.
        if self.steps.is_empty() && self.steps.capacity() > 16 {
            self.steps = VecDeque::new();
        }
        Some(step)
    }

    pub fn front(&self) -> Option<&Step> {
        self.steps.front()
    }

    /// Puts a step back that was popped.
    pub fn push_front(&mut self, step: Step) {
        self.bytes += step.heap_bytes();
        self.steps.push_front(step);
    }

    pub fn back_mut(&mut self) -> Option<&mut Step> {
        self.steps.back_mut()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Step> + Clone {
        self.steps.iter()
    }

    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The last step that is not copied data is the end of a unit.
    pub fn ends_with_unit(&self) -> bool {
        self.steps.iter().rev().find(|step| !step.is_copied()).is_some_and(Step::ends_unit)
    }

    pub fn heap_bytes(&self) -> usize {
        self.steps.capacity() * size_of::<Step>() + self.bytes
    }

    /// What is allocated for what the steps hold.
    pub fn held_bytes(&self) -> usize {
        self.bytes
    }
}
