//! Reads frames, one direction at a time.
//!
//! In: the bytes of calls, and gaps. Out: header blocks, data, resets and settings, each as soon as it is complete.

use super::Http2;
use super::connection::{Block, LoneHead, Payload, State};
use super::frame::{self, HEAD_BYTES, Head, LENGTH_MAX_EVER, PREFACE, kind};
use crate::cursor::Cursor;
use crate::stream::Mark;
use crate::{Direction, LossReason, Position, Recognition, Sink};

/// SETTINGS of which a parser must know (RFC 9113, 6.5.2).
const HEADER_TABLE_SIZE: u16 = 1;
const MAX_FRAME_SIZE: u16 = 5;
const SETTING_BYTES: usize = 6;

/// What one call moved of a frame's content.
struct Piece<'a> {
    /// Its first bytes.
    captured: &'a [u8],
    moved: u64,
    at_ns: u64,
    /// Nothing but padding follows in the frame.
    ends_frame: bool,
}

impl Http2 {
    pub(super) fn read_frames(&mut self, direction: Direction, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        if self.channels[direction].is_lost() && !self.find_frames(direction, &cursor) {
            return;
        }
        while !cursor.is_done() && self.recognition() != Recognition::Foreign {
            match std::mem::replace(&mut self.channels[direction].state, State::Lost) {
                State::Preface(read) => self.read_preface(read, &mut cursor, sink),
                State::Head { bytes, read, start } => {
                    self.read_head(direction, (bytes, read, start), &mut cursor, sink)
                }
                State::Payload(payload) => self.read_payload(direction, payload, &mut cursor, sink),
                State::Lost => return,
            }
        }
    }

    /// Whether frames fill a call, or a call that was a head alone and this one, so that a direction can be followed again.
    fn find_frames(&mut self, direction: Direction, cursor: &Cursor<'_>) -> bool {
        let channel = &mut self.channels[direction];
        let length_max = channel.frame_bytes_max.unwrap_or(LENGTH_MAX_EVER);
        let (start, length) = (cursor.mark(), cursor.end.since(cursor.position));
        if let Some(LoneHead { bytes, start: before }) = channel.lone_head.take()
            && before.position.saturating_add(HEAD_BYTES as u64) == start.position
            && u64::from(Head::of(&bytes).length) == length
        {
            channel.state = State::Head { bytes, read: HEAD_BYTES as u8, start: before };
            return true;
        }
        let fill = frame::fill(cursor.captured, length, direction, length_max);
        if fill {
            channel.state = State::BOUNDARY;
        } else if length == HEAD_BYTES as u64
            && let Some(bytes) = cursor.captured.first_chunk()
            && Head::of(bytes).is_plausible(direction, length_max)
            && Head::of(bytes).kind != kind::DATA
        {
            channel.lone_head = Some(LoneHead { bytes: *bytes, start });
        }
        fill
    }

    fn read_preface(&mut self, read: u8, cursor: &mut Cursor<'_>, sink: &mut Sink<'_>) {
        let expected = &PREFACE[usize::from(read)..];
        let seen = &cursor.captured[..cursor.captured.len().min(expected.len())];
        if !expected.starts_with(seen) {
            return self.become_foreign();
        }
        let moved = expected.len().min(usize::try_from(cursor.end.since(cursor.position)).unwrap_or(usize::MAX));
        if seen.len() < moved {
            return self.lose_direction(Direction::Request, LossReason::HeadNotCaptured, sink);
        }
        cursor.skip(moved);
        let read = read + moved as u8;
        let is_whole = usize::from(read) == PREFACE.len();
        self.channels.request.state = if is_whole { State::BOUNDARY } else { State::Preface(read) };
    }

    fn read_head(
        &mut self,
        direction: Direction,
        (mut bytes, read, start): ([u8; HEAD_BYTES], u8, Mark),
        cursor: &mut Cursor<'_>,
        sink: &mut Sink<'_>,
    ) {
        let start = if read == 0 { cursor.mark() } else { start };
        let wanted = &mut bytes[usize::from(read)..];
        let moved = wanted.len().min(usize::try_from(cursor.end.since(cursor.position)).unwrap_or(usize::MAX));
        let Some(seen) = cursor.captured.get(..moved) else {
            return self.lose_direction(direction, LossReason::HeadNotCaptured, sink);
        };
        wanted[..moved].copy_from_slice(seen);
        cursor.skip(moved);
        let read = read + moved as u8;
        if usize::from(read) < HEAD_BYTES {
            self.channels[direction].state = State::Head { bytes, read, start };
            return;
        }
        self.begin_frame(direction, Head::of(&bytes), start, cursor.mark(), sink);
    }

    fn begin_frame(&mut self, direction: Direction, head: Head, start: Mark, mark: Mark, sink: &mut Sink<'_>) {
        let channel = &mut self.channels[direction];
        let continues = channel.block.as_ref().map(|block| block.stream);
        let is_in_order = continues == (head.kind == kind::CONTINUATION).then_some(head.stream);
        let is_valid = head.is_valid(channel.frame_bytes_max.unwrap_or(LENGTH_MAX_EVER));
        if !is_in_order || !is_valid || (channel.is_first && !head.is_first()) {
            return self.take_malformed(direction, sink);
        }
        if std::mem::take(&mut channel.is_first) {
            self.prove(direction, sink);
        }
        let channel = &mut self.channels[direction];
        if head.has_block() {
            let block = channel.block.get_or_insert(Block {
                stream: head.stream,
                start,
                wire_bytes: 0,
                is_blind: false,
                ends_stream: head.kind == kind::HEADERS && head.has(frame::END_STREAM),
                is_promise: head.kind == kind::PUSH_PROMISE,
            });
            block.wire_bytes = block.wire_bytes.saturating_add(HEAD_BYTES as u64);
        }
        let end = mark.position.saturating_add(u64::from(head.length));
        let payload = Payload {
            head,
            end,
            content_end: end,
            prefix_left: head.prefix_bytes(),
            awaits_padding: head.is_padded(),
            numbers: [0; 8],
            numbers_read: 0,
            is_blind: false,
        };
        if head.kind == kind::DATA {
            self.begin_data(direction, head.stream, mark.at_ns, sink);
        }
        self.go_on(direction, payload, mark, sink);
    }

    fn read_payload(
        &mut self,
        direction: Direction,
        mut payload: Payload,
        cursor: &mut Cursor<'_>,
        sink: &mut Sink<'_>,
    ) {
        while payload.prefix_left > 0 && !cursor.is_done() {
            let byte = cursor.captured.first().copied();
            if std::mem::take(&mut payload.awaits_padding) {
                // Without it nobody knows where the content ends.
                payload.is_blind |= byte.is_none();
                let padding = u64::from(byte.unwrap_or_default());
                let room = payload.end.since(cursor.position).saturating_sub(u64::from(payload.prefix_left));
                if padding > room {
                    return self.take_malformed(direction, sink);
                }
                payload.content_end = Position(payload.end.0 - padding);
            }
            payload.prefix_left -= 1;
            self.count(direction, &payload, 1, cursor.at_ns);
            cursor.skip(1);
        }
        let content = Cursor { end: cursor.end.min(payload.content_end), ..*cursor };
        if payload.prefix_left == 0 && !content.is_done() {
            let moved = content.end.since(content.position);
            let captured = content.captured.len().min(usize::try_from(moved).unwrap_or(usize::MAX));
            let piece = Piece {
                captured: &content.captured[..captured],
                moved,
                at_ns: content.at_ns,
                ends_frame: content.end == payload.content_end,
            };
            self.read_content(direction, &mut payload, &piece);
        }
        let stop = payload.end.min(cursor.end);
        self.count(direction, &payload, stop.since(cursor.position), cursor.at_ns);
        cursor.skip_to(stop);
        self.go_on(direction, payload, cursor.mark(), sink);
    }

    /// Counts bytes of a frame to where they belong.
    fn count(&mut self, direction: Direction, payload: &Payload, moved: u64, at_ns: u64) {
        if let Some(block) = &mut self.channels[direction].block {
            block.wire_bytes = block.wire_bytes.saturating_add(moved);
        } else if payload.head.kind == kind::DATA
            && let Some(stream) = self.streams.find(payload.head.stream)
        {
            stream.half(direction).moved(moved, at_ns);
        }
    }

    fn read_content(&mut self, direction: Direction, payload: &mut Payload, piece: &Piece<'_>) {
        let captured = piece.captured;
        payload.is_blind |= (captured.len() as u64) < piece.moved;
        match payload.head.kind {
            kind::DATA => {
                let Some(stream) = self.streams.find(payload.head.stream) else { return };
                // Without the length of the padding what follows may be padding.
                let captured = if payload.head.is_padded() && payload.is_blind { &[] } else { captured };
                stream.half(direction).data(captured, piece.moved, piece.at_ns);
                if direction == Direction::Request && stream.body.as_ref().is_some_and(|body| body.may_name()) {
                    let ends = piece.ends_frame && payload.head.has(frame::END_STREAM);
                    self.read_body(payload.head.stream, captured, piece.moved, ends);
                }
            }
            _ if payload.head.has_block() => {
                let room_max = self.options.block_bytes_max as usize;
                let channel = &mut self.channels[direction];
                let Some(block) = &mut channel.block else { return };
                let room = room_max.saturating_sub(channel.block_bytes.len());
                if !block.is_blind {
                    channel.block_bytes.extend_from_slice(&captured[..captured.len().min(room)]);
                }
                block.is_blind |= payload.is_blind || captured.len() > room;
            }
            kind::SETTINGS | kind::RST_STREAM | kind::GOAWAY => {
                for byte in captured {
                    if let Some(place) = payload.numbers.get_mut(usize::from(payload.numbers_read)) {
                        *place = *byte;
                        payload.numbers_read += 1;
                    }
                    if payload.head.kind == kind::SETTINGS && usize::from(payload.numbers_read) == SETTING_BYTES {
                        payload.numbers_read = 0;
                        self.take_setting(direction, payload.numbers);
                    }
                }
                if payload.head.kind == kind::SETTINGS && payload.is_blind {
                    self.forget_settings_of(direction);
                }
            }
            _ => {}
        }
    }

    /// Looks at a part of a body that may name what is asked for; `ends`: it is the last one.
    fn read_body(&mut self, id: u32, captured: &[u8], moved: u64, ends: bool) {
        let Some(body) = self.streams.body(id) else { return };
        let was_kept = body.is_kept();
        body.take(captured, moved, ends);
        let is_new = body.is_kept() && !was_kept;
        if is_new
            && self.streams.bodies() > self.options.bodies_max as usize
            && let Some(body) = self.streams.body(id)
        {
            body.give_up();
        }
    }

    /// A side says what the other one may send.
    fn take_setting(&mut self, direction: Direction, [a, b, value @ .., _, _]: [u8; 8]) {
        let value = u32::from_be_bytes(value);
        let channel = &mut self.channels[direction.opposite()];
        match u16::from_be_bytes([a, b]) {
            HEADER_TABLE_SIZE => channel.decoder.allow(value),
            MAX_FRAME_SIZE => channel.frame_bytes_max = channel.frame_bytes_max.map(|max| max.max(value)),
            _ => {}
        }
    }

    /// Stays within a frame, or ends it.
    fn go_on(&mut self, direction: Direction, payload: Payload, mark: Mark, sink: &mut Sink<'_>) {
        if mark.position < payload.end {
            self.channels[direction].state = State::Payload(payload);
            return;
        }
        self.channels[direction].state = State::BOUNDARY;
        let Payload { head, numbers: [a, b, c, d, ..], is_blind, .. } = payload;
        let number = (!is_blind).then_some(u32::from_be_bytes([a, b, c, d]));
        match head.kind {
            kind::DATA if head.has(frame::END_STREAM) => self.end_half(direction, head.stream, sink),
            _ if head.has_block() && head.has(frame::END_HEADERS) => self.take_block(direction, mark.at_ns, sink),
            kind::RST_STREAM => self.reset(direction, head.stream, number, sink),
            kind::GOAWAY if direction == Direction::Response => {
                // Its first numbers may be there though what follows was not captured.
                let last_id = (payload.numbers_read >= 4).then_some(u32::from_be_bytes([a, b, c, d]) & (u32::MAX >> 1));
                if let Some(last_id) = last_id {
                    self.refuse(last_id, sink);
                }
            }
            _ => {}
        }
    }

    /// The bytes up to `to` will not be seen.
    pub(super) fn skip(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        let Mark { position: from, at_ns } = self.at[direction].reached();
        match std::mem::replace(&mut self.channels[direction].state, State::Lost) {
            // It goes on behind the gap, and its end will be seen.
            State::Payload(mut payload) if to < payload.end && payload.prefix_left == 0 => {
                let content = payload.content_end.min(to).since(from);
                if content > 0 {
                    let piece = Piece { captured: &[], moved: content, at_ns, ends_frame: false };
                    self.read_content(direction, &mut payload, &piece);
                }
                self.count(direction, &payload, to.since(from), at_ns);
                self.channels[direction].state = State::Payload(payload);
            }
            State::Lost => {}
            _ => self.lose_direction(direction, LossReason::Gap, sink),
        }
    }
}
