//! TLS 1.0 to 1.3, and SSL 3.0, on one connection: what its handshake says of its encryption (RFC 8446, RFC 5246, RFC 8996).
//!
//! In: the bytes of both directions. Out: one [`Encryption`], as soon as no more can be read of it, and no exchange. From then on no bytes
//! are wanted. TLS 1.3 shows both hellos, and encrypts what follows; before it, all is in clear text up to ChangeCipherSpec: certificates,
//! the server's group, whether the client proved who it is.
//!
//! What was not captured is unknown, and no reason to give up: a ServerHello alone tells version, suite and group. A connection that is first
//! seen behind its handshake is told of by its records: three of data, each of which begins where the one before ends. Their version
//! is that of TLS 1.1 and before; later ones all write 1.2, and the version stays unknown.
//!
//! Bounds: a message of each direction (`record.rs`), and the facts, each of which has a bound of its own.

mod bytes;
mod certificate;
mod groups;
mod hello;
mod places;
mod plaintext;
mod record;
mod suites;

use crate::choice::{Opening, Verdict};
use crate::cursor::Cursor;
use crate::protocol::{Interest, Protocol};
use crate::stream::{Both, Reach};
use crate::{CloseReason, Direction, Encryption, Event, Position, Recognition, Side, Sink, Version};
use bytes::Bytes;
pub use plaintext::{Call, Plaintext};

use hello::{ClientHello, ServerHello};
use record::{Content, Header, Message, Part, Reader};

/// So many records of data one behind the other prove a direction whose beginning was not seen.
const PROOF_RECORDS: u8 = 3;
/// After so many calls that are no records, nobody speaks TLS there.
const TRIALS_MAX: u8 = 64;
/// Of an alert that ends the connection (RFC 8446 section 6).
const FATAL: u8 = 2;

/// Types of handshake messages (RFC 8446 section 4, RFC 5246 section 7.4).
mod kind {
    pub const CLIENT_HELLO: u8 = 1;
    pub const SERVER_HELLO: u8 = 2;
    pub const CERTIFICATE: u8 = 11;
    pub const SERVER_KEY_EXCHANGE: u8 = 12;
    pub const SERVER_HELLO_DONE: u8 = 14;
    pub const CERTIFICATE_VERIFY: u8 = 15;
}

/// TLS on one connection.
#[derive(Debug)]
pub struct Tls {
    recognition: Recognition,
    at: Both<Reach>,
    /// None once no more is read.
    handshake: Option<Box<Handshake>>,
}

/// A handshake that goes on.
#[derive(Debug, Default)]
struct Handshake {
    lanes: Both<Lane>,
    facts: Encryption,
    is_client_known: bool,
    /// The server's part of a full handshake was seen to its end.
    is_server_done: bool,
    has_client_certificate: Option<bool>,
    has_client_proved: bool,
    trials: u8,
}

/// How far one direction is understood.
#[derive(Debug, Default)]
struct Lane {
    reader: Reader,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// A hello is to come.
    #[default]
    Start,
    /// It was read, and nothing was missed since.
    Followed,
    /// Something was missed, or the beginning: so many records of data were seen one behind the other.
    Middle { proofs: u8 },
}

impl Tls {
    fn new() -> Self {
        Self { recognition: Recognition::Undecided, at: Both::default(), handshake: Some(Box::default()) }
    }

    /// Of a connection on which both sides agreed in another protocol to go on with TLS, behind what was read of it.
    pub(crate) fn behind(at: Both<Reach>, protocol: &'static str) -> Self {
        let mut tls = Self { at, ..Self::new() };
        if let Some(handshake) = &mut tls.handshake {
            handshake.facts.upgraded_from = protocol;
        }
        tls
    }

    fn finish(&mut self, sink: &mut Sink<'_>) {
        if let Some(handshake) = self.handshake.take() {
            self.recognition = Recognition::Recognised;
            sink(Event::Encryption(&handshake.facts));
        }
    }

    fn become_foreign(&mut self) {
        (self.recognition, self.handshake) = (Recognition::Foreign, None);
    }

    fn follow(&mut self, direction: Direction, mut cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        while let Some(handshake) = &mut self.handshake
            && !cursor.is_done()
        {
            let next = match handshake.lanes[direction].reader.read(&mut cursor) {
                Part::More => Next::Read,
                Part::Record(header) => handshake.take_record(direction, &header),
                Part::Message(message) => handshake.take_message(direction, &message),
                Part::Alert(level) => handshake.take_alert(direction, level),
                Part::Blind => Next::Blind,
                Part::Malformed => Next::Wrong,
            };
            match next {
                Next::Read => {}
                Next::Finished => return self.finish(sink),
                Next::Blind => {
                    handshake.lanes[direction] = Lane::middle();
                    return;
                }
                Next::Wrong => return self.misread(direction),
            }
        }
    }

    /// A call is not what was to come.
    fn misread(&mut self, direction: Direction) {
        let Some(handshake) = &mut self.handshake else { return };
        handshake.lanes[direction] = Lane::middle();
        if handshake.facts.version.is_some() {
            return;
        }
        handshake.trials = handshake.trials.saturating_add(1);
        if !handshake.is_client_known || handshake.trials > TRIALS_MAX {
            self.become_foreign();
        }
    }
}

/// What comes behind a part.
enum Next {
    Read,
    /// No more can be read of the connection.
    Finished,
    /// The rest of the call says nothing: the next one may begin with a record.
    Blind,
    /// Nobody who speaks TLS says this here.
    Wrong,
}

impl Lane {
    /// Of which something was missed.
    fn middle() -> Self {
        Self { reader: Reader::default(), state: State::Middle { proofs: 0 } }
    }
}

impl Handshake {
    fn take_record(&mut self, direction: Direction, header: &Header) -> Next {
        let is_old = self.facts.version.is_some_and(|version| version < Version::Tls1_3);
        let lane = &mut self.lanes[direction];
        match (lane.state, header.content) {
            // A client may encrypt data before it is answered (RFC 8446 section 4.2.10), and change to ciphers for the sake of boxes
            // in between (appendix D.4).
            (State::Followed, Content::Data | Content::ChangeCipherSpec) if !is_old => Next::Read,
            (State::Followed, Content::Data) => Next::Finished,
            (State::Followed, Content::ChangeCipherSpec) => {
                self.end_old(direction);
                Next::Finished
            }
            // The client's own was missed.
            (State::Middle { .. }, Content::ChangeCipherSpec) if is_old && direction == Direction::Response => {
                self.end_old(direction);
                Next::Finished
            }
            (State::Middle { .. }, Content::Handshake) => {
                lane.state = State::Start;
                Next::Read
            }
            (State::Start | State::Followed, Content::Handshake | Content::Alert) => Next::Read,
            (State::Middle { proofs }, Content::Data) if header.is_data() => {
                lane.state = State::Middle { proofs: proofs + 1 };
                if proofs + 1 < PROOF_RECORDS {
                    return Next::Read;
                }
                // What a later version writes here is the number of TLS 1.2 (RFC 8446 section 5.1).
                let told = Version::of(header.version).filter(|version| *version < Version::Tls1_2);
                self.facts.version = self.facts.version.or(told);
                Next::Finished
            }
            _ => Next::Wrong,
        }
    }

    /// The first change to encryption of a version in which all before it is in clear text.
    fn end_old(&mut self, direction: Direction) {
        // Who goes on with old keys lets the server speak last before that, who has no certificate to show then: if all is known that it said.
        let said_all = self.lanes.response.state == State::Followed;
        let is_resumed = direction == Direction::Response && !self.is_server_done && said_all;
        let is_full = self.is_server_done;
        if is_resumed || is_full {
            self.facts.is_resumed = Some(is_resumed);
        }
        if is_full && direction == Direction::Request && self.lanes.request.state == State::Followed {
            self.facts.is_mutual = self.has_client_certificate.map(|has_one| has_one && self.has_client_proved);
        }
        let has_no_group = self.facts.cipher_suite.as_deref().is_some_and(|suite| suite.starts_with("TLS_RSA_"));
        if is_full && has_no_group {
            self.facts.key_exchange_group = Some("".into());
        }
    }

    fn take_message(&mut self, direction: Direction, message: &Message) -> Next {
        let state = &mut self.lanes[direction].state;
        if *state == State::Start {
            *state = State::Followed;
            return match (direction, message.kind) {
                (Direction::Request, kind::CLIENT_HELLO) => self.take_client_hello(message),
                (Direction::Response, kind::SERVER_HELLO) => self.take_server_hello(message),
                _ => Next::Wrong,
            };
        }
        match (direction, message.kind) {
            (Direction::Request, kind::CLIENT_HELLO) => return self.take_client_hello(message),
            (Direction::Response, kind::SERVER_HELLO) => return self.take_server_hello(message),
            (Direction::Request, kind::CERTIFICATE) => {
                self.has_client_certificate = certificate::is_any(&message.body);
            }
            (Direction::Request, kind::CERTIFICATE_VERIFY) => self.has_client_proved = true,
            (Direction::Response, kind::CERTIFICATE) => {
                if let Some(issued) = certificate::first(&message.body) {
                    self.facts.issuer = Some(issued.issuer);
                    self.facts.expires_at_s = Some(issued.expires_at_s);
                }
            }
            (Direction::Response, kind::SERVER_KEY_EXCHANGE) => self.take_group(message),
            (Direction::Response, kind::SERVER_HELLO_DONE) => {
                self.is_server_done = true;
                // None was asked for if none comes.
                self.has_client_certificate = self.has_client_certificate.or(Some(false));
            }
            _ => {}
        }
        Next::Read
    }

    fn take_client_hello(&mut self, message: &Message) -> Next {
        let Some(ClientHello { server_name, alpn_offered }) = hello::client(message) else { return Next::Wrong };
        self.is_client_known = true;
        (self.facts.server_name, self.facts.alpn_offered) = (server_name, alpn_offered);
        Next::Read
    }

    fn take_server_hello(&mut self, message: &Message) -> Next {
        let Some(hello) = hello::server(message) else { return Next::Wrong };
        let ServerHello { version, cipher_suite, group, alpn, takes_shared_key, is_retry } = hello;
        if is_retry {
            return Next::Read;
        }
        let facts = &mut self.facts;
        facts.version = Some(version);
        facts.cipher_suite = Some(suites::name(cipher_suite));
        facts.key_exchange_group = group.map(|group| group.map_or("".into(), groups::name));
        facts.alpn = alpn;
        facts.is_resumed = takes_shared_key;
        if version == Version::Tls1_3 {
            facts.is_post_quantum = group.flatten().and_then(groups::is_post_quantum);
            return Next::Finished;
        }
        facts.is_post_quantum = Some(false);
        Next::Read
    }

    /// What the server signs before TLS 1.3 begins with its group, if it is an elliptic curve (RFC 8422 section 5.4).
    fn take_group(&mut self, message: &Message) {
        const NAMED_CURVE: u8 = 3;
        let is_elliptic = self.facts.cipher_suite.as_deref().is_some_and(|suite| suite.starts_with("TLS_ECDH"));
        let mut rest = Bytes(&message.body);
        if is_elliptic && rest.byte() == Some(NAMED_CURVE) {
            self.facts.key_exchange_group = rest.number().map(groups::name);
        }
    }

    fn take_alert(&mut self, direction: Direction, level: Option<u8>) -> Next {
        // A client that was told no in a record of TLS has met somebody who speaks it.
        let is_answer = direction == Direction::Response && self.is_client_known;
        let is_known = is_answer || self.facts.version.is_some();
        if level == Some(FATAL) && is_known { Next::Finished } else { Next::Read }
    }
}

impl Protocol for Tls {
    const NAME: &'static str = "tls";

    const INTEREST: Interest = Interest::Counters;

    fn judge(opening: &Opening<'_>) -> Verdict {
        match (opening.direction, opening.is_start) {
            // The client speaks first.
            (Direction::Response, true) => Verdict::No,
            (Direction::Response, false) => judge(opening, kind::SERVER_HELLO),
            (Direction::Request, _) => judge(opening, kind::CLIENT_HELLO),
        }
    }

    fn open(_: &crate::Options) -> Self {
        Self::new()
    }

    fn recognition(&self) -> Recognition {
        self.recognition
    }

    fn at(&self) -> &Both<Reach> {
        &self.at
    }

    fn at_mut(&mut self) -> &mut Both<Reach> {
        &mut self.at
    }

    fn begin(&mut self, direction: Direction, position: Position) {
        if position != Position::START
            && let Some(handshake) = &mut self.handshake
        {
            handshake.lanes[direction] = Lane::middle();
        }
    }

    fn resumed(&self) -> Self {
        Self { recognition: Recognition::Recognised, at: Both::default(), handshake: None }
    }

    fn set_time(&mut self, _: u64) {}

    fn read(&mut self, direction: Direction, cursor: Cursor<'_>, sink: &mut Sink<'_>) {
        self.follow(direction, cursor, sink);
    }

    fn gap(&mut self, direction: Direction, to: Position, sink: &mut Sink<'_>) {
        let from = self.at[direction].reached();
        let other_position = self.at[direction.opposite()].reached().position;
        let hidden = Cursor { position: from.position, end: to, captured: &[], at_ns: from.at_ns, other_position };
        self.follow(direction, hidden, sink);
    }

    fn end_of_stream(&mut self, direction: Direction, by: Side, sink: &mut Sink<'_>) {
        if direction == Direction::Response {
            self.close(CloseReason::Finished { by }, sink);
        }
    }

    fn close(&mut self, _: CloseReason, sink: &mut Sink<'_>) {
        if self.handshake.as_ref().is_some_and(|handshake| handshake.facts.version.is_some()) {
            self.finish(sink);
        }
        self.become_foreign();
    }

    fn is_idle(&self) -> bool {
        self.handshake.is_none()
    }

    fn heap_bytes(&self) -> usize {
        self.handshake.as_ref().map_or(0, |handshake| {
            let lanes = &handshake.lanes;
            size_of::<Handshake>() + lanes.request.reader.heap_bytes() + lanes.response.reader.heap_bytes()
        })
    }
}

/// Whether these are the first bytes of a hello, or of data in the middle.
fn judge(opening: &Opening<'_>, hello: u8) -> Verdict {
    let Some((header, body)) = opening.bytes.split_first_chunk::<{ Header::BYTES }>() else {
        let begins = matches!(opening.bytes, [] | [22] | [22, 3, ..]);
        return if opening.is_start && begins { Verdict::Maybe } else { Verdict::No };
    };
    match (Header::read(*header), body.first()) {
        (Some(header), _) if header.is_data() && !opening.is_start => Verdict::Yes,
        (Some(header), Some(first)) if header.content == Content::Handshake && *first == hello => Verdict::Yes,
        (Some(header), None) if header.content == Content::Handshake => Verdict::Maybe,
        _ => Verdict::No,
    }
}
