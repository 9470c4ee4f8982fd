//! What is known of a channel: what waits on it, and the messages that are being moved.
//!
//! Bound: so many channels; of those beyond, what is asked is counted as lost.

use std::collections::BTreeMap;

use super::confirms::Confirms;
use super::exchanges::Asked;
use crate::asked::Queue;
use crate::stream::Both;

/// Clients have a few; RabbitMQ lets them have 2,047.
const CHANNELS_MAX: usize = 512;
/// Consumers of a channel that are known to need no acknowledgement.
const CONSUMERS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Channel {
    /// Asked by the client, and answered in order.
    pub calls: Queue<Asked>,
    /// Published, and confirmed by number.
    pub published: Queue<Asked>,
    /// Delivered, and acknowledged by number.
    pub delivered: Queue<Asked>,
    /// How messages that are published are confirmed.
    pub confirms: Confirms,
    /// The channel was seen from its beginning on.
    pub is_known: bool,
    /// The server has ended it, and does nothing that the client says there until it has agreed.
    pub is_ended: bool,
    /// Messages of which more has to come.
    pub contents: Both<Option<Content>>,
    /// Tags of consumers whose messages are not acknowledged.
    without_acknowledgement: Vec<Box<[u8]>>,
    /// There may be others.
    consumers_are_partial: bool,
}

/// A message that is being moved.
#[derive(Debug)]
pub(super) struct Content {
    pub asked: Asked,
    /// What it is when it has come.
    pub then: Then,
    /// Bytes of the body that have to come; None before the header.
    pub left: Option<u64>,
}

/// What becomes of a message that has been moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Published,
    Delivered,
    Got,
    Returned,
}

impl Channel {
    pub fn consume(&mut self, tag: &[u8], no_ack: bool) {
        self.without_acknowledgement.retain(|known| **known != *tag);
        if !no_ack {
        } else if self.without_acknowledgement.len() < CONSUMERS_MAX {
            self.without_acknowledgement.push(tag.into());
        } else {
            self.consumers_are_partial = true;
        }
    }

    /// Something was missed.
    pub fn miss_consumers(&mut self) {
        self.consumers_are_partial = true;
    }

    /// Whether a consumer acknowledges what it gets; None if that is not known.
    pub fn acknowledges(&self, tag: &[u8]) -> Option<bool> {
        if self.without_acknowledgement.iter().any(|known| **known == *tag) {
            Some(false)
        } else if self.is_known && !self.consumers_are_partial {
            Some(true)
        } else {
            None
        }
    }

    pub fn is_idle(&self) -> bool {
        self.calls.is_empty()
            && self.published.is_empty()
            && self.delivered.is_empty()
            && self.contents.request.is_none()
    }

    fn heap_bytes(&self) -> usize {
        self.calls.heap_bytes()
            + self.published.heap_bytes()
            + self.delivered.heap_bytes()
            + self.without_acknowledgement.iter().map(|tag| tag.len() + size_of::<Box<[u8]>>()).sum::<usize>()
    }
}

#[derive(Debug, Default)]
pub(super) struct Channels {
    all: BTreeMap<u16, Channel>,
}

impl Channels {
    /// The channel, which is made if it is not there; None beyond the bound.
    pub fn get(&mut self, number: u16) -> Option<&mut Channel> {
        if self.all.len() >= CHANNELS_MAX && !self.all.contains_key(&number) {
            return None;
        }
        Some(self.all.entry(number).or_default())
    }

    /// The channel, if anything was seen of it.
    pub fn known(&mut self, number: u16) -> Option<&mut Channel> {
        self.all.get_mut(&number)
    }

    pub fn numbers(&self) -> Vec<u16> {
        self.all.keys().copied().collect()
    }

    pub fn is_ended(&self, number: u16) -> bool {
        self.all.get(&number).is_some_and(|channel| channel.is_ended)
    }

    pub fn remove(&mut self, number: u16) -> Option<Channel> {
        self.all.remove(&number)
    }

    pub fn each(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.all.values_mut()
    }

    pub fn take(&mut self) -> impl Iterator<Item = Channel> + use<> {
        std::mem::take(&mut self.all).into_values()
    }

    pub fn is_idle(&self) -> bool {
        self.all.values().all(Channel::is_idle)
    }

    pub fn heap_bytes(&self) -> usize {
        let each = |channel: &Channel| size_of::<(u16, Channel)>() + channel.heap_bytes();
        self.all.values().map(each).sum()
    }
}
