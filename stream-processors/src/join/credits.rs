//! What was counted of connections from their server's side alone, in case the client's side turns up after all.
//!
//! A connection counts from its client's side where that is captured. A client that closes late, or whose clock is ahead, may say its
//! first word a window after its server's bytes were counted: its records then count only what exceeds them. That holds only if
//! they tell of the connection from its beginning. A credit is good for [`CREDIT_WINDOWS`] windows: an agent tells of a new
//! connection at its next walk. Bounded: the oldest are cut off.

use std::collections::VecDeque;

use headwater_schemas::ids::ConnectionId;
use headwater_schemas::records::FlowState;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::items::FlowItem;
use crate::windows::{Window, Windows};

pub const CREDIT_WINDOWS: i64 = 2;

/// All connections that were counted from their server's side lately.
#[derive(Serialize, Deserialize)]
pub struct Credits {
    by_connection: FxHashMap<ConnectionId, Account>,
    by_window: VecDeque<(Window, Vec<ConnectionId>)>,
    #[serde(skip)]
    connections_max: usize,
}

/// What of a connection its client need not count any more.
#[derive(Default, Serialize, Deserialize)]
struct Account {
    /// Given, but the client has not told of the connection's beginning.
    given: VecDeque<(Window, Credit)>,
    /// The client has, in this window; what it has not used up yet.
    claimed: Option<(Window, Credit)>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Credit {
    to_server_bytes: i64,
    to_client_bytes: i64,
    opened: i64,
    ended: bool,
}

impl Credits {
    pub fn new(connections_max: usize) -> Credits {
        Credits { by_connection: FxHashMap::default(), by_window: VecDeque::new(), connections_max }
    }

    pub fn set_connections_max(&mut self, connections_max: usize) {
        self.connections_max = connections_max;
    }

    pub fn len(&self) -> usize {
        self.by_connection.len()
    }

    /// A server's record counts in this window.
    pub fn give(&mut self, window: Window, flow: &FlowItem) {
        let account = self.by_connection.entry(flow.connection).or_default();
        if account.given.back().is_none_or(|(last, _)| *last != window) {
            account.given.push_back((window, Credit::default()));
            match self.by_window.back_mut() {
                Some((last, connections)) if *last == window => connections.push(flow.connection),
                _ => self.by_window.push_back((window, vec![flow.connection])),
            }
        }
        if let Some((_, credit)) = account.given.back_mut() {
            credit.add(&Credit {
                to_server_bytes: flow.received_bytes,
                to_client_bytes: flow.sent_bytes,
                opened: flow.opened,
                ended: flow.state != FlowState::Open,
            });
        }
    }

    /// What is left of a client's record that counts in this window.
    pub fn claim(&mut self, window: Window, flow: &FlowItem, windows: Windows) -> FlowItem {
        let mut rest = *flow;
        let Some(account) = self.by_connection.get_mut(&flow.connection) else {
            return rest;
        };
        let since = windows.moved(window, -CREDIT_WINDOWS);
        if account.given.iter().any(|(given_in, credit)| *given_in >= since && credit.ended) {
            rest.state = FlowState::Open;
        }
        if flow.opened > 0 {
            let mut sum = Credit::default();
            // The window stays: while it does, so does what is claimed of it.
            for (_, credit) in account.given.iter_mut().filter(|(given_in, _)| *given_in >= since) {
                sum.add(&std::mem::take(credit));
            }
            account.claimed = Some((window, sum));
        }
        if let Some((_, credit)) = account.claimed.as_mut().filter(|(claimed_in, _)| *claimed_in >= since) {
            take(&mut credit.to_server_bytes, &mut rest.sent_bytes);
            take(&mut credit.to_client_bytes, &mut rest.received_bytes);
            take(&mut credit.opened, &mut rest.opened);
            if credit.ended {
                rest.state = FlowState::Open;
            }
        }
        rest
    }

    /// Forgets what no record of a window from this one on can claim, and then the oldest until the bound holds. Says how much
    /// was cut off.
    pub fn forget(&mut self, open: Window, windows: Windows) -> u64 {
        // A claim in the last window that may still claim is itself good for some windows.
        let before = windows.moved(open, -2 * CREDIT_WINDOWS);
        let mut cut_off = 0;
        while let Some((window, _)) = self.by_window.front() {
            let expired = *window < before;
            if !expired && self.by_connection.len() <= self.connections_max {
                break;
            }
            let Some((window, connections)) = self.by_window.pop_front() else { break };
            for connection in connections {
                // One that was given more since then is met again.
                let is_last = |account: &Account| account.given.back().is_none_or(|(last, _)| *last <= window);
                if self.by_connection.get(&connection).is_some_and(is_last) {
                    self.by_connection.remove(&connection);
                    cut_off += u64::from(!expired);
                } else if let Some(account) = self.by_connection.get_mut(&connection) {
                    account.given.retain(|(given_in, _)| *given_in > window);
                }
            }
        }
        cut_off
    }
}

impl Credit {
    fn add(&mut self, other: &Credit) {
        self.to_server_bytes = self.to_server_bytes.saturating_add(other.to_server_bytes);
        self.to_client_bytes = self.to_client_bytes.saturating_add(other.to_client_bytes);
        self.opened = self.opened.saturating_add(other.opened);
        self.ended |= other.ended;
    }
}

/// Moves as much as both have.
fn take(from: &mut i64, of: &mut i64) {
    let amount = (*from).min(*of);
    (*from, *of) = (*from - amount, *of - amount);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headwater_schemas::encryption::Encryption;
    use headwater_schemas::records::Side;

    use super::*;
    use crate::join::symbols::Symbol;

    #[test]
    fn what_was_claimed_stays_although_an_older_credit_is_forgotten() {
        let windows = Windows::of_ms(10_000);
        let at = |number: i64| windows.moved(Window::starting_at(0), number);
        let mut credits = Credits::new(10);
        credits.give(at(0), &flow(Side::Server, 0, 50));
        credits.give(at(2), &flow(Side::Server, 0, 100));
        assert_eq!(credits.claim(at(3), &flow(Side::Client, 1, 30), windows).sent_bytes, 0);
        credits.forget(at(5), windows);
        assert_eq!(credits.claim(at(5), &flow(Side::Client, 0, 80), windows).sent_bytes, 10);
        credits.forget(at(6), windows);
        credits.forget(at(7), windows);
        assert_eq!(credits.len(), 0);
    }

    /// So many bytes to the server.
    fn flow(side: Side, opened: i64, bytes: i64) -> FlowItem {
        let (sent_bytes, received_bytes) = if side == Side::Client { (bytes, 0) } else { (0, bytes) };
        FlowItem {
            connection: ConnectionId::parse("00000000000000a1").unwrap(),
            at_us: 0,
            told_at_us: 0,
            sent_bytes,
            received_bytes,
            retransmits: 0,
            rtt_us: -1,
            opened,
            attempts: 1,
            side,
            state: FlowState::Open,
            encryption: Encryption::of("none"),
            remote_port: 80,
            remote: Symbol::UNKNOWN,
            protocol: Symbol::UNKNOWN,
            workload: Symbol::UNKNOWN,
            node: Symbol::UNKNOWN,
        }
    }
}
