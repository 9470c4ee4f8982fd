//! The beginning of a request's body, where that may name what is asked for (`named.rs`).
//!
//! In: the content of a stream's DATA frames, as far as it was captured. Out: the name, or none. A body that begins in one piece with its name is looked at
//! where it is. Of one that comes in several frames or calls the beginning is kept until it is enough, a byte of it was not captured or the request ends.
//! What was cut off there has no name, never another one. Of a body that is no POST of JSON nothing is looked at, and of no call of gRPC.
//!
//! Bounds: [`BYTES_MAX`] bytes of a body, for which up to twice as many are allocated; how many bodies are kept at a time is the connection's to say.

use super::hpack::{Content, Fields};
use crate::named::{BYTES_MAX, Named};

/// What is known of a request's body.
#[derive(Debug)]
pub enum Body {
    /// It names nothing.
    Nameless,
    /// Nothing of it has come.
    Awaited(Named),
    /// Its first bytes, without a name so far.
    Kept(Named, Vec<u8>),
    /// It has named this.
    Name(Box<str>),
    /// It may have had a name: there was no room to keep its beginning.
    WithoutRoom,
}

impl Body {
    /// The body that follows a head, if it may name something.
    pub fn of(fields: &Fields) -> Option<Box<Self>> {
        let named = match (&fields.method, &fields.path, fields.content) {
            (Some(method), Some(path), Some(Content::Json)) => Named::by_json(method.as_str(), path.as_str()),
            _ => Named::Nothing,
        };
        (named != Named::Nothing).then(|| Box::new(Self::Awaited(named)))
    }

    /// What comes next of it may matter.
    pub fn may_name(&self) -> bool {
        matches!(self, Self::Awaited(_) | Self::Kept(..))
    }

    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(..))
    }

    pub fn had_no_room(&self) -> bool {
        matches!(self, Self::WithoutRoom)
    }

    /// Takes so many bytes that follow, of which the first ones were captured; `ends`: nothing follows them.
    pub fn take(&mut self, captured: &[u8], moved: u64, ends: bool) {
        let is_cut = (captured.len() as u64) < moved;
        let is_enough = |bytes: usize| ends || is_cut || bytes >= BYTES_MAX;
        match self {
            Self::Awaited(named) => {
                let named = *named;
                *self = match named.find(captured, u64::MAX) {
                    Some(name) => Self::Name(name.into()),
                    None if is_enough(captured.len()) || !named.may_begin(captured) => Self::Nameless,
                    None => Self::Kept(named, captured.to_vec()),
                };
            }
            Self::Kept(_, bytes) => {
                let room = BYTES_MAX.saturating_sub(bytes.len());
                bytes.extend_from_slice(&captured[..captured.len().min(room)]);
                if is_enough(bytes.len()) {
                    self.end();
                }
            }
            _ => {}
        }
    }

    /// Nothing follows of it: what was kept is let go.
    pub fn end(&mut self) {
        if self.may_name() {
            let name = self.name();
            *self = if name.is_empty() { Self::Nameless } else { Self::Name(name.into()) };
        }
    }

    /// There is no room to keep it.
    pub fn give_up(&mut self) {
        *self = Self::WithoutRoom;
    }

    /// Empty if nothing is named, as far as it has come.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Kept(named, bytes) => named.find(bytes, u64::MAX).unwrap_or_default(),
            _ => "",
        }
    }

    /// What is allocated for it, itself included.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Name(name) => size_of::<Self>() + name.len(),
            Self::Kept(_, bytes) => size_of::<Self>() + bytes.capacity(),
            _ => size_of::<Self>(),
        }
    }
}
