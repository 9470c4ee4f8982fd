//! Brings the two sides' records of an exchange together, and sees that each exchange counts once.
//!
//! In: the records of one window, what was read of later windows, what was counted lately. Out: the exchanges that count in this
//! window. An exchange counts where its client's record is, or where its server's is if the client's is not known when that
//! window closes. Bounded: of the exchanges whose other side is still to come, the oldest are cut off.

use std::collections::{BTreeMap, VecDeque};

use headwater_schemas::ids::{ConnectionId, StreamPosition};
use headwater_schemas::records::Side;
use rustc_hash::FxHashMap;

use super::items::RequestItem;
use crate::processor::Counters;
use crate::windows::Window;

/// An exchange that counts in this window: from one side or from both.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exchange {
    pub client: Option<RequestItem>,
    pub server: Option<RequestItem>,
}

/// Connection and position: what names an exchange.
type Name = (ConnectionId, StreamPosition);

/// Exchanges that were counted from one side alone, in case the other side's record comes later.
pub struct Counted {
    names: FxHashMap<Name, ()>,
    by_window: VecDeque<(Window, Vec<Name>)>,
    names_max: usize,
}

impl Counted {
    pub fn new(names_max: usize) -> Counted {
        Counted { names: FxHashMap::default(), by_window: VecDeque::new(), names_max }
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Forgets windows before this one, and then the oldest ones until the bound holds. Says how many were cut off.
    pub fn forget(&mut self, before: Window) -> u64 {
        let mut cut_off = 0;
        while let Some((window, names)) = self.by_window.front() {
            let expired = *window < before;
            if !expired && self.names.len() <= self.names_max {
                break;
            }
            if !expired {
                cut_off += names.len() as u64;
            }
            names.iter().for_each(|name| {
                self.names.remove(name);
            });
            self.by_window.pop_front();
        }
        cut_off
    }

    fn remember(&mut self, window: Window, names: Vec<Name>) {
        self.names.extend(names.iter().map(|name| (*name, ())));
        self.by_window.push_back((window, names));
    }

    fn contains(&self, name: &Name) -> bool {
        self.names.contains_key(name)
    }
}

/// The exchanges of the window whose records `items` are.
///
/// `later` are the records read of later windows, as far as the join looks ahead. A server's record whose client's is there moves to that window; a server's
/// record there whose client's is here is used here and counts no more (its weight becomes 0).
pub fn pair(
    window: Window,
    items: &[RequestItem],
    later: &mut BTreeMap<Window, Vec<RequestItem>>,
    later_to: Window,
    counted: &mut Counted,
    counters: &mut Counters,
) -> Vec<Exchange> {
    let mut exchanges = match_within(items, counters);
    if counted.len() > 0 {
        let all = exchanges.len();
        exchanges.retain(|exchange| !counted.contains(&exchange.name()));
        counters.add("late_side", (all - exchanges.len()) as u64);
    }
    match_later(&mut exchanges, later, later_to);
    let one_sided = exchanges.iter().filter(|exchange| exchange.is_one_sided()).map(Exchange::name).collect();
    counted.remember(window, one_sided);
    exchanges
}

impl Exchange {
    fn name(&self) -> Name {
        self.client.or(self.server).map(|item| (item.connection, item.position)).unwrap_or_default()
    }

    fn is_one_sided(&self) -> bool {
        self.client.is_none() || self.server.is_none()
    }

    fn slot(&mut self, side: Side) -> &mut Option<RequestItem> {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}

fn match_within(items: &[RequestItem], counters: &mut Counters) -> Vec<Exchange> {
    let mut exchanges: Vec<Exchange> = Vec::with_capacity(items.len());
    let mut places: FxHashMap<Name, usize> = FxHashMap::with_capacity_and_hasher(items.len(), Default::default());
    let mut duplicates = 0;
    for item in items.iter().filter(|item| item.weight > 0) {
        let place = *places.entry((item.connection, item.position)).or_insert_with(|| {
            exchanges.push(Exchange::default());
            exchanges.len() - 1
        });
        let slot = exchanges[place].slot(item.side);
        if slot.is_some() {
            duplicates += 1;
        } else {
            *slot = Some(*item);
        }
    }
    counters.add("duplicates", duplicates);
    exchanges
}

/// Finds the other side of one-sided exchanges among the records of later windows.
fn match_later(exchanges: &mut Vec<Exchange>, later: &mut BTreeMap<Window, Vec<RequestItem>>, later_to: Window) {
    let mut lonely: FxHashMap<Name, usize> = FxHashMap::default();
    if later.is_empty() {
        return;
    }
    for (place, exchange) in exchanges.iter().enumerate().filter(|(_, exchange)| exchange.is_one_sided()) {
        lonely.insert(exchange.name(), place);
    }
    let mut moved = Vec::new();
    for (window, items) in later.range_mut(..=later_to) {
        if lonely.is_empty() {
            break;
        }
        for item in items.iter_mut().filter(|item| item.weight > 0) {
            let Some(&place) = lonely.get(&(item.connection, item.position)) else {
                continue;
            };
            let exchange = &mut exchanges[place];
            match (item.side, exchange.client, exchange.server) {
                (Side::Server, Some(_), None) => {
                    exchange.server = Some(*item);
                    item.weight = 0;
                }
                (Side::Client, None, Some(server)) => {
                    moved.push((*window, server));
                    exchange.server = None;
                }
                _ => continue,
            }
            lonely.remove(&(item.connection, item.position));
        }
    }
    exchanges.retain(|exchange| exchange.client.is_some() || exchange.server.is_some());
    for (window, server) in moved {
        later.entry(window).or_default().push(server);
    }
}
