//! Losses of a connection of which it is not known yet whether the protocol is spoken at all.

use crate::{Event, Loss, LossReason, Recognition, Sink};

/// Counts losses, and holds them back until the protocol was recognised.
#[derive(Debug)]
pub struct Losses {
    recognition: Recognition,
    deferred: Option<(LossReason, u32)>,
}

impl Losses {
    pub fn new() -> Self {
        Self { recognition: Recognition::Undecided, deferred: None }
    }

    /// Of a connection that is known to speak the protocol.
    pub fn recognised() -> Self {
        Self { recognition: Recognition::Recognised, deferred: None }
    }

    pub fn recognition(&self) -> Recognition {
        self.recognition
    }

    /// Counts one lost exchange, as soon as it is known that the protocol is spoken.
    pub fn lose(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        if self.recognition == Recognition::Recognised {
            sink(Event::Loss(Loss { reason, count: 1 }));
        } else {
            let (_, count) = self.deferred.get_or_insert((reason, 0));
            *count = count.saturating_add(1);
        }
    }

    /// Whether any will be counted once the protocol is recognised.
    pub fn are_held_back(&self) -> bool {
        self.deferred.is_some()
    }

    /// Something was seen that only this protocol says.
    pub fn recognise(&mut self, sink: &mut Sink<'_>) {
        if self.recognition == Recognition::Undecided {
            self.recognition = Recognition::Recognised;
            if let Some((reason, count)) = self.deferred.take() {
                sink(Event::Loss(Loss { reason, count: count.into() }));
            }
        }
    }

    /// What follows is not this protocol. If it never was, nothing was lost.
    pub fn become_foreign(&mut self) {
        self.deferred = None;
        self.recognition = Recognition::Foreign;
    }
}
