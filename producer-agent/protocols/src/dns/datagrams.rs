//! DNS over UDP (RFC 1035, 4.2.1): which answer answers which question, and what nobody answers.
//!
//! In: the datagrams of one node's sockets, in the order of their events, and up to when all of them have come. Out: each question with its answer
//! once, or a counted loss; whatever was opened ends in one of the two.
//!
//! A question is found again by its socket, its id, what it asks and, as far as it is known, the other side. Asked again before it was answered it is the
//! same question; one that is received again is another one, for a server answers each. Whose answer it is where several servers were
//! asked the same and the answer's sender is not known is not guessed. Nothing is said for 10 s: then nobody has answered, unless the answer may have been missed.
//!
//! The event of an answer may come before that of its question, since the call that asks ends behind the question's way: it waits for a second.
//!
//! Bounds: `EARLY_MAX`; whoever feeds it says whether there is room for one more question; a question is no longer than a name and what stands behind it, and of
//! an answer as many addresses are kept as `answers` finds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use super::message::Message;
use super::names::Name;
use super::{Dns, answers};
use crate::protocol::Protocol;
use crate::{Code, Direction, Exchange, Failure, Kind, LossReason, Messages, Outcome, Position, Side};

/// So long after it was asked last a question is waited for. Resolvers give up after 5 s or sooner (resolv.conf(5)), and ask again.
pub const ANSWER_NS_MAX: u64 = 10_000_000_000;

/// Answers that wait for the event of their question, which comes within milliseconds.
const EARLY_MAX: usize = 256;
const EARLY_NS_MAX: u64 = 1_000_000_000;

/// What one call has sent or received.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Names the socket among all of the node.
    pub socket: u64,
    /// It was sent there, not received.
    pub is_sent: bool,
    /// Where it goes to or comes from, if that is known.
    pub peer: Option<SocketAddr>,
    pub bytes: u32,
    /// Its first bytes; none if they could not be read.
    pub captured: &'a [u8],
    pub at_ns: u64,
}

/// What became of a question.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is looked at where it was made, and never kept")]
pub enum Told<'a> {
    /// Its position is to be filled in.
    Exchange(Exchange<'a>, Ends<'a>),
    Lost(LossReason),
    /// It has come to its end, and nobody knows who the other side was.
    WithoutPeer,
}

/// Receives what became of a question, its owner, and whether it was one for which there had to be room.
pub type Out<'s, O> = dyn FnMut(Told<'_>, &O, bool) + 's;

/// Who has asked what.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// Which one the socket is.
    pub side: Side,
    pub peer: SocketAddr,
    pub id: u16,
    /// As it was asked, byte by byte.
    pub question: &'a [u8],
}

/// Questions that wait for their answers, each with what its owner `O` is.
#[derive(Debug)]
pub struct Questions<O> {
    open: BTreeMap<Key, Vec<Open<O>>>,
    deadlines: BTreeSet<(u64, Key)>,
    /// Answers to nothing that is known, the oldest first.
    early: VecDeque<Early<O>>,
    /// Of the first datagram.
    began_ns: Option<u64>,
    /// Some datagram before this time may have been missed.
    missed_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    socket: u64,
    /// The socket has asked; otherwise it is asked.
    asks: bool,
    id: u16,
}

/// What has come as an answer.
#[derive(Debug)]
struct Answer {
    addresses: Box<[IpAddr]>,
    peer: Option<SocketAddr>,
    bytes: u32,
    at_ns: u64,
    outcome: Outcome,
    code: Code,
}

#[derive(Debug)]
struct Early<O> {
    key: Key,
    /// What it repeats of the question.
    question: Option<Box<[u8]>>,
    answer: Answer,
    owner: O,
}

#[derive(Debug)]
struct Open<O> {
    question: Box<[u8]>,
    operation: Name,
    resource: Box<str>,
    peer: Option<SocketAddr>,
    started_ns: u64,
    asked_ns: u64,
    bytes: u64,
    /// Its answer may have been one that could not be read.
    may_be_answered: bool,
    owner: O,
}

impl<O> Default for Questions<O> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), deadlines: BTreeSet::new(), early: VecDeque::new(), began_ns: None, missed_ns: 0 }
    }
}

impl<O: Clone> Questions<O> {
    /// Takes a datagram. `has_room` is for one more question. Says whether there is one more now. What is told belongs to the owner that is told with it.
    pub fn take(&mut self, datagram: &Datagram<'_>, owner: &O, has_room: bool, out: &mut Out<'_, O>) -> bool {
        self.began_ns.get_or_insert(datagram.at_ns);
        if datagram.captured.is_empty() {
            self.take_unread(datagram, owner, out);
            return false;
        }
        let is_answer = datagram.captured.get(2).is_some_and(|flags| flags & 0x80 != 0);
        let direction = if is_answer { Direction::Response } else { Direction::Request };
        let Some(message) = Message::read(datagram.captured, direction).filter(|message| !message.is_cut()) else {
            let reason = if is_answer { LossReason::MalformedResponse } else { LossReason::MalformedRequest };
            out(Told::Lost(reason), owner, false);
            return false;
        };
        let key = Key { socket: datagram.socket, asks: datagram.is_sent != is_answer, id: message.header.id };
        if is_answer {
            let (outcome, code) = message.outcome();
            let (peer, bytes, at_ns) = (datagram.peer, datagram.bytes, datagram.at_ns);
            let addresses = answers::addresses(datagram.captured, &message);
            let answer = Answer { addresses, peer, bytes, at_ns, outcome, code };
            self.answer(key, message.question.map(|question| question.bytes()), answer, owner, out);
            return false;
        }
        self.question(key, &message, datagram, owner, has_room, out)
    }

    fn question(
        &mut self,
        key: Key,
        message: &Message<'_>,
        datagram: &Datagram<'_>,
        owner: &O,
        has_room: bool,
        out: &mut Out<'_, O>,
    ) -> bool {
        let question = message.question.map(|question| question.bytes()).unwrap_or_default();
        let waiting = self.open.get_mut(&key).filter(|_| key.asks).map_or(&mut [][..], Vec::as_mut_slice);
        if let Some(again) = waiting.iter_mut().find(|open| open.is_same(question) && open.peer == datagram.peer) {
            self.deadlines.remove(&(again.deadline_ns(), key));
            again.asked_ns = again.asked_ns.max(datagram.at_ns);
            again.bytes += u64::from(datagram.bytes);
            // Another one may have had the same deadline.
            self.deadlines.extend(waiting.iter().map(|open| (open.deadline_ns(), key)));
            return false;
        }
        if !has_room {
            out(Told::Lost(LossReason::TooManyPipelined), owner, false);
            return false;
        }
        let open = Open {
            question: question.into(),
            operation: message.operation(),
            resource: message.question.map(|question| question.resource()).unwrap_or_default().into(),
            peer: datagram.peer,
            started_ns: datagram.at_ns,
            asked_ns: datagram.at_ns,
            bytes: datagram.bytes.into(),
            may_be_answered: false,
            owner: owner.clone(),
        };
        let early = self.early.iter().position(|early| {
            let is_of = early.key == key && open.may_be_answered_by(early.question.as_deref(), &early.answer);
            is_of && early.answer.at_ns <= datagram.at_ns
        });
        if let Some(early) = early.and_then(|at| self.early.remove(at)) {
            open.tell(Some(&early.answer), datagram.at_ns, key, false, out);
            return false;
        }
        self.deadlines.insert((open.deadline_ns(), key));
        self.open.entry(key).or_default().push(open);
        true
    }

    fn answer(&mut self, key: Key, question: Option<&[u8]>, answer: Answer, owner: &O, out: &mut Out<'_, O>) {
        let waiting = self.open.get(&key).map_or(&[][..], Vec::as_slice);
        let may_be = |at: &usize| waiting[*at].may_be_answered_by(question, &answer);
        let places: Vec<usize> = (0..waiting.len()).filter(may_be).collect();
        match places[..] {
            // Who answers has been asked before.
            [] if !key.asks => out(Told::Lost(self.reason_of_unowned(answer.at_ns)), owner, false),
            [] => {
                if self.early.len() >= EARLY_MAX {
                    self.give_up_early(out);
                }
                self.early.push_back(Early { key, question: question.map(Box::from), answer, owner: owner.clone() });
            }
            // Several servers were asked the same: any of them may have answered.
            [_, _, ..] if key.asks => {
                for at in places.into_iter().rev() {
                    self.remove(key, at, |open| out(Told::Lost(LossReason::Ambiguous), &open.owner, true));
                }
            }
            // Those that asked the same are alike, and the first that was asked is answered first.
            [at, ..] => self.remove(key, at, |open| open.tell(Some(&answer), answer.at_ns, key, true, out)),
        }
    }

    /// Nobody knows what it is: a question, or the answer of one that is open.
    fn take_unread(&mut self, datagram: &Datagram<'_>, owner: &O, out: &mut Out<'_, O>) {
        let at = |id| Key { socket: datagram.socket, asks: !datagram.is_sent, id };
        let mut answers = 0;
        for open in self.open.range_mut(at(0)..=at(u16::MAX)).flat_map(|(_, open)| open) {
            open.may_be_answered = true;
            answers += 1;
        }
        if answers == 0 {
            out(Told::Lost(LossReason::HeadNotCaptured), owner, false);
        }
    }

    /// The oldest of them was not asked for here.
    fn give_up_early(&mut self, out: &mut Out<'_, O>) {
        if let Some(early) = self.early.pop_front() {
            out(Told::Lost(self.reason_of_unowned(early.answer.at_ns)), &early.owner, false);
        }
    }

    fn reason_of_unowned(&self, at_ns: u64) -> LossReason {
        let since_ns = at_ns.saturating_sub(self.began_ns.unwrap_or(at_ns));
        if since_ns < ANSWER_NS_MAX { LossReason::StartedBeforeCapture } else { LossReason::UnsolicitedResponse }
    }

    fn remove(&mut self, key: Key, at: usize, take: impl FnOnce(&Open<O>)) {
        let Some(waiting) = self.open.get_mut(&key) else { return };
        let open = waiting.remove(at);
        if waiting.iter().all(|other| other.deadline_ns() != open.deadline_ns()) {
            self.deadlines.remove(&(open.deadline_ns(), key));
        }
        if waiting.is_empty() {
            self.open.remove(&key);
        }
        take(&open);
    }

    /// Something may have been missed before this time: what is open then and stays so may have been answered.
    pub fn missed(&mut self, before_ns: u64) {
        self.missed_ns = self.missed_ns.max(before_ns);
    }

    /// All datagrams up to this time have come: what has waited for too long is not answered any more.
    pub fn expire(&mut self, now_ns: u64, out: &mut Out<'_, O>) {
        let is_over = |early: &Early<O>| early.answer.at_ns.saturating_add(EARLY_NS_MAX) <= now_ns;
        while self.early.front().is_some_and(is_over) {
            self.give_up_early(out);
        }
        while let Some((deadline_ns, key)) = self.deadlines.pop_first() {
            if deadline_ns > now_ns {
                self.deadlines.insert((deadline_ns, key));
                return;
            }
            let waiting = self.open.get(&key).map_or(&[][..], Vec::as_slice);
            let places: Vec<usize> =
                (0..waiting.len()).filter(|at| waiting[*at].deadline_ns() == deadline_ns).collect();
            let missed_ns = self.missed_ns;
            for at in places.into_iter().rev() {
                self.remove(key, at, |open| {
                    if open.may_be_answered {
                        out(Told::Lost(LossReason::HeadNotCaptured), &open.owner, true);
                    } else if open.started_ns <= missed_ns {
                        out(Told::Lost(LossReason::Gap), &open.owner, true);
                    } else {
                        open.tell(None, deadline_ns, key, true, out);
                    }
                });
            }
        }
    }

    /// The capture ends: what becomes of what is open is not seen.
    pub fn finish(&mut self, out: &mut Out<'_, O>) {
        self.deadlines.clear();
        while !self.early.is_empty() {
            self.give_up_early(out);
        }
        for open in std::mem::take(&mut self.open).into_values().flatten() {
            out(Told::Lost(LossReason::Unfinished), &open.owner, true);
        }
    }
}

impl<O> Open<O> {
    fn deadline_ns(&self) -> u64 {
        self.asked_ns.saturating_add(ANSWER_NS_MAX)
    }

    /// Servers may change the case of letters.
    fn is_same(&self, question: &[u8]) -> bool {
        self.question.eq_ignore_ascii_case(question)
    }

    fn may_be_answered_by(&self, question: Option<&[u8]>, answer: &Answer) -> bool {
        let is_of_peer = self.peer.is_none() || answer.peer.is_none() || self.peer == answer.peer;
        is_of_peer && question.is_none_or(|question| self.is_same(question))
    }

    fn exchange<'a>(&'a self, answer: Option<&'a Answer>, completed_ns: u64) -> Exchange<'a> {
        let answered_ns = answer.map(|answer| answer.at_ns.max(self.started_ns));
        let (outcome, code) =
            answer.map_or((Outcome::Unanswered, Code::default()), |answer| (answer.outcome, answer.code));
        Exchange {
            request_position: Position::START,
            response_position: answer.map(|_| Position::START),
            method: &self.operation,
            path: "",
            path_truncated: false,
            named: "",
            resource: &self.resource,
            addresses: answer.map_or(&[], |answer| &answer.addresses),
            propagated: crate::Propagated::default(),
            status: None,
            request_bytes: self.bytes,
            response_bytes: answer.map_or(0, |answer| answer.bytes.into()),
            request_started_ns: self.started_ns,
            request_ended_ns: self.asked_ns,
            response_started_ns: answered_ns,
            response_ended_ns: answered_ns,
            completed_ns: completed_ns.max(self.started_ns),
            protocol: Dns::NAME,
            kind: Kind::Call,
            outcome,
            code,
            failure: answer.is_none().then_some(Failure::TimedOut),
            messages: Messages::default(),
        }
    }

    fn tell(&self, answer: Option<&Answer>, completed_ns: u64, key: Key, was_open: bool, out: &mut Out<'_, O>) {
        let side = if key.asks { Side::Client } else { Side::Server };
        match self.peer.or(answer.and_then(|answer| answer.peer)) {
            Some(peer) => {
                let ends = Ends { side, peer, id: key.id, question: &self.question };
                out(Told::Exchange(self.exchange(answer, completed_ns), ends), &self.owner, was_open);
            }
            None => out(Told::WithoutPeer, &self.owner, was_open),
        }
    }
}
