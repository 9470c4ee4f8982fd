//! Brings the two sides' records of an exchange together, and sees that each exchange counts once.
//!
//! In: the records of one window, what was read of later windows, what was counted lately. Out: the exchanges that count in this
//! window, and the sums of those of which a record tells that stands for several ([`super::summed`]). An exchange counts where its
//! client's record is, or where its server's is if the client's is not known when that window closes. Bounded: of the exchanges
//! whose other side is still to come, the oldest are cut off.

use std::collections::BTreeMap;

use headwater_schemas::records::Side;
use rustc_hash::{FxHashMap, FxHashSet};

use super::counted::{Counted, Name};
use super::items::{RequestItem, SumItem, Told};
use super::summed::{Summed, settle};
use crate::processor::Counters;
use crate::windows::Window;

/// An exchange that counts in this window: from one side or from both.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exchange {
    pub client: Option<RequestItem>,
    pub server: Option<RequestItem>,
    /// Its server told of it too, in a record of several.
    pub is_in_servers_sum: bool,
}

/// Records of windows that are still open.
pub type Later = BTreeMap<Window, Vec<Told>>;

/// What counts in a window.
pub struct Paired {
    pub exchanges: Vec<Exchange>,
    pub summed: Vec<Summed>,
}

/// What counts in the window whose records `items` are.
///
/// `later` are the records read of later windows, as far as the join looks ahead. A server's record whose client's is there moves to that window; a server's
/// record there whose client's is here is used here and counts no more.
pub fn pair(
    window: Window,
    items: Vec<Told>,
    later: &mut Later,
    later_to: Window,
    counted: &mut Counted,
    counters: &mut Counters,
) -> Paired {
    let (singles, sums) = apart(items, counters);
    let mut exchanges = match_within(&singles, counters);
    if counted.len() > 0 {
        let all = exchanges.len();
        exchanges.retain(|exchange| !counted.tells(&exchange.name()));
        counters.add("late_side", (all - exchanges.len()) as u64);
    }
    match_later(&mut exchanges, later, later_to);
    let (summed, sums) = settle(sums, &mut exchanges, later, later_to, counted, counters);
    let one_sided = exchanges.iter().filter(|exchange| exchange.is_one_sided()).filter_map(Exchange::item);
    counted.remember(window, one_sided, sums);
    Paired { exchanges, summed }
}

impl Exchange {
    /// Whose view of it counts.
    pub fn item(&self) -> Option<&RequestItem> {
        self.client.as_ref().or(self.server.as_ref())
    }

    fn name(&self) -> Name {
        self.item().map(|item| (item.connection, item.position)).unwrap_or_default()
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

/// Records of one exchange, and those of several, each once.
fn apart(items: Vec<Told>, counters: &mut Counters) -> (Vec<RequestItem>, Vec<SumItem>) {
    let (mut singles, mut sums) = (Vec::with_capacity(items.len()), Vec::new());
    let mut seen: FxHashSet<(Name, Side)> = FxHashSet::default();
    for told in items {
        match told {
            Told::One(item) => singles.push(item),
            Told::Several(sum) if sum.last.is_used => {}
            Told::Several(sum) => {
                if seen.insert(((sum.last.connection, sum.last.position), sum.last.side)) {
                    sums.push(*sum);
                } else {
                    counters.add("duplicates", 1);
                }
            }
        }
    }
    (singles, sums)
}

fn match_within(items: &[RequestItem], counters: &mut Counters) -> Vec<Exchange> {
    let mut exchanges: Vec<Exchange> = Vec::with_capacity(items.len());
    let mut places: FxHashMap<Name, usize> = FxHashMap::with_capacity_and_hasher(items.len(), Default::default());
    let mut duplicates = 0;
    for item in items.iter().filter(|item| !item.is_used) {
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
fn match_later(exchanges: &mut Vec<Exchange>, later: &mut Later, later_to: Window) {
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
        for told in items {
            let Told::One(item) = told else { continue };
            let name = (item.connection, item.position);
            let Some(&place) = lonely.get(&name).filter(|_| !item.is_used) else {
                continue;
            };
            let exchange = &mut exchanges[place];
            match (item.side, exchange.client, exchange.server) {
                (Side::Server, Some(_), None) => {
                    exchange.server = Some(*item);
                    item.is_used = true;
                }
                (Side::Client, None, Some(server)) => {
                    moved.push((*window, server));
                    exchange.server = None;
                }
                _ => continue,
            }
            lonely.remove(&name);
        }
    }
    exchanges.retain(|exchange| exchange.item().is_some());
    for (window, server) in moved {
        later.entry(window).or_default().push(Told::One(server));
    }
}
