//! Commands that wait for their replies, and what a reply says of them.

use super::Redis;
use super::resp::{self, Progress, Word};
use crate::asked::Span;
use crate::choice::Verdict;
use crate::cursor::Cursor;
use crate::operation::UNKNOWN;
use crate::protocol::{OpenRequest, Protocol};
use crate::stream::Mark;
use crate::{CloseReason, Code, Direction, Event, Exchange, Failure, Kind, LossReason, Outcome, Recognition, Sink};

/// Commands whose second word says what is done.
const CONTAINERS: [&str; 12] = [
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "FUNCTION", "LATENCY", "MEMORY", "OBJECT", "SCRIPT", "XGROUP",
    "XINFO",
];
/// After these the server speaks as it likes.
const TAKES_OVER: [&str; 7] = ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR", "SYNC", "PSYNC", "CLIENT REPLY"];
/// Commands that are asked to wait, as long as they are told.
const WAITS: [&str; 12] = [
    "BLPOP",
    "BRPOP",
    "BLMOVE",
    "BRPOPLPUSH",
    "BLMPOP",
    "BZPOPMIN",
    "BZPOPMAX",
    "BZMPOP",
    "WAIT",
    "WAITAOF",
    "XREAD",
    "XREADGROUP",
];
/// Between these, a command is not answered by what it does, or it says how the server speaks from then on.
const CHANGES: [&str; 7] = ["MULTI", "EXEC", "DISCARD", "HELLO", "RESET", "QUIT", "AUTH"];
/// What these ask for is that nothing answers, themselves included: nothing is told of them.
const SILENCES: &str = "CLIENT REPLY";
/// Whether one that may be those is, was not captured.
const MAY_SILENCE: &str = "CLIENT unknown";
/// How a server begins that does not know a command. What the word was then is anybody's guess, and may be a secret.
const UNKNOWN_COMMAND: &str = "ERR unknown command";
const UNKNOWN_SUBCOMMAND: &str = "ERR unknown subcommand";
/// Codes of errors that are no fault of who asked.
const SERVER_ERRORS: [&str; 11] = [
    "LOADING",
    "BUSY",
    "OOM",
    "MISCONF",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MASTERDOWN",
    "NOREPLICAS",
    "READONLY",
    "UNKILLABLE",
    "IOERR",
];
/// Codes that say where to ask instead.
const REDIRECTIONS: [&str; 2] = ["MOVED", "ASK"];

/// Whether the first word alone says what a command does, and its reply is all that comes of it: then one such command is as good as another.
pub fn is_one_of_many(command: &str) -> bool {
    let first = command.split(' ').next().unwrap_or_default();
    ![&CONTAINERS as &[&str], &TAKES_OVER, &WAITS, &CHANGES].iter().any(|others| others.contains(&first))
}

/// One command, from its first byte on.
#[derive(Debug)]
pub(super) struct Pending {
    command: Word,
    start: Mark,
    end: Mark,
    /// Where its reply begins.
    reply_start: Option<Mark>,
    /// Counted as lost already: it will not be emitted.
    pub is_lost: bool,
}

impl Pending {
    pub fn of(mut command: Word, second: &Word, start: Mark, end: Mark) -> Self {
        if CONTAINERS.contains(&command.as_str()) {
            let second = if second.is_hidden { Some(Word::of(UNKNOWN)) } else { second.command() };
            second.iter().for_each(|second| command.join(second));
        }
        let is_lost = command.as_str() == SILENCES;
        Self { command, start, end, reply_start: None, is_lost }
    }

    /// Whether it is not known that it is answered.
    pub fn may_silence(&self) -> bool {
        self.command.as_str() == MAY_SILENCE
    }

    /// A command that was told of elsewhere.
    pub fn opened(open: &OpenRequest<'_>) -> Self {
        let mark = |position| Mark { position, at_ns: open.at_ns };
        let command = Word::of(open.method);
        Self { command, start: mark(open.start), end: mark(open.end), reply_start: None, is_lost: false }
    }

    /// Keeps the place of a command that has been counted as lost.
    pub fn lost(start: Mark, end: Mark) -> Self {
        Self { command: Word::default(), start, end, reply_start: None, is_lost: true }
    }
}

impl Redis {
    pub(super) fn read_replies(&mut self, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        self.answered = true;
        if !self.synced {
            // It answers what was asked before.
            if self.recognition() == Recognition::Undecided && self.at.request.last_ns == 0 {
                self.losses.lose(LossReason::StartedBeforeCapture, sink);
            }
            self.look(Direction::Response, resp::begins_reply(cursor.captured) == Verdict::Yes, sink);
            return;
        }
        while !cursor.is_done() {
            let mark = cursor.mark();
            if self.readers.response.is_at_start()
                && let Some(front) = self.pending.front_mut()
            {
                front.reply_start = Some(mark);
            }
            match self.readers.response.read(&mut cursor) {
                Progress::More => {}
                // A push answers nothing.
                Progress::Complete if self.readers.response.kind == b'>' => {}
                Progress::Complete => {
                    self.take_reply(cursor.mark(), sink);
                    if !self.synced || self.recognition() == Recognition::Foreign {
                        return;
                    }
                }
                Progress::Malformed if self.recognition() == Recognition::Undecided => return self.become_foreign(),
                Progress::Malformed => return self.unsync(LossReason::MalformedResponse, sink),
                Progress::Blind => return self.unsync(LossReason::HeadNotCaptured, sink),
            }
        }
    }

    fn take_reply(&mut self, end: Mark, sink: &mut Sink<'_>) {
        let Some(mut pending) = self.pending.pop_front() else {
            if self.beyond > 0 {
                self.beyond -= 1;
            } else if self.recognition() == Recognition::Undecided {
                self.become_foreign();
            } else {
                self.losses.lose(LossReason::UnsolicitedResponse, sink);
                self.unsync(LossReason::Ambiguous, sink);
            }
            return;
        };
        self.losses.recognise(sink);
        let (code, outcome) = match self.readers.response.kind {
            b'-' | b'!' => of_error(&self.readers.response.words[0]),
            _ => (Code::default(), Outcome::Ok),
        };
        let line = self.readers.response.words[0];
        if outcome == Outcome::ClientError && line.as_str().starts_with(UNKNOWN_COMMAND) {
            pending.command = Word::of("UNKNOWN");
        } else if outcome == Outcome::ClientError && line.as_str().starts_with(UNKNOWN_SUBCOMMAND) {
            pending.command.cut_second();
        }
        let is_doubtful = self.doubts > 0;
        if self.pending.is_empty() && self.beyond == 0 {
            self.doubts = self.doubts.saturating_sub(1);
        }
        if is_doubtful && !pending.is_lost {
            self.losses.lose(LossReason::StartedBeforeCapture, sink);
            pending.is_lost = true;
        }
        let takes_over = TAKES_OVER.contains(&pending.command.as_str()) && outcome == Outcome::Ok;
        self.emit(&pending, Some(end), (code, outcome), None, sink);
        if takes_over {
            self.lose_all(LossReason::Upgraded, sink);
            self.become_foreign();
        }
    }

    pub(super) fn close_pending(&mut self, how: CloseReason, sink: &mut Sink<'_>) {
        self.beyond = 0;
        for pending in std::mem::take(&mut self.pending) {
            let Some((failure, outcome)) = how.of_open(pending.reply_start.is_some()) else {
                if !pending.is_lost {
                    self.losses.lose(LossReason::Unfinished, sink);
                }
                continue;
            };
            if self.doubts > 0 && !pending.is_lost {
                self.losses.lose(LossReason::StartedBeforeCapture, sink);
                continue;
            }
            // Before it was recognised there is nothing to tell.
            if self.recognition() == Recognition::Recognised {
                self.emit(&pending, None, (Code::default(), outcome), Some(failure), sink);
            }
        }
    }

    fn emit(
        &self,
        pending: &Pending,
        end: Option<Mark>,
        (code, outcome): (Code, Outcome),
        failure: Option<Failure>,
        sink: &mut Sink<'_>,
    ) {
        if pending.is_lost {
            return;
        }
        let answer = pending.reply_start.map(|start| (start, end.unwrap_or(self.at.response.reached())));
        let span = Span { start: pending.start, end: pending.end, answer };
        sink(Event::Exchange(Exchange {
            kind: if WAITS.contains(&pending.command.as_str()) { Kind::Wait } else { Kind::Call },
            outcome,
            code,
            failure,
            ..span.exchange(Redis::NAME, pending.command.as_str(), self.now_ns)
        }));
    }
}

/// No code of Redis is longer than `NOMASTERLINK`.
const CODE_BYTES_MAX: usize = 20;

/// The first word of an error is its code, if it is in capitals: scripts and modules say what they like, which may be a value.
fn of_error(line: &Word) -> (Code, Outcome) {
    let word = line.as_str().split(' ').next().unwrap_or_default().as_bytes();
    let is_code = word.len() <= CODE_BYTES_MAX && word.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
    let code = Code::new(if is_code { word } else { b"OTHER" });
    let outcome = match code.as_str() {
        code if SERVER_ERRORS.contains(&code) => Outcome::ServerError,
        code if REDIRECTIONS.contains(&code) => Outcome::Ok,
        _ => Outcome::ClientError,
    };
    (code, outcome)
}
