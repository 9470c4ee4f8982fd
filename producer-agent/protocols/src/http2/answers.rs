//! What header blocks say of streams.

use super::Http2;
use super::frame::HEAD_BYTES;
use super::hpack::Fields;
use super::stream::{Answer, Block, Stream};
use crate::{Direction, LossReason, Recognition, Sink};

impl Http2 {
    /// A header block is complete, or as complete as it will be.
    pub(super) fn take_block(&mut self, direction: Direction, end_ns: u64, sink: &mut Sink<'_>) {
        let channel = &mut self.channels[direction];
        let Some(block) = channel.block.take() else { return };
        let fields = channel.decoder.decode(&channel.block_bytes, !block.is_blind);
        channel.end_block();
        let Ok(fields) = fields else { return self.take_malformed(direction, sink) };
        if block.is_promise {
            return self.losses.lose(LossReason::UnsolicitedResponse, sink);
        }
        let is_proof = match direction {
            Direction::Request => fields.is_request,
            Direction::Response => fields.status.is_some(),
        };
        if is_proof {
            self.prove(direction, sink);
        }
        // The streams of a server are promised ones.
        if block.stream % 2 == 0 {
            return;
        }
        let place = Block { start: block.start, bytes: block.wire_bytes, end_ns };
        match direction {
            Direction::Request => self.take_request(block.stream, place, fields, sink),
            Direction::Response => self.take_response(block.stream, place, &fields, block.ends_stream, sink),
        }
        if block.ends_stream {
            self.end_half(direction, block.stream, sink);
        }
    }

    /// The head of a frame with data was read.
    pub(super) fn begin_data(&mut self, direction: Direction, id: u32, at_ns: u64, sink: &mut Sink<'_>) {
        let Some(stream) = self.streams.find(id) else { return };
        stream.half(direction).moved(HEAD_BYTES as u64, at_ns);
        // No response begins with data.
        let is_malformed = direction == Direction::Response && !stream.is_answered();
        if is_malformed && !std::mem::replace(&mut stream.is_lost, true) {
            self.losses.lose(LossReason::MalformedResponse, sink);
        }
    }

    fn take_request(&mut self, id: u32, block: Block, fields: Fields, sink: &mut Sink<'_>) {
        if let Some(stream) = self.streams.find(id) {
            // Trailers, behind the body.
            stream.end_body();
            return stream.request.moved(block.bytes, block.end_ns);
        }
        if id <= self.streams.last_id {
            return;
        }
        self.streams.last_id = id;
        self.streams.seen_from.get_or_insert(id);
        if self.channels.response.is_lost() {
            let is_known = self.recognition() == Recognition::Recognised;
            let reason = if is_known { LossReason::Gap } else { LossReason::StartedBeforeCapture };
            self.streams.count_last();
            return self.losses.lose(reason, sink);
        }
        if self.streams.len() >= self.options.streams_max as usize {
            return self.losses.lose(LossReason::TooManyPipelined, sink);
        }
        let is_connect = fields.method.as_ref().is_some_and(|method| method.as_str() == "CONNECT");
        let is_request = fields.may_have(true) || (fields.method.is_some() && (fields.path.is_some() || is_connect));
        if !is_request {
            self.losses.lose(LossReason::MalformedRequest, sink);
        }
        self.streams.insert(if is_request { Stream::new(id, block, fields) } else { Stream::lost(id) });
    }

    fn take_response(&mut self, id: u32, block: Block, fields: &Fields, is_last: bool, sink: &mut Sink<'_>) {
        let Some(stream) = self.streams.find(id) else {
            return self.take_response_to_unseen(id, sink);
        };
        let reason = match stream.answer(block, fields, is_last) {
            Answer::Taken => return,
            Answer::Malformed => LossReason::MalformedResponse,
            Answer::Ambiguous => LossReason::Ambiguous,
        };
        if !std::mem::replace(&mut stream.is_lost, true) {
            self.losses.lose(reason, sink);
        }
    }

    fn take_response_to_unseen(&mut self, id: u32, sink: &mut Sink<'_>) {
        if !self.streams.is_unseen(id) {
            return;
        }
        if !std::mem::take(&mut self.unseen_is_counted) {
            self.losses.lose(self.unseen, sink);
        }
        // It is counted once.
        if self.streams.len() < self.options.streams_max as usize {
            self.streams.insert(Stream::lost(id));
        }
    }
}
