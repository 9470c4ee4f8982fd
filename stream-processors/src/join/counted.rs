//! What was counted from one side alone, in case the other side tells of it later.
//!
//! Of single exchanges, what names and describes them; of records of several, where they lie and, if they counted from the server's
//! side, what they amount to. Bounded: the oldest windows are cut off first.

use std::collections::VecDeque;

use headwater_schemas::ids::{ConnectionId, StreamPosition};
use headwater_schemas::records::Side;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::items::{Amount, RequestItem};
use super::ranges::Range;
use super::symbols::Symbol;
use crate::windows::Window;

/// Connection and position: what names an exchange.
pub type Name = (ConnectionId, StreamPosition);

/// All that was counted from one side alone lately.
pub struct Counted {
    singles: FxHashMap<Name, Single>,
    windows: VecDeque<Remembered>,
    sums: usize,
    entries_max: usize,
}

struct Remembered {
    window: Window,
    names: Vec<Name>,
    sums: Sums,
}

/// What counted from records of several exchanges.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Where what clients told lies: it counts whoever tells of it.
    pub of_clients: Vec<(ConnectionId, Range)>,
    /// What only servers told of.
    pub of_servers: Vec<Stretch>,
}

/// An exchange that was counted. Small, since there are many: numbers that do not fit are as large as fits.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Single {
    side: Side,
    /// The other side has told of it since, in a record of several.
    is_used: bool,
    operation: Symbol,
    status_class: Symbol,
    duration_us: u32,
    request_bytes: u32,
    response_bytes: u32,
}

/// Exchanges that counted from their server's side.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stretch {
    pub connection: ConnectionId,
    pub range: Range,
    /// What its client has not told of since.
    pub amount: Amount,
}

/// One of the things that were counted.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    Single(Name),
    Stretch { window: usize, index: usize },
}

impl Counted {
    pub fn new(entries_max: usize) -> Counted {
        Counted { singles: FxHashMap::default(), windows: VecDeque::new(), sums: 0, entries_max }
    }

    pub fn set_entries_max(&mut self, entries_max: usize) {
        self.entries_max = entries_max;
    }

    pub fn len(&self) -> usize {
        self.singles.len() + self.sums
    }

    /// Forgets windows before this one, and then the oldest ones until the bound holds. Says how much was cut off.
    pub fn forget(&mut self, before: Window) -> u64 {
        let mut cut_off = 0;
        while let Some(oldest) = self.windows.front() {
            let expired = oldest.window < before;
            if !expired && self.len() <= self.entries_max {
                break;
            }
            let Some(Remembered { names, sums, .. }) = self.windows.pop_front() else { break };
            if !expired {
                cut_off += (names.len() + sums.len()) as u64;
            }
            self.sums -= sums.len();
            names.iter().for_each(|name| {
                self.singles.remove(name);
            });
        }
        cut_off
    }

    pub fn remember<'a>(&mut self, window: Window, singles: impl Iterator<Item = &'a RequestItem>, sums: Sums) {
        let names = singles.map(|item| {
            let name = (item.connection, item.position);
            self.singles.insert(name, Single::of(item));
            name
        });
        let names = names.collect();
        self.sums += sums.len();
        self.windows.push_back(Remembered { window, names, sums });
    }

    /// An exchange is told of by itself. Says whether it has counted; then it is in no record of several that comes later.
    pub fn tells(&mut self, name: &Name) -> bool {
        match self.singles.get_mut(name) {
            Some(single) => {
                single.is_used = true;
                true
            }
            None => false,
        }
    }

    /// Where what clients summed lies.
    pub fn clients_sums(&self) -> impl Iterator<Item = (ConnectionId, Range)> {
        self.windows.iter().flat_map(|remembered| &remembered.sums.of_clients).copied()
    }

    /// What servers summed, and where it is here.
    pub fn servers_sums(&self) -> impl Iterator<Item = (Place, &Stretch)> {
        self.windows.iter().enumerate().flat_map(|(window, remembered)| {
            let stretches = remembered.sums.of_servers.iter().enumerate();
            stretches.map(move |(index, stretch)| (Place::Stretch { window, index }, stretch))
        })
    }

    /// Single exchanges of some connections, and whose side each was counted from.
    pub fn singles_of(
        &self,
        is_wanted: impl Fn(ConnectionId) -> bool,
    ) -> impl Iterator<Item = (ConnectionId, Side, Range, Place)> {
        let names = self.windows.iter().flat_map(|remembered| &remembered.names);
        names.filter(move |(connection, _)| is_wanted(*connection)).filter_map(|&name| {
            let single = self.singles.get(&name)?;
            let Single { side, operation, status_class, .. } = *single;
            Some((name.0, side, Range { from: name.1, to: name.1, operation, status_class }, Place::Single(name)))
        })
    }

    /// Takes the exchanges that the other side tells of now out of what it tells. Gives how many.
    pub fn take_common(&mut self, place: Place, told: &mut Amount) -> u32 {
        match place {
            Place::Single(name) => match self.singles.get_mut(&name).filter(|single| !single.is_used) {
                Some(single) if told.count > 0 => {
                    single.is_used = true;
                    told.take_common(&mut single.amount())
                }
                _ => 0,
            },
            Place::Stretch { window, index } => {
                let remembered = self.windows.get_mut(window);
                let stretch = remembered.and_then(|remembered| remembered.sums.of_servers.get_mut(index));
                stretch.map_or(0, |stretch| told.take_common(&mut stretch.amount))
            }
        }
    }

    pub fn symbols(&self) -> impl Iterator<Item = Symbol> {
        let singles = self.singles.values().flat_map(|single| [single.operation, single.status_class]);
        let clients = self.clients_sums().map(|(_, range)| range);
        let ranges = clients.chain(self.servers_sums().map(|(_, stretch)| stretch.range));
        singles.chain(ranges.flat_map(|range| [range.operation, range.status_class]))
    }
}

/// A snapshot has each name once, with what is known of it.
impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.windows.iter().map(|Remembered { window, names, sums }| {
            let names: Vec<(Name, Option<&Single>)> =
                names.iter().map(|name| (*name, self.singles.get(name))).collect();
            (window, names, sums)
        }))
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Counted, D::Error> {
        let mut counted = Counted::new(usize::MAX);
        for (window, names, sums) in Vec::<(Window, Vec<(Name, Option<Single>)>, Sums)>::deserialize(deserializer)? {
            counted.singles.extend(names.iter().filter_map(|(name, single)| Some((*name, (*single)?))));
            counted.sums += sums.len();
            let names = names.into_iter().map(|(name, _)| name).collect();
            counted.windows.push_back(Remembered { window, names, sums });
        }
        Ok(counted)
    }
}

impl Sums {
    fn len(&self) -> usize {
        self.of_clients.len() + self.of_servers.len()
    }
}

impl Single {
    fn of(item: &RequestItem) -> Single {
        let fitting = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Single {
            side: item.side,
            is_used: false,
            operation: item.operation,
            status_class: item.status_class,
            duration_us: fitting(item.duration_ns / 1000),
            // Checked to be no less than 0.
            request_bytes: fitting(item.request_bytes as u64),
            response_bytes: fitting(item.response_bytes as u64),
        }
    }

    fn amount(&self) -> Amount {
        let duration_ns = u64::from(self.duration_us) * 1000;
        Amount::one(i64::from(self.request_bytes), i64::from(self.response_bytes), duration_ns)
    }
}
