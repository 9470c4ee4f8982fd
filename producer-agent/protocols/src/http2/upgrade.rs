//! A connection that comes from HTTP/1.1 (RFC 7540, 3.2): its last request there is stream 1 here, and the answer to that comes in frames.

use super::stream::Stream;
use super::{Http2, Options};
use crate::stream::{Both, Mark, Reach};
use crate::{Direction, Position, Propagated};

/// The request, and where its answer begins.
#[derive(Clone, Debug)]
pub struct Upgrade {
    pub method: Box<str>,
    pub path: Box<str>,
    pub path_is_cut: bool,
    /// What its body has named.
    pub named: Option<Box<str>>,
    pub authority: Box<str>,
    pub propagated: Propagated,
    pub start: Mark,
    pub end: Mark,
    /// Behind the answer that agrees to go on with HTTP/2.
    pub response_from: Position,
    /// As [`Options`].
    pub path_bytes_max: u32,
}

impl Http2 {
    /// A connection that has been read up to there.
    pub(crate) fn upgraded(upgrade: &Upgrade, mut at: Both<Reach>) -> Self {
        let mut http2 = Self::new(Options { path_bytes_max: upgrade.path_bytes_max, ..Options::default() });
        at.response.position = Some(upgrade.response_from);
        http2.at = at;
        for direction in [Direction::Request, Direction::Response] {
            http2.start(direction, Position::START);
        }
        // The request has said so; with some of the client's settings, which are not read.
        http2.channels.request.is_proven = true;
        http2.forget_settings_of(Direction::Request);
        (http2.streams.last_id, http2.streams.seen_from) = (1, Some(1));
        http2.streams.insert(Stream::upgraded(upgrade));
        http2
    }
}
