//! One exchange: a stream of HTTP/2, from its request's first byte to the end of both halves.

use super::body::Body;
use super::hpack::{Fields, Text};
use super::messages::Counter;
use super::upgrade::Upgrade;
use super::{Http2, outcome};
use crate::operation::UNKNOWN;
use crate::protocol::Protocol;
use crate::stream::Mark;
use crate::{Code, Direction, Exchange, Failure, Kind, Messages, Outcome, Propagated};

#[derive(Debug)]
pub struct Stream {
    pub id: u32,
    /// Counted as lost already: it will not be emitted.
    pub is_lost: bool,
    start: Mark,
    method: Option<Text>,
    path: Option<Text>,
    path_is_cut: bool,
    authority: Option<Text>,
    /// Of a request that may have a name there; most have none.
    pub body: Option<Box<Body>>,
    propagated: Propagated,
    /// None as long as that may stand where it cannot be known.
    is_grpc: Option<bool>,
    pub request: Half,
    pub response: Half,
    response_start: Option<Mark>,
    /// The first byte of the newest head that may be the final one.
    final_ns: Option<u64>,
    status: Option<u16>,
    grpc_status: Option<u16>,
    /// The status of gRPC may stand where it cannot be known.
    may_have_grpc_status: bool,
}

/// What was said in one direction.
#[derive(Debug, Default)]
pub struct Half {
    /// Of frames with headers and data.
    pub bytes: u64,
    pub last_ns: u64,
    pub is_ended: bool,
    pub messages: Counter,
    has_data: bool,
}

/// Where a header block stood.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub start: Mark,
    pub bytes: u64,
    pub end_ns: u64,
}

/// What became of a stream that did not end as it should.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub failure: Failure,
    /// None if nothing but the connection's end tells of it.
    pub error: Option<u32>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Taken,
    /// No response begins like this.
    Malformed,
    /// It cannot be told what of the response this is.
    Ambiguous,
}

impl Half {
    pub fn moved(&mut self, bytes: u64, at_ns: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.last_ns = self.last_ns.max(at_ns);
    }

    /// Takes a part of the content of a DATA frame.
    pub fn data(&mut self, captured: &[u8], moved: u64, at_ns: u64) {
        self.has_data = true;
        self.messages.take(captured, moved, at_ns);
    }
}

impl Stream {
    pub fn new(id: u32, block: Block, fields: Fields) -> Self {
        let hidden = fields.may_have(false);
        let mut request = Half::default();
        request.moved(block.bytes, block.end_ns);
        // All calls of gRPC are POST.
        let may_be_grpc = fields.method.as_ref().is_none_or(|method| method.as_str() == "POST");
        // Where the method is CONNECT there is no path (RFC 9113, 8.5).
        let has_no_path = fields.path.is_none() && !fields.may_have(true);
        let is_grpc = fields.is_grpc().filter(|_| may_be_grpc).or((!hidden || !may_be_grpc).then_some(false));
        let body = Body::of(&fields);
        Self {
            id,
            is_lost: false,
            start: block.start,
            method: fields.method,
            path: if has_no_path { Some(Text::Static("")) } else { fields.path },
            path_is_cut: fields.path_is_cut,
            authority: fields.authority,
            body,
            propagated: fields.trace.propagated(),
            is_grpc,
            request,
            response: Half::default(),
            response_start: None,
            final_ns: None,
            status: None,
            grpc_status: None,
            may_have_grpc_status: false,
        }
    }

    /// The request that was asked before the connection came to HTTP/2.
    pub fn upgraded(upgrade: &Upgrade) -> Self {
        let mut request = Half { is_ended: true, ..Half::default() };
        request.moved(upgrade.end.position.since(upgrade.start.position), upgrade.end.at_ns);
        Self {
            is_lost: false,
            start: upgrade.start,
            method: Some(Text::of(&upgrade.method)),
            path: Some(Text::of(&upgrade.path)),
            path_is_cut: upgrade.path_is_cut,
            authority: Some(Text::of(&upgrade.authority)),
            body: upgrade.named.clone().map(|name| Box::new(Body::Name(name))),
            propagated: upgrade.propagated,
            is_grpc: Some(false),
            request,
            ..Self::lost(1)
        }
    }

    /// Keeps the place of an exchange that has been counted as lost.
    pub fn lost(id: u32) -> Self {
        let block = Block { start: Mark { position: crate::Position::START, at_ns: 0 }, bytes: 0, end_ns: 0 };
        Self { is_lost: true, ..Self::new(id, block, Fields::default()) }
    }

    /// Nothing follows of the request's body.
    pub fn end_body(&mut self) {
        if let Some(body) = &mut self.body {
            body.end();
        }
    }

    pub fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    /// Takes a head of the response: an interim or the final one, or the trailers.
    pub fn answer(&mut self, block: Block, fields: &Fields, is_last: bool) -> Answer {
        self.response_start.get_or_insert(block.start);
        self.response.moved(block.bytes, block.end_ns);
        // One whose status could not be known was an interim one if another follows that has one.
        let may_be_final = self.status.is_none() && !self.response.has_data;
        if may_be_final && let Some(status) = fields.status {
            let is_interim = status < 200 && !is_last;
            (self.final_ns, self.status) =
                if is_interim { (None, None) } else { (Some(block.start.at_ns), Some(status)) };
            self.take_content_type(fields);
        } else if may_be_final && self.final_ns.is_some() && fields.may_have(true) {
            return Answer::Ambiguous;
        } else if self.final_ns.is_none() {
            if !fields.may_have(true) {
                return Answer::Malformed;
            }
            self.final_ns = Some(block.start.at_ns);
            self.take_content_type(fields);
        }
        if is_last {
            self.grpc_status = fields.grpc_status;
            self.may_have_grpc_status = fields.grpc_status.is_none() && fields.may_have(false);
        }
        Answer::Taken
    }

    fn take_content_type(&mut self, fields: &Fields) {
        if self.is_grpc.is_none() {
            self.is_grpc = fields.is_grpc().or((!fields.may_have(false)).then_some(false));
        }
    }

    /// The final response has begun, as far as that can be told.
    pub fn is_answered(&self) -> bool {
        self.final_ns.is_some()
    }

    pub fn heap_bytes(&self) -> usize {
        let texts = [&self.method, &self.path, &self.authority].into_iter().flatten();
        texts.map(Text::heap_bytes).sum::<usize>() + self.body.as_ref().map_or(0, |body| body.heap_bytes())
    }

    /// A value of it stands where it could not be known.
    pub fn has_unknown(&self, end: Option<End>) -> bool {
        let needs_status = end.is_none() && self.is_answered();
        self.method.is_none()
            || self.path.is_none()
            || self.is_grpc().is_none()
            || self.body.as_ref().is_some_and(|body| body.had_no_room())
            || (needs_status && (self.status.is_none() || (self.is_grpc == Some(true) && self.may_have_grpc_status)))
    }

    fn is_grpc(&self) -> Option<bool> {
        if self.grpc_status.is_some() { Some(true) } else { self.is_grpc }
    }

    /// What is told of it when it has ended.
    pub fn exchange(&self, completed_ns: u64, end: Option<End>) -> Exchange<'_> {
        let is_grpc = self.is_grpc() == Some(true);
        let (code, outcome) = self.outcome(end);
        let method = self.method.as_ref().map_or(UNKNOWN, Text::as_str);
        let path = self.path.as_ref().map_or(UNKNOWN, Text::as_str);
        let is_tunnel = method == "CONNECT";
        let is_stream = is_tunnel || (is_grpc && (self.request.messages.is_many() || self.response.messages.is_many()));
        let messages = Messages {
            request: self.request.messages.total().filter(|_| is_grpc && self.request.is_ended),
            response: self.response.messages.total().filter(|_| is_grpc && self.response.is_ended),
            first_response_ns: self.response.messages.first_ns.filter(|_| is_grpc),
        };
        Exchange {
            request_position: self.start.position,
            response_position: self.response_start.map(|start| start.position),
            // A call of gRPC is named by its path alone: its method is always the same.
            method: if is_grpc { "" } else { method },
            path,
            path_truncated: self.path_is_cut,
            named: self.body.as_ref().filter(|_| !is_grpc).map_or("", |body| body.name()),
            resource: self.authority.as_ref().map_or("", Text::as_str),
            addresses: &[],
            propagated: self.propagated,
            status: self.status,
            request_bytes: self.request.bytes,
            response_bytes: self.response.bytes,
            request_started_ns: self.start.at_ns,
            request_ended_ns: self.request.last_ns,
            response_started_ns: self.response_start.map(|start| self.final_ns.unwrap_or(start.at_ns)),
            response_ended_ns: self.response_start.map(|_| self.response.last_ns),
            completed_ns,
            protocol: if is_grpc { "grpc" } else { Http2::NAME },
            kind: if is_stream { Kind::Stream } else { Kind::Call },
            outcome,
            code,
            failure: end.map(|end| end.failure),
            messages,
        }
    }

    fn outcome(&self, end: Option<End>) -> (Code, Outcome) {
        if let Some(End { failure, error }) = end {
            let code = match (error, self.status) {
                (Some(error), _) => outcome::error(error),
                (None, Some(status)) => Code::of_status(status),
                (None, None) => Code::default(),
            };
            let outcome = match failure {
                Failure::ClientLeft => match self.status {
                    // What it says of gRPC comes at the end.
                    Some(status) if self.is_grpc() == Some(false) => outcome::of_http(status).1,
                    _ => Outcome::Unknown,
                },
                _ if self.is_answered() => Outcome::ServerError,
                _ => Outcome::Unanswered,
            };
            return (code, outcome);
        }
        let is_grpc = self.is_grpc();
        match (self.grpc_status, self.status) {
            (Some(status), _) if is_grpc == Some(true) => outcome::of_grpc(status),
            _ if is_grpc != Some(false) && self.may_have_grpc_status => (Code::default(), Outcome::Unknown),
            // It was promised in the trailers.
            (None, Some(200)) if is_grpc == Some(true) => (Code::default(), Outcome::Unknown),
            (_, Some(status)) => outcome::of_http(status),
            (_, None) => (Code::default(), Outcome::Unknown),
        }
    }
}
