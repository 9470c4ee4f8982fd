//! Whether messages that are published on a channel are confirmed, and by which numbers.
//!
//! In: that a message is published, the numbers that the server confirms, the time. Out: the number of a message, or what the channel has been found to be.
//!
//! Where the client is seen to ask for confirmations, numbers begin with 1 (RabbitMQ's "Consumer Acknowledgements and Publisher Confirms"). On a channel
//! whose beginning was not seen, a server that confirms proves that it was asked to. Nobody confirms what was not published: that bounds from below which
//! number the first message had that was seen. The bound is the number itself as soon as nothing is under way, which is believed as in Redis:
//! after a second of silence with nothing open, or when the client has gone on so often with nothing open.

/// A client has gone on so often with nothing open.
const TURNS_MIN: u32 = 16;
/// After such a silence nothing is under way that nobody saw. A message that is not confirmed for so long may be one that never is.
pub(super) const SILENCE_NS: u64 = 1_000_000_000;
/// Brokers confirm within milliseconds. One that has confirmed nothing for so long does not on this channel.
const UNCONFIRMED_NS: u64 = 30_000_000_000;

/// What is known of a channel's confirmations.
#[derive(Debug)]
pub(super) enum Confirms {
    /// The client has not asked for any.
    No,
    /// The next message has this number.
    From(u64),
    /// The channel's beginning was not seen. Messages are counted from the first one that was.
    Unproven(Unproven),
}

impl Default for Confirms {
    fn default() -> Self {
        Self::Unproven(Unproven::default())
    }
}

impl Confirms {
    /// The number of a message that is published now; 0 if it has none.
    pub fn number(&mut self, is_settled: bool, now_ns: u64) -> u64 {
        match self {
            Self::No => 0,
            Self::From(next) => {
                let number = *next;
                *next = number.saturating_add(1);
                number
            }
            Self::Unproven(unproven) => unproven.publish(is_settled, now_ns),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Unproven {
    /// Messages that were seen.
    published: u64,
    /// No less than this is the number of the first; None as long as nothing was confirmed.
    first: Option<u64>,
    /// The highest number that was confirmed.
    confirmed: u64,
    /// So often the client has gone on with nothing open, since `first` is what it is.
    turns: u32,
    /// Times of the first message, and of the last or its confirmation.
    since_ns: u64,
    last_ns: u64,
}

/// What a channel is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is not known yet.
    Nothing {
        is_confirmed: bool,
    },
    /// The first message that was seen has this number, and so the next one.
    Numbers {
        first: u64,
        next: u64,
    },
    NoConfirmations,
}

impl Unproven {
    /// On a channel where the server has confirmed this: what is published next has a higher number.
    pub fn behind(confirmed: u64) -> Self {
        Self { first: Some(confirmed.saturating_add(1)), confirmed, ..Self::default() }
    }

    fn publish(&mut self, is_settled: bool, now_ns: u64) -> u64 {
        if self.published == 0 {
            self.since_ns = now_ns;
        } else if self.is_all_confirmed() && is_settled {
            self.turns += 1;
        }
        self.last_ns = now_ns;
        self.published += 1;
        self.published
    }

    fn is_all_confirmed(&self) -> bool {
        self.first.is_some_and(|first| self.confirmed.saturating_add(1) == first.saturating_add(self.published))
    }

    /// What is known now. `is_settled`: all that was published is confirmed, if `first` is right.
    pub fn weigh(&self, is_settled: bool, now_ns: u64) -> Found {
        let is_silent = now_ns.saturating_sub(self.last_ns) >= SILENCE_NS;
        let is_proven = self.turns >= TURNS_MIN || (is_silent && self.is_all_confirmed() && is_settled);
        match self.first {
            Some(first) if is_proven && self.published > 0 => {
                Found::Numbers { first, next: first.saturating_add(self.published) }
            }
            Some(_) => Found::Nothing { is_confirmed: true },
            None if self.published > 0 && now_ns.saturating_sub(self.since_ns) >= UNCONFIRMED_NS => {
                Found::NoConfirmations
            }
            None => Found::Nothing { is_confirmed: false },
        }
    }

    /// The server confirms a number. `moved`: messages of which all has come, of those that were counted. True if what was taken for confirmed is not.
    pub fn confirm(&mut self, number: u64, moved: u64, now_ns: u64) -> bool {
        self.last_ns = now_ns;
        self.confirmed = self.confirmed.max(number);
        let first = number.saturating_add(1).saturating_sub(moved).max(1);
        let is_moved = self.first.is_some_and(|known| known < first);
        if is_moved {
            self.turns = 0;
        }
        self.first = Some(self.first.unwrap_or(first).max(first));
        is_moved
    }

    /// The server has confirmed something.
    pub fn is_confirmed(&self) -> bool {
        self.first.is_some()
    }

    /// How many messages were counted.
    pub fn published(&self) -> u64 {
        self.published
    }

    /// The place of a number among the messages that were counted, if it is theirs.
    pub fn place(&self, number: u64) -> Option<u64> {
        number.checked_sub(self.first?)?.checked_add(1)
    }
}
