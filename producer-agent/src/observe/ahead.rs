//! Calls of libraries of TLS that are told of before they send a byte, so that no answer is told of before what it is the answer to.
//!
//! Such a call waits until its bytes leave or it fails, and so does what comes behind it on its connection. Only then is it known that anything was said, and where on the
//! wire it stands, by which it has its name. In: the calls, and what becomes of them. Out: what was said, in its order.
//!
//! What rustls encrypts before it is known on which connection that goes waits likewise, under the number of its key, for up to [`UNTIED_WAIT`]. It has no answer yet.
//! Bounds: [`CALLS_MAX`] calls of either kind, and [`WAIT`]; what is beyond is taken as sent, without a place on the wire until that is told. The wait is shorter than what watermarks
//! are behind.

use std::collections::VecDeque;
use std::time::Duration;

use headwater_probe_loader::types::role::UNKNOWN;
use headwater_probe_loader::types::{ANYWHERE, DataEvent, mark};

use super::{Observer, Output, SocketKey};

/// Calls that wait, of all connections.
const CALLS_MAX: usize = 512;

/// What takes longer waits for its peer to make room, or for another thread. Its bytes may have left in part.
const WAIT: Duration = Duration::from_millis(30);

/// A program sends what it has encrypted. What takes longer is counted: nobody knows whose it is.
const UNTIED_WAIT: Duration = Duration::from_secs(5);

/// A call that waits, and the first of its bytes.
struct Waiting {
    event: DataEvent,
    /// The how-manieth event it was.
    number: i64,
    captured: Box<[u8]>,
}

impl Waiting {
    fn socket(&self) -> SocketKey {
        (self.event.connection_id, self.event.role)
    }

    fn is_ahead(&self) -> bool {
        self.event.marks & mark::AHEAD != 0
    }
}

/// The calls that wait, the longest first.
#[derive(Default)]
pub struct Ahead(VecDeque<Waiting>);

impl Ahead {
    fn waits(&self, socket: SocketKey) -> bool {
        self.0.iter().any(|waiting| waiting.socket() == socket)
    }

    /// Takes out the first call of a connection that is one of these.
    fn take(&mut self, socket: SocketKey, is_wanted: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let at = self.0.iter().position(|waiting| waiting.socket() == socket && is_wanted(waiting))?;
        self.0.remove(at)
    }
}

impl Observer {
    /// A library has encrypted bytes of a connection, or is about to, or has decrypted them.
    pub(super) fn plaintext(
        &mut self,
        (event, number): (&DataEvent, i64),
        captured: &[u8],
        out: &mut impl FnMut(Output<'_>),
    ) {
        let socket = (event.connection_id, event.role);
        if event.marks & mark::UNTIED != 0 {
            if self.untied.0.len() == CALLS_MAX {
                return out(Output::RequestsDropped("connection_unknown", 1, None));
            }
            return self.untied.0.push_back(Waiting { event: *event, number, captured: captured.into() });
        }
        if event.marks & mark::AHEAD != 0 || self.ahead.waits(socket) {
            if self.ahead.0.len() < CALLS_MAX {
                return self.ahead.0.push_back(Waiting { event: *event, number, captured: captured.into() });
            }
            self.take_ahead(socket, out);
        }
        self.plaintext_in_order((event, number), captured, out);
    }

    /// What was told of under a key's number goes on this connection.
    pub(super) fn tied(&mut self, tie: &DataEvent, out: &mut impl FnMut(Output<'_>)) {
        let key = (tie.position, UNKNOWN as u16);
        while let Some(Waiting { event, number, captured }) = self.untied.take(key, |_| true) {
            let marks = event.marks & !mark::UNTIED;
            let [position, other_position] = [event.position, event.other_position].map(|at| {
                // Of one whose beginning was not seen, nobody knows what went before.
                if at < ANYWHERE { at.saturating_add(tie.other_position) } else { at }
            });
            let (connection_id, role) = (tie.connection_id, tie.role);
            let event = DataEvent { connection_id, role, marks, position, other_position, ..event };
            self.plaintext((&event, number), &captured, out);
        }
    }

    /// What was told of ahead begins to leave, or does not.
    pub(super) fn sent(&mut self, event: &DataEvent, out: &mut impl FnMut(Output<'_>)) {
        let socket = (event.connection_id, event.role);
        if event.marks & mark::END != 0 {
            return self.end_under_tls(event, out);
        }
        let is_sent = event.marks & mark::FAILED == 0;
        while let Some(waiting) = self.ahead.take(socket, Waiting::is_ahead) {
            if is_sent {
                self.plaintext_in_order((&waiting.event, waiting.number), &waiting.captured, out);
            }
        }
        if is_sent {
            self.place(event);
        }
        self.take_ahead(socket, out);
    }

    /// Takes what waits of a connection.
    pub(super) fn take_ahead(&mut self, socket: SocketKey, out: &mut impl FnMut(Output<'_>)) {
        while let Some(waiting) = self.ahead.take(socket, |_| true) {
            self.plaintext_in_order((&waiting.event, waiting.number), &waiting.captured, out);
        }
    }

    /// Takes what has waited long enough: events are complete up to this time.
    pub fn expire_ahead(&mut self, complete_to_ns: u64, out: &mut impl FnMut(Output<'_>)) {
        let before_ns = complete_to_ns.saturating_sub(WAIT.as_nanos() as u64);
        while let Some(Waiting { event, number, captured }) =
            self.ahead.0.pop_front_if(|first| first.event.at_ns < before_ns)
        {
            self.plaintext_in_order((&event, number), &captured, out);
        }
        let before_ns = complete_to_ns.saturating_sub(UNTIED_WAIT.as_nanos() as u64);
        while self.untied.0.pop_front_if(|first| first.event.at_ns < before_ns).is_some() {
            out(Output::RequestsDropped("connection_unknown", 1, None));
        }
    }
}
