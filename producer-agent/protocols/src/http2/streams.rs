//! The streams that are open, and how their exchanges leave.
//!
//! Bounds: `streams_max`, those included that are counted as lost and still said of; `bodies_max` of them have the beginning of a body.

use super::Http2;
use super::body::Body;
use super::outcome::REFUSED_STREAM;
use super::stream::{End, Stream};
use crate::{CloseReason, Direction, Event, Failure, LossReason, Recognition, Side, Sink};

/// In the order of their ids, in which they are opened.
#[derive(Debug, Default)]
pub struct Streams {
    open: Vec<Stream>,
    /// The newest one that was opened.
    pub last_id: u32,
    /// The first one that was opened since requests are seen without a gap; None if there is none.
    pub seen_from: Option<u32>,
    /// Those from the first to the second one that are not open have ended, or are counted.
    counted: Option<(u32, u32)>,
    /// Those behind this one were not processed: the server says so.
    pub refused_from: Option<u32>,
}

/// Room for so many streams is kept.
const SPARE_STREAMS_MAX: usize = 16;

impl Streams {
    pub fn find(&mut self, id: u32) -> Option<&mut Stream> {
        let at = self.open.binary_search_by_key(&id, |stream| stream.id).ok()?;
        self.open.get_mut(at)
    }

    pub fn insert(&mut self, stream: Stream) {
        if let Err(at) = self.open.binary_search_by_key(&stream.id, |stream| stream.id) {
            self.open.insert(at, stream);
        }
    }

    pub fn remove(&mut self, id: u32) -> Option<Stream> {
        let at = self.open.binary_search_by_key(&id, |stream| stream.id).ok()?;
        let removed = self.open.remove(at);
        if self.open.is_empty() && self.open.capacity() > SPARE_STREAMS_MAX {
            self.open = Vec::new();
        }
        Some(removed)
    }

    /// How many places are taken.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Nothing is open but what is counted as lost.
    pub fn is_empty(&self) -> bool {
        self.open.iter().all(|stream| stream.is_lost)
    }

    /// The body of a stream's request, where that may name something.
    pub fn body(&mut self, id: u32) -> Option<&mut Body> {
        self.find(id)?.body.as_deref_mut()
    }

    /// How many bodies' beginnings are kept.
    pub fn bodies(&self) -> usize {
        self.open.iter().flat_map(|stream| &stream.body).filter(|body| body.is_kept()).count()
    }

    pub fn is_refused(&self, id: u32) -> bool {
        self.refused_from.is_some_and(|from| id > from)
    }

    /// Whether a response tells of a request that was not seen, and that is not counted.
    pub fn is_unseen(&self, id: u32) -> bool {
        let is_counted = self.counted.is_some_and(|(from, to)| (from..=to).contains(&id));
        !is_counted && (id > self.last_id || self.seen_from.is_none_or(|from| id < from))
    }

    /// The newest one is counted as lost, and nothing will be known of its response.
    pub fn count_last(&mut self) {
        let (from, _) = self.counted.unwrap_or((self.last_id, 0));
        self.counted = Some((from, self.last_id));
    }

    /// What was said in a direction was missed, and all that was open is counted.
    pub fn forget(&mut self, direction: Direction) {
        self.counted = Some((0, self.last_id));
        if direction == Direction::Request {
            self.seen_from = None;
        }
    }

    pub fn take_all(&mut self) -> Vec<Stream> {
        std::mem::take(&mut self.open)
    }

    pub fn heap_bytes(&self) -> usize {
        let texts: usize = self.open.iter().map(Stream::heap_bytes).sum();
        self.open.capacity() * size_of::<Stream>() + texts
    }
}

impl Http2 {
    /// Lets an exchange out unless it is counted as lost.
    pub(super) fn emit(&mut self, stream: &Stream, end: Option<End>, sink: &mut Sink<'_>) {
        if stream.is_lost {
            return;
        }
        // As long as it is not known that this is HTTP/2 there is nothing to tell.
        if self.recognition() != Recognition::Recognised {
            return self.losses.lose(LossReason::StartedBeforeCapture, sink);
        }
        sink(Event::Exchange(stream.exchange(self.now_ns, end)));
        if stream.has_unknown(end) {
            self.losses.lose(LossReason::ValueUnknown, sink);
        }
    }

    /// Both halves may have ended.
    pub(super) fn end_half(&mut self, direction: Direction, id: u32, sink: &mut Sink<'_>) {
        let Some(stream) = self.streams.find(id) else { return };
        stream.half(direction).is_ended = true;
        if direction == Direction::Request {
            stream.end_body();
        }
        let is_done = stream.response.is_ended && (stream.request.is_ended || stream.is_lost);
        if is_done && let Some(stream) = self.streams.remove(id) {
            self.emit(&stream, None, sink);
        }
    }

    /// A side wants no more of a stream. The error is None if it was not captured.
    pub(super) fn reset(&mut self, direction: Direction, id: u32, error: Option<u32>, sink: &mut Sink<'_>) {
        let Some(stream) = self.streams.remove(id) else { return };
        let failure = match direction {
            Direction::Request => Failure::ClientLeft,
            Direction::Response => Failure::Reset,
        };
        // After the whole response it only says that the rest of the request is not needed.
        let end = (!stream.response.is_ended).then_some(End { failure, error });
        self.emit(&stream, end, sink);
    }

    /// The server has not processed the streams behind this one, and will not.
    pub(super) fn refuse(&mut self, last_id: u32, sink: &mut Sink<'_>) {
        let from = self.streams.refused_from.map_or(last_id, |from| from.min(last_id));
        self.streams.refused_from = Some(from);
        let all = self.streams.take_all();
        for stream in all {
            if stream.id > from && !stream.is_answered() {
                self.emit(&stream, Some(REFUSED), sink);
            } else {
                self.streams.insert(stream);
            }
        }
    }

    pub(super) fn lose_streams(&mut self, reason: LossReason, sink: &mut Sink<'_>) {
        for stream in self.streams.take_all() {
            if !stream.is_lost {
                self.losses.lose(reason, sink);
            }
        }
    }

    pub(super) fn close_streams(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        let is_request_cut =
            self.channels.request.block.as_ref().is_some_and(|block| block.stream > self.streams.last_id);
        if is_request_cut {
            self.losses.lose(LossReason::Unfinished, sink);
        }
        for stream in self.streams.take_all() {
            let is_complete = stream.response.is_ended;
            if how == CloseReason::Unobserved && !is_complete {
                if !stream.is_lost {
                    self.losses.lose(LossReason::Unfinished, sink);
                }
                continue;
            }
            let end = match how {
                _ if is_complete => None,
                _ if self.streams.is_refused(stream.id) && !stream.is_answered() => Some(REFUSED),
                _ => Some(End { failure: failure(&stream, how), error: None }),
            };
            self.emit(&stream, end, sink);
        }
    }
}

const REFUSED: End = End { failure: Failure::NoResponse, error: Some(REFUSED_STREAM) };

fn failure(stream: &Stream, how: CloseReason) -> Failure {
    let is_begun = stream.response.bytes > 0;
    match how {
        CloseReason::TimedOut => Failure::TimedOut,
        CloseReason::Finished { by: Side::Client } | CloseReason::Reset { by: Side::Client }
            if stream.is_answered() =>
        {
            Failure::ClientLeft
        }
        CloseReason::Reset { .. } => Failure::Reset,
        _ if is_begun => Failure::ResponseIncomplete,
        _ if !stream.request.is_ended => Failure::RequestIncomplete,
        _ => Failure::NoResponse,
    }
}
