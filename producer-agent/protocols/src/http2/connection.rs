//! The state of one connection, and how it is recognised, lost and found again.
//!
//! This is what the other files stand on: `frames.rs` reads the bytes, `answers.rs` gives what they say to the streams, `streams.rs` lets
//! the exchanges out.

use super::Options;
use super::frame::{HEAD_BYTES, Head, LENGTH_MAX_DEFAULT};
use super::hpack::Decoder;
use super::streams::Streams;
use crate::losses::Losses;
use crate::stream::{Both, Mark, Reach};
use crate::{Direction, LossReason, Position, Recognition, Sink};

/// HTTP/2 on one connection.
#[derive(Debug)]
pub struct Http2 {
    pub(super) options: Options,
    pub(super) losses: Losses,
    pub(super) now_ns: u64,
    pub(super) at: Both<Reach>,
    pub(super) channels: Both<Channel>,
    pub(super) streams: Streams,
    /// Why the request of an answer was not seen.
    pub(super) unseen: LossReason,
    /// One such request is counted already.
    pub(super) unseen_is_counted: bool,
}

/// What is known of one direction.
#[derive(Debug)]
pub struct Channel {
    pub state: State,
    pub decoder: Decoder,
    /// The longest frame that the other side has allowed at any time; None if that is not known.
    pub frame_bytes_max: Option<u32>,
    /// The call before was this head of a frame and nothing else, while nothing was known of the direction.
    pub lone_head: Option<LoneHead>,
    /// The header block that is not complete.
    pub block: Option<Block>,
    /// Its bytes, whose room is used again.
    pub block_bytes: Vec<u8>,
    /// The next frame is the first one of the connection.
    pub is_first: bool,
    /// Something was seen in it that only this protocol says.
    pub is_proven: bool,
}

#[derive(Debug)]
pub struct LoneHead {
    pub bytes: [u8; HEAD_BYTES],
    pub start: Mark,
}

#[derive(Debug)]
pub enum State {
    /// So many bytes of the preface have been read.
    Preface(u8),
    /// Within the head of a frame, or before it.
    Head {
        bytes: [u8; HEAD_BYTES],
        read: u8,
        start: Mark,
    },
    Payload(Payload),
    /// It is not known where a frame begins.
    Lost,
}

/// Within a frame, behind its head.
#[derive(Debug)]
pub struct Payload {
    pub head: Head,
    pub end: Position,
    /// Padding follows from here on.
    pub content_end: Position,
    /// Bytes before the content that are still to come.
    pub prefix_left: u8,
    /// The next byte is the length of the padding.
    pub awaits_padding: bool,
    /// The last bytes of a frame that says a few numbers.
    pub numbers: [u8; 8],
    pub numbers_read: u8,
    /// Some of its bytes were not captured.
    pub is_blind: bool,
}

/// A header block, from the head of its first frame on.
#[derive(Debug)]
pub struct Block {
    pub stream: u32,
    pub start: Mark,
    /// Of all of its frames so far.
    pub wire_bytes: u64,
    pub is_blind: bool,
    pub ends_stream: bool,
    /// It is the request that the server makes up for a promised stream.
    pub is_promise: bool,
}

/// Room for header blocks up to this size is kept.
const SPARE_BLOCK_BYTES_MAX: usize = 1024;

impl State {
    pub const BOUNDARY: Self =
        Self::Head { bytes: [0; HEAD_BYTES], read: 0, start: Mark { position: Position::START, at_ns: 0 } };
}

impl Channel {
    fn new(options: &Options) -> Self {
        Self {
            state: State::Lost,
            decoder: Decoder::new(options.table_bytes_max, options.path_bytes_max),
            frame_bytes_max: Some(LENGTH_MAX_DEFAULT),
            lone_head: None,
            block: None,
            block_bytes: Vec::new(),
            is_first: false,
            is_proven: false,
        }
    }

    pub fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost)
    }

    /// Where a frame begins is not known, nor what was said of the table.
    fn forget(&mut self) {
        self.state = State::Lost;
        self.decoder.forget();
        self.end_block();
    }

    pub fn end_block(&mut self) {
        self.block = None;
        self.block_bytes.clear();
        if self.block_bytes.capacity() > SPARE_BLOCK_BYTES_MAX {
            self.block_bytes = Vec::new();
        }
    }

    /// Settings of the other side may have been missed.
    fn forget_settings(&mut self) {
        self.frame_bytes_max = None;
        self.decoder.forget_limit();
    }
}

impl Http2 {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            losses: Losses::new(),
            now_ns: 0,
            at: Both::default(),
            channels: Both { request: Channel::new(&options), response: Channel::new(&options) },
            streams: Streams::default(),
            unseen: LossReason::StartedBeforeCapture,
            unseen_is_counted: false,
        }
    }

    /// A connection that is known to speak HTTP/2, in its middle.
    pub(super) fn at_boundary(options: Options) -> Self {
        let mut http2 = Self { losses: Losses::recognised(), ..Self::new(options) };
        for direction in [Direction::Request, Direction::Response] {
            http2.forget(direction);
            let channel = &mut http2.channels[direction];
            (channel.state, channel.is_proven) = (State::BOUNDARY, true);
        }
        http2
    }

    pub(super) fn start(&mut self, direction: Direction, position: Position) {
        if position == Position::START {
            let channel = &mut self.channels[direction];
            channel.state = if direction == Direction::Request { State::Preface(0) } else { State::BOUNDARY };
            channel.is_first = true;
        } else {
            self.forget(direction);
        }
    }

    fn forget(&mut self, direction: Direction) {
        self.channels[direction].forget();
        self.forget_settings_of(direction);
        self.channels[direction].is_first = false;
    }

    /// Settings of a side may have been missed.
    pub(super) fn forget_settings_of(&mut self, direction: Direction) {
        self.channels[direction.opposite()].forget_settings();
    }

    /// Where a frame begins is not known any more.
    pub(super) fn lose_direction(&mut self, direction: Direction, reason: LossReason, sink: &mut Sink<'_>) {
        let was_empty = self.streams.is_empty();
        self.lose_streams(reason, sink);
        // Requests of which nothing was seen are at least one. Its answer is not another one, if that is seen.
        self.unseen_is_counted = was_empty && direction == Direction::Request;
        if self.unseen_is_counted {
            self.losses.lose(reason, sink);
        }
        if direction == Direction::Request {
            self.unseen = reason;
        }
        self.streams.forget(direction);
        self.forget(direction);
    }

    /// Something was seen that HTTP/2 does not say.
    pub(super) fn take_malformed(&mut self, direction: Direction, sink: &mut Sink<'_>) {
        if self.recognition() == Recognition::Undecided && self.channels[direction].is_first {
            return self.become_foreign();
        }
        let reason = match direction {
            Direction::Request => LossReason::MalformedRequest,
            Direction::Response => LossReason::MalformedResponse,
        };
        self.lose_direction(direction, reason, sink);
    }

    /// Something was seen in a direction that only HTTP/2 says.
    pub(super) fn prove(&mut self, direction: Direction, sink: &mut Sink<'_>) {
        self.channels[direction].is_proven = true;
        if self.channels.request.is_proven && self.channels.response.is_proven {
            self.losses.recognise(sink);
        }
    }

    pub(super) fn recognition(&self) -> Recognition {
        self.losses.recognition()
    }

    /// Frees everything and takes no more.
    pub(super) fn become_foreign(&mut self) {
        self.losses.become_foreign();
        self.channels.request = Channel::new(&self.options);
        self.channels.response = Channel::new(&self.options);
        self.streams = Streams::default();
    }

    pub(super) fn has_nothing_open(&self) -> bool {
        let is_between = |channel: &Channel| {
            channel.block.is_none()
                && matches!(channel.state, State::Head { read: 0, .. } | State::Lost | State::Preface(_))
        };
        let is_between = is_between(&self.channels.request) && is_between(&self.channels.response);
        self.streams.is_empty() && is_between
    }

    pub(super) fn heap_bytes_of_parts(&self) -> usize {
        let of = |channel: &Channel| channel.block_bytes.capacity() + channel.decoder.heap_bytes();
        of(&self.channels.request) + of(&self.channels.response) + self.streams.heap_bytes()
    }
}
