//! One record as it stands in a topic.

use rdkafka::message::{BorrowedMessage, Headers, OwnedMessage};
use rdkafka::{Message as _, Timestamp};

use crate::{Offset, Partition};

/// A record that was read.
pub struct Message<'a> {
    inner: Inner<'a>,
}

enum Inner<'a> {
    Borrowed(BorrowedMessage<'a>),
    Owned(Box<OwnedMessage>),
}

macro_rules! each {
    ($self:ident, $message:ident => $value:expr) => {
        match &$self.inner {
            Inner::Borrowed($message) => $value,
            Inner::Owned($message) => $value,
        }
    };
}

impl<'a> Message<'a> {
    pub(crate) fn borrowed(message: BorrowedMessage<'a>) -> Message<'a> {
        Message { inner: Inner::Borrowed(message) }
    }

    pub(crate) fn owned(message: OwnedMessage) -> Message<'a> {
        Message { inner: Inner::Owned(Box::new(message)) }
    }

    /// The same for itself, where its reader is to be asked something before it is looked at.
    pub fn detached(self) -> Message<'static> {
        match self.inner {
            Inner::Borrowed(message) => Message::owned(message.detach()),
            Inner::Owned(message) => Message { inner: Inner::Owned(message) },
        }
    }

    pub fn topic(&self) -> &str {
        each!(self, message => message.topic())
    }

    pub fn partition(&self) -> Partition {
        Partition(each!(self, message => message.partition()))
    }

    pub fn offset(&self) -> Offset {
        Offset(each!(self, message => message.offset()))
    }

    /// When the producer made it, or the broker appended it, in milliseconds since the epoch; -1 if the record does not say.
    pub fn timestamp_ms(&self) -> i64 {
        each!(self, message => message.timestamp().to_millis().unwrap_or(-1))
    }

    /// Whether that is when the broker appended it, by the broker's clock (`message.timestamp.type=LogAppendTime`).
    pub fn is_stamped_by_broker(&self) -> bool {
        matches!(each!(self, message => message.timestamp()), Timestamp::LogAppendTime(_))
    }

    pub fn key(&self) -> Option<&[u8]> {
        each!(self, message => message.key())
    }

    pub fn value(&self) -> Option<&[u8]> {
        each!(self, message => message.payload())
    }

    /// The value of the first header with this name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        fn find<'h>(headers: Option<&'h impl Headers>, name: &str) -> Option<&'h [u8]> {
            headers?.iter().find(|header| header.key == name)?.value
        }
        each!(self, message => find(message.headers(), name))
    }
}
