//! What a client has subscribed to: it tells whether the answer to a request comes on the same connection.
//!
//! Bound: so many subscriptions; where there are more, or some were not seen, it is not known of others.

use crate::resource::BYTES_MAX;

const SUBSCRIPTIONS_MAX: usize = 256;

/// Whether what is sent to a subject comes back on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Here,
    Elsewhere,
    Unknown,
}

#[derive(Debug)]
struct Subscription {
    id: Box<[u8]>,
    subject: Box<[u8]>,
    /// It ends after so many messages.
    left: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Subscriptions {
    known: Vec<Subscription>,
    /// There may be others.
    is_partial: bool,
    /// Some end after a number of messages.
    has_limits: bool,
}

impl Subscriptions {
    /// Of a connection from its beginning on.
    pub fn none() -> Self {
        Self { known: Vec::new(), is_partial: false, has_limits: false }
    }

    /// Some were not seen.
    pub fn miss(&mut self) {
        self.is_partial = true;
    }

    pub fn add(&mut self, id: &[u8], subject: &[u8]) {
        if self.known.len() >= SUBSCRIPTIONS_MAX || subject.len() > BYTES_MAX || id.len() > BYTES_MAX {
            self.is_partial = true;
        } else {
            self.known.push(Subscription { id: id.into(), subject: subject.into(), left: None });
        }
    }

    /// What the subscription is to, if that is known.
    pub fn subject(&self, id: &[u8]) -> Option<&[u8]> {
        self.known.iter().find(|known| *known.id == *id).map(|known| &*known.subject)
    }

    /// It ends at once, or after so many messages.
    pub fn end(&mut self, id: &[u8], after: Option<u64>) {
        let Some(at) = self.known.iter().position(|known| *known.id == *id) else { return };
        if after.is_some_and(|after| after > 0) {
            self.known[at].left = after;
            self.has_limits = true;
        } else {
            self.known.swap_remove(at);
        }
    }

    /// A message came for it.
    pub fn delivered(&mut self, id: &[u8]) {
        if !self.has_limits {
            return;
        }
        if let Some(known) = self.known.iter_mut().find(|known| *known.id == *id)
            && let Some(left) = &mut known.left
        {
            *left -= 1;
            if *left == 0 {
                self.end(id, None);
            }
        }
        self.has_limits = self.known.iter().any(|known| known.left.is_some());
    }

    pub fn awaited(&self, subject: &[u8]) -> Awaited {
        if self.known.iter().any(|known| matches(&known.subject, subject)) {
            Awaited::Here
        } else if self.is_partial {
            Awaited::Unknown
        } else {
            Awaited::Elsewhere
        }
    }

    pub fn heap_bytes(&self) -> usize {
        let each = |known: &Subscription| known.id.len() + known.subject.len();
        self.known.capacity() * size_of::<Subscription>() + self.known.iter().map(each).sum::<usize>()
    }
}

/// Whether a subject is one that a subscription is to: `*` stands for a word, `>` for one or more.
fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    let is_dot = |byte: &u8| *byte == b'.';
    let (mut pattern, mut subject) = (pattern.split(is_dot), subject.split(is_dot));
    loop {
        match (pattern.next(), subject.next()) {
            (None, None) => return true,
            (Some(b">"), Some(_)) => return true,
            (Some(b"*"), Some(_)) => {}
            (Some(expected), Some(word)) if expected == word => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_words() {
        for (pattern, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("*.b", "a.b", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), subject.as_bytes()), expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn what_ends_is_forgotten_and_what_is_beyond_the_bound_is_not_known() {
        let mut subscriptions = Subscriptions::none();
        subscriptions.add(b"1", b"_INBOX.a");
        subscriptions.end(b"1", Some(2));
        subscriptions.delivered(b"1");
        assert_eq!(subscriptions.awaited(b"_INBOX.a"), Awaited::Here);
        subscriptions.delivered(b"1");
        assert_eq!(subscriptions.awaited(b"_INBOX.a"), Awaited::Elsewhere);
        for id in 0..=SUBSCRIPTIONS_MAX {
            subscriptions.add(id.to_string().as_bytes(), b"x");
        }
        assert_eq!(subscriptions.awaited(b"_INBOX.a"), Awaited::Unknown);
        assert!(subscriptions.heap_bytes() < 64 * 1024);
    }
}
