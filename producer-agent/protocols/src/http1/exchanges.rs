//! The exchanges of a connection that are not finished: what is known of each, and their order.
//!
//! Responses come in the order of their requests (RFC 9112, 9.3.2), so this is a queue. An exchange that is under way is allocated, and
//! nothing else: a connection that waits for its next request is small.

use std::collections::VecDeque;

use super::Http1;
use super::head::{RequestLine, path_of};
use super::method::Method;
use crate::http2::Upgrade;
use crate::named::Named;
use crate::path::push_path;
use crate::protocol::Protocol;
use crate::stream::Mark;
use crate::websocket::Target;
use crate::{Code, Exchange, Failure, Kind, Messages, Outcome, Position, Propagated};

/// The longest character. So much is read beyond a bound that may lie within one.
const UTF8_BYTES_MAX: usize = 4;

/// One exchange, from the first byte of its request on.
#[derive(Debug)]
pub(super) struct Pending {
    /// None if the head of the request was not seen. Such an entry keeps the place of its response.
    pub method: Option<Method>,
    pub path: String,
    pub path_truncated: bool,
    /// What its body may name that is still to come,
    pub names: Named,
    /// and what it has named.
    pub named: Option<Box<str>>,
    /// Whom it asked; None if that is not known.
    pub host: Option<Box<str>>,
    pub propagated: Option<Box<Propagated>>,
    pub start: Mark,
    pub end: Option<Mark>,
    /// The end is where the response began, and is to be confirmed by the next request.
    pub end_presumed: bool,
    pub answer: Option<Answer>,
    /// Counted as lost already: it will not be emitted.
    pub lost: bool,
    /// What stood in its place was not a line of HTTP/1: the answer tells whether the server took it for one.
    pub odd_line: bool,
}

/// The response as far as it has come.
#[derive(Debug)]
pub(super) struct Answer {
    /// The first byte, interim responses included.
    pub start: Position,
    /// The time of the first byte of the newest head.
    pub started_ns: u64,
    pub status: Option<u16>,
    pub kind: Kind,
    pub end: Option<Mark>,
}

impl Pending {
    /// Keeps the place of an exchange that has been counted as lost.
    pub fn placeholder(start: Mark) -> Self {
        Self {
            method: None,
            path: String::new(),
            path_truncated: false,
            names: Named::Nothing,
            named: None,
            host: None,
            propagated: None,
            start,
            end: None,
            end_presumed: false,
            answer: None,
            lost: true,
            odd_line: false,
        }
    }

    /// What is allocated for it alone.
    pub fn heap_bytes(&self) -> usize {
        let words = [&self.host, &self.named].into_iter().flatten().map(|word| word.len()).sum::<usize>();
        self.path.capacity() + words + self.propagated.as_deref().map_or(0, size_of_val)
    }

    /// A body of JSON is to come.
    pub fn expect_json(&mut self) {
        self.names = Named::by_json(self.method.as_ref().map_or("", Method::as_str), &self.path);
    }

    pub fn begin_answer(&mut self, position: Position, at_ns: u64) {
        let answer = self.answer.get_or_insert(Answer {
            start: position,
            started_ns: at_ns,
            status: None,
            kind: Kind::Call,
            end: None,
        });
        answer.started_ns = at_ns;
    }

    pub fn answer_is_complete(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.end.is_some())
    }

    /// What HTTP/2 has to know to go on with its answer, which comes from there on; None if not all of it is known.
    pub fn upgrade(&self, response_from: Position, path_bytes_max: u32) -> Option<Upgrade> {
        let (method, end) = self.method.as_ref().zip(self.end).filter(|_| !self.lost)?;
        Some(Upgrade {
            method: method.as_str().into(),
            path: self.path.as_str().into(),
            path_is_cut: self.path_truncated,
            named: self.named.clone(),
            authority: self.host.as_deref().unwrap_or_default().into(),
            propagated: self.propagated.as_deref().copied().unwrap_or_default(),
            start: self.start,
            end,
            response_from,
            path_bytes_max,
        })
    }

    /// What WebSocket has to know to go on behind its answer, which ends there; None if not all of it is known.
    pub fn websocket(&self, response_from: Position) -> Option<Target> {
        Some(self).filter(|_| !self.lost && self.end.is_some()).map(|_| Target {
            path: self.path.as_str().into(),
            path_is_cut: self.path_truncated,
            host: self.host.as_deref().unwrap_or_default().into(),
            response_from,
        })
    }

    /// What is told of it. Both messages end at `end` and the answer's end, or, if they are cut short, where their
    /// streams stopped: `request_stop` and `response_stop`.
    pub fn exchange(
        &self,
        request_stop: Mark,
        response_stop: Mark,
        completed_ns: u64,
        failure: Option<Failure>,
    ) -> Exchange<'_> {
        let request_end = self.end.unwrap_or(request_stop);
        let answer = self.answer.as_ref();
        let response_end = answer.map(|answer| (answer.start, answer.end.unwrap_or(response_stop)));
        let status = answer.and_then(|answer| answer.status);
        Exchange {
            request_position: self.start.position,
            response_position: answer.map(|answer| answer.start),
            method: self.method.as_ref().map_or("", Method::as_str),
            path: &self.path,
            path_truncated: self.path_truncated,
            named: self.named.as_deref().unwrap_or_default(),
            resource: self.host.as_deref().unwrap_or_default(),
            addresses: &[],
            propagated: self.propagated.as_deref().copied().unwrap_or_default(),
            status,
            request_bytes: request_end.position.since(self.start.position),
            response_bytes: response_end.map_or(0, |(start, end)| end.position.since(start)),
            request_started_ns: self.start.at_ns,
            request_ended_ns: request_end.at_ns,
            response_started_ns: answer.map(|answer| answer.started_ns),
            response_ended_ns: response_end.map(|(_, end)| end.at_ns),
            completed_ns,
            protocol: Http1::NAME,
            kind: answer.map_or(Kind::Call, |answer| answer.kind),
            outcome: outcome(status, failure),
            code: status.map(Code::of_status).unwrap_or_default(),
            failure,
            messages: Messages::default(),
        }
    }
}

/// RFC 9110, 15. A response whose client wanted no more of it is what its status says.
fn outcome(status: Option<u16>, failure: Option<Failure>) -> Outcome {
    match (failure, status) {
        (None | Some(Failure::ClientLeft), Some(..400)) => Outcome::Ok,
        (None | Some(Failure::ClientLeft), Some(400..500)) => Outcome::ClientError,
        (None | Some(Failure::ClientLeft), None) => Outcome::Unknown,
        (_, Some(_)) => Outcome::ServerError,
        (Some(_), None) => Outcome::Unanswered,
    }
}

/// The requests that wait for their responses, oldest first. One that nobody waits for takes no room.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    front: Option<Box<Pending>>,
    /// What a connection without pipelining does not have.
    behind: Option<Box<Behind>>,
}

/// The requests behind the front.
#[derive(Debug, Default)]
struct Behind {
    rest: VecDeque<Box<Pending>>,
    /// Requests behind those, beyond the bound. They are counted as lost; only their number is kept, to pass over their responses.
    beyond: u64,
    /// The responses to them may have a body or not, whatever their heads say.
    beyond_is_mixed: bool,
}

impl Pipeline {
    /// Those beyond the bound are one more, however many they are.
    pub fn len(&self) -> usize {
        self.kept() + usize::from(self.is_beyond())
    }

    pub fn kept(&self) -> usize {
        usize::from(self.front.is_some()) + self.behind.as_ref().map_or(0, |behind| behind.rest.len())
    }

    /// The newest request is beyond the bound.
    pub fn is_beyond(&self) -> bool {
        self.behind.as_ref().is_some_and(|behind| behind.beyond > 0)
    }

    /// Adds a request that finds no room. None: its method is not known.
    pub fn push_beyond(&mut self, method: Option<&str>) {
        let behind = self.behind.get_or_insert_default();
        behind.beyond += 1;
        behind.beyond_is_mixed |= !method.is_some_and(|method| !matches!(method, "HEAD" | "CONNECT"));
    }

    /// Keeps no longer the number of those beyond the bound.
    pub fn forget_uncounted(&mut self) {
        if let Some(behind) = &mut self.behind {
            (behind.beyond, behind.beyond_is_mixed) = (0, false);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.front.is_none()
    }

    pub fn front(&self) -> Option<&Pending> {
        self.front.as_deref()
    }

    pub fn front_mut(&mut self) -> Option<&mut Pending> {
        self.front.as_deref_mut()
    }

    pub fn back(&self) -> Option<&Pending> {
        self.behind.as_ref().and_then(|behind| behind.rest.back()).or(self.front.as_ref()).map(|back| &**back)
    }

    pub fn back_mut(&mut self) -> Option<&mut Pending> {
        let last = self.behind.as_mut().and_then(|behind| behind.rest.back_mut());
        last.or(self.front.as_mut()).map(|back| &mut **back)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pending> {
        let rest = self.behind.iter().flat_map(|behind| &behind.rest);
        self.front.iter().chain(rest).map(|pending| &**pending)
    }

    /// What is allocated for it.
    pub fn heap_bytes(&self) -> usize {
        let own: usize = self.iter().map(|pending| size_of::<Pending>() + pending.heap_bytes()).sum();
        let rest = |behind: &Behind| size_of::<Behind>() + behind.rest.capacity() * size_of::<Box<Pending>>();
        self.behind.as_deref().map_or(0, rest) + own
    }

    /// Adds a request that was seen; its path is cut at `path_bytes_max`.
    pub fn push_request(&mut self, line: &RequestLine<'_>, start: Mark, path_bytes_max: u32) {
        let whole = path_of(line);
        let bytes_max = path_bytes_max as usize;
        let whole = &whole[..whole.len().min(bytes_max.saturating_add(UTF8_BYTES_MAX))];
        let mut path = String::with_capacity(whole.len());
        push_path(&mut path, whole);
        let path_truncated = path.len() > bytes_max;
        path.truncate(path.floor_char_boundary(bytes_max));
        self.push(Pending {
            method: Some(Method::new(line.method)),
            path,
            path_truncated,
            host: (!line.host.is_empty()).then(|| line.host.into()),
            propagated: (!line.propagated.is_empty()).then(|| Box::new(line.propagated)),
            lost: false,
            ..Pending::placeholder(start)
        });
    }

    pub fn push(&mut self, pending: Pending) {
        let pending = Box::new(pending);
        if self.front.is_none() {
            self.front = Some(pending);
        } else {
            self.behind.get_or_insert_default().rest.push_back(pending);
        }
    }

    pub fn pop(&mut self) -> Option<Box<Pending>> {
        let popped = self.front.take();
        let Some(behind) = &mut self.behind else { return popped };
        self.front = behind.rest.pop_front();
        if self.front.is_none() && behind.beyond > 0 {
            behind.beyond -= 1;
            let start = popped.as_ref().map_or(Mark { position: Position::START, at_ns: 0 }, |popped| popped.start);
            let method = (!behind.beyond_is_mixed).then_some(Method::Get);
            self.front = Some(Box::new(Pending { method, end: Some(start), ..Pending::placeholder(start) }));
            behind.beyond_is_mixed &= behind.beyond > 0;
        }
        if behind.rest.is_empty() && behind.beyond == 0 {
            self.behind = None;
        }
        popped
    }
}
