//! Which exchanges the probes add up instead of telling of each one, and what becomes of the sums.
//!
//! In: exchanges that were told of, the exchanges that were added up and those that did not fit. Out: records that stand for many, and what is
//! wanted of connections from now on. An exchange is added up where its connection is hot and plain, and its operation has a cell: one of a
//! table of fixed size. Where detail is to be given up, the other exchanges of hot connections are added up here ([`folds`]). Bounded: that
//! table, and the operations that are remembered of a connection.

pub mod folds;
#[cfg(test)]
pub(super) mod tests;

use std::rc::Rc;

use headwater_histogram::Histogram;
use headwater_probe_loader::types::resp;
use headwater_probe_loader::types::sums::{
    BUCKETS_PER_OCTAVE, CELLS, Last, OCTAVE_FIRST, STATUS_OK, key, number_of, operation, places, status_of,
};
use headwater_probe_loader::{Fits, SumTable, Taken};
use headwater_protocols::http1::{Http1, is_graphql};
use headwater_protocols::redis::{Redis, is_one_of_many};
use headwater_protocols::{Exchange, Kind, Outcome, Protocol};
use headwater_schemas::records::Request;

use super::SocketKey;
use folds::{Fold, Folds, Own};

/// A connection is hot that has so many exchanges within a second, as long as nobody says otherwise.
pub const HOT_PER_SECOND: u32 = 32;
/// A cell is given up that has had fewer than this part of that in each of [`COLD_SECONDS`].
const COLD_PART: u32 = 4;
const COLD_SECONDS: u64 = 3;
/// Runs of the probes that are under way when a cell is given up are over by then.
const DRAINING_SECONDS: u64 = 2;
/// Operations of one connection that are remembered.
const KNOWN_MAX: usize = 64;
const SECOND_NS: u64 = 1_000_000_000;

/// Where the probes add up.
pub trait Cells {
    /// How far the time of day is ahead of CLOCK_MONOTONIC.
    fn set_day_offset(&mut self, offset_ns: i64);
    fn open(&mut self, place: u32, fits: Fits);
    fn settle(&mut self, place: u32, from: u64);
    fn close(&mut self, place: u32);
    /// Takes out what was added up in seconds before this one.
    fn take(&mut self, place: u32, before_second: u64, to: &mut dyn FnMut(Taken));
}

impl Cells for SumTable {
    fn set_day_offset(&mut self, offset_ns: i64) {
        SumTable::set_day_offset(self, offset_ns);
    }

    fn open(&mut self, place: u32, fits: Fits) {
        SumTable::open(self, place, fits);
    }

    fn settle(&mut self, place: u32, from: u64) {
        SumTable::settle(self, place, from);
    }

    fn close(&mut self, place: u32) {
        SumTable::close(self, place);
    }

    fn take(&mut self, place: u32, before_second: u64, to: &mut dyn FnMut(Taken)) {
        SumTable::take(self, place, before_second, to);
    }
}

/// What the exchanges of a cell have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    pub protocol: &'static str,
    pub method: String,
    /// As it is published.
    pub path: String,
    pub operation: String,
    pub status: u16,
}

/// An operation of a connection.
#[derive(Debug)]
struct Known {
    key: u64,
    common: Rc<Common>,
    /// Of the exchanges that were told of.
    request_bytes: [u32; 2],
    response_bytes: [u64; 2],
    /// Its cell, if it has one.
    place: Option<u32>,
}

/// What is remembered of a connection: nothing of one that is idle.
#[derive(Debug, Default)]
pub struct Heat(Option<Box<Warm>>);

/// What is remembered of one that has exchanges: nothing that takes more room before it is hot.
#[derive(Debug, Default)]
struct Warm {
    since_ns: u64,
    exchanges: u32,
    last_completed_ns: u64,
    /// It was not plain once.
    is_cold_for_ever: bool,
    /// It had so many exchanges in this second, or enough of that in the one before.
    is_hot: bool,
    /// What the agent adds up itself, once it does.
    own: Option<Box<Own>>,
    /// The newest checkpoint before which all commands had been answered; 0 if there is none.
    settled_from: u64,
    known: Vec<Known>,
}

impl Heat {
    /// Whether the probes add up all plain commands of Redis like this one.
    fn has_cell_for(&self, request: &Request<'_>) -> bool {
        let is_its = |common: &Common| (common.protocol, &*common.operation) == (request.protocol, request.operation);
        request.protocol == Redis::NAME
            && self.known().iter().any(|known| known.place.is_some() && is_its(&known.common))
    }
}

/// How exchanges like one that was told of are told of from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// As before.
    AsBefore,
    /// The probes add them up, or will.
    InCell,
    /// The same, and this was decided now: the probes are to be told so.
    CellOpened,
}

/// One exchange that the probes knew themselves.
#[derive(Debug, Clone)]
pub struct Single {
    pub common: Rc<Common>,
    pub status: u16,
    /// The answer says where it ends, or has the size that such answers have.
    pub is_whole: bool,
}

/// All that was added up of one operation in one second.
#[derive(Debug, Clone)]
pub struct Summed {
    pub common: Rc<Common>,
    pub second: u64,
    pub exchanges: u64,
    pub first_position: u64,
    pub last: Last,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub duration_ns: Histogram,
}

/// What was taken out of all cells.
#[derive(Debug, Default)]
pub struct Takings {
    pub summed: Vec<(SocketKey, Summed)>,
    /// Cells that were given up, by socket and key.
    pub cold: Vec<(SocketKey, u64)>,
}

struct Used {
    socket: SocketKey,
    key: u64,
    common: Rc<Common>,
    cold_seconds: u64,
    /// It takes nothing any more since this second.
    closed_in: Option<u64>,
}

/// The cells and who has them.
pub struct Summaries {
    /// None if each exchange is to be told of.
    cells: Option<Box<dyn Cells>>,
    used: Vec<Option<Used>>,
    /// Places in use.
    count: usize,
    /// Those of them that were given up: runs of the probes that are under way may still add to them.
    draining: Vec<u32>,
    /// The second that runs.
    second: u64,
    /// A connection is hot that has so many exchanges within a second.
    hot_per_second: u32,
    /// Operations that found both their places taken.
    pub without_cell: u64,
    pub folds: Folds,
}

impl Summaries {
    pub fn new(cells: Option<Box<dyn Cells>>) -> Summaries {
        let places = if cells.is_some() { CELLS } else { 0 };
        Summaries {
            cells,
            used: std::iter::repeat_with(|| None).take(places).collect(),
            count: 0,
            draining: Vec::new(),
            second: 0,
            hot_per_second: HOT_PER_SECOND,
            without_cell: 0,
            folds: Folds::default(),
        }
    }

    /// The offset between the clocks was measured anew.
    pub fn set_day_offset(&mut self, offset_ns: i64) {
        if let Some(cells) = &mut self.cells {
            cells.set_day_offset(offset_ns);
        }
    }

    /// From now on, a connection is hot that has so many exchanges within a second, and what has no cell is added up by the agent or not.
    pub fn set_hot_per_second(&mut self, exchanges: u32, adds_up_itself: bool) {
        self.hot_per_second = exchanges.max(1);
        self.folds.is_on = adds_up_itself && self.cells.is_some();
    }

    /// Adds an exchange to its like, if the agent is to add up those of its connection and the probes do not: says whether it did, and what is to be told
    /// before. That is what was of another second, and what comes before all that the probes add up. What is not plain of a command of Redis that
    /// has a cell is added up by nobody: two of its sums never overlap. An operation of HTTP has a cell for each of its paths, whose sums overlap anyhow.
    pub fn fold(&mut self, heat: &mut Heat, socket: SocketKey, request: &Request<'_>, told: Told) -> (bool, Vec<Fold>) {
        let is_wanted = self.folds.is_on && heat.is_hot() && told == Told::AsBefore && !heat.has_cell_for(request);
        if !is_wanted && heat.own().is_none() {
            return (false, Vec::new());
        }
        let own = heat.warm().own.get_or_insert_default();
        let is_due = own.is_due(request) || told == Told::CellOpened;
        let before = if is_due { self.folds.take(own) } else { Vec::new() };
        (is_wanted && self.folds.add(own, socket, request), before)
    }

    /// Takes what the agent has added up of a connection.
    pub fn take_own(&mut self, heat: &mut Heat) -> Vec<Fold> {
        heat.own().map_or_else(Vec::new, |own| self.folds.take(own))
    }

    /// Cells in use.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Everything that ended before this second of the day has been taken, if there are sums at all.
    pub fn taken_to_second(&self) -> Option<u64> {
        let by_probes = (self.count > 0).then_some(self.second);
        let by_agent = self.folds.taken_to_second().map(i64::unsigned_abs);
        by_probes.into_iter().chain(by_agent).min()
    }

    /// An exchange was told of. Says whether those like it are to be added up from now on. `by_probes`: they may be by the probes; else by the agent alone.
    pub fn told(
        &mut self,
        heat: &mut Heat,
        (socket, by_probes): (SocketKey, bool),
        exchange: &Exchange<'_>,
        path: &str,
        operation_name: &str,
    ) -> Told {
        let Some(cells) = &mut self.cells else { return Told::AsBefore };
        let heat = heat.warm();
        let since_ns = exchange.completed_ns.saturating_sub(heat.since_ns);
        if since_ns > SECOND_NS {
            heat.is_hot &= heat.exchanges >= self.hot_per_second / COLD_PART && since_ns < COLD_SECONDS * SECOND_NS;
            (heat.since_ns, heat.exchanges) = (exchange.completed_ns, 0);
        }
        heat.exchanges += 1;
        heat.is_hot |= heat.exchanges >= self.hot_per_second;
        let follows = exchange.request_started_ns >= heat.last_completed_ns;
        heat.last_completed_ns = exchange.completed_ns;
        if !by_probes || heat.exchanges < self.hot_per_second || heat.is_cold_for_ever || !follows {
            return Told::AsBefore;
        }
        let Some(Plain { key, status, fits_status, size }) = plain(socket, exchange) else { return Told::AsBefore };
        let answer = exchange.response_bytes;
        let at = heat.known.iter().position(|known| known.key == key);
        let known = match at {
            Some(at) => &mut heat.known[at],
            None if heat.known.len() >= KNOWN_MAX => return Told::AsBefore,
            None => {
                heat.known.push(Known {
                    key,
                    common: Rc::new(Common {
                        protocol: exchange.protocol,
                        method: exchange.method.to_owned(),
                        path: path.to_owned(),
                        operation: operation_name.to_owned(),
                        status,
                    }),
                    request_bytes: [size; 2],
                    response_bytes: [answer; 2],
                    place: None,
                });
                let last = heat.known.len() - 1;
                &mut heat.known[last]
            }
        };
        if known.common.status != status {
            // What is told of beside the rule stays so.
            return Told::AsBefore;
        }
        widen(&mut known.response_bytes, answer);
        let before = known.request_bytes;
        widen(&mut known.request_bytes, size);
        let fits = Fits {
            key,
            request_bytes_min: known.request_bytes[0],
            // Two requests in one would have twice the size at least.
            request_bytes_max: known.request_bytes[1].min(known.request_bytes[0].saturating_mul(2) - 1),
            status: fits_status,
            settled_from: heat.settled_from,
        };
        match known.place {
            Some(place) => {
                if before != known.request_bytes {
                    cells.open(place, fits);
                }
                Told::InCell
            }
            None => {
                let free = places(key).into_iter().find(|place| self.used[*place as usize].is_none());
                let Some(place) = free else {
                    self.without_cell += 1;
                    return Told::AsBefore;
                };
                self.used[place as usize] =
                    Some(Used { socket, key, common: Rc::clone(&known.common), cold_seconds: 0, closed_in: None });
                self.count += 1;
                known.place = Some(place);
                cells.open(place, fits);
                Told::CellOpened
            }
        }
    }

    /// What is known of an exchange that the probes told of themselves.
    pub fn single(heat: &Heat, key: u64, status: u32, response_bytes: u64) -> Option<Single> {
        let known = heat.known().iter().find(|known| known.key == key)?;
        let [least, most] = known.response_bytes;
        let status = number_of(status);
        let is_of_its_size = status == known.common.status && (least..=most).contains(&response_bytes);
        let is_whole = known.common.protocol == Redis::NAME || is_of_its_size;
        Some(Single { common: Rc::clone(&known.common), status, is_whole })
    }

    /// All commands before a checkpoint of the connection had been answered.
    pub fn settled(&mut self, heat: &mut Heat, from: u64) {
        let warm = heat.warm();
        warm.settled_from = from;
        let Some(cells) = &mut self.cells else { return };
        warm.known.iter().filter_map(|known| known.place).for_each(|place| cells.settle(place, from));
    }

    /// A connection was not plain: its exchanges are told of from now on.
    pub fn not_plain(&mut self, heat: &mut Heat) {
        heat.warm().is_cold_for_ever = true;
        self.rest(heat);
    }

    /// Nothing more of a connection is added up by the probes. What they have added up, or do at this moment, is taken with all else.
    pub fn rest(&mut self, heat: &mut Heat) {
        for known in heat.known_mut() {
            if let (Some(place), Some(cells)) = (known.place.take(), &mut self.cells) {
                cells.close(place);
                if let Some(used) = &mut self.used[place as usize] {
                    used.closed_in = Some(self.second);
                    self.draining.push(place);
                }
            }
        }
    }

    /// A second of the day has begun: takes what was added up before, and says which connections have lost a cell, by its key.
    pub fn take(&mut self, second: u64) -> Takings {
        self.second = self.second.max(second);
        let mut takings = Takings::default();
        let cold_per_second = u64::from((self.hot_per_second / COLD_PART).max(1));
        let Some(cells) = &mut self.cells else { return takings };
        if self.count == 0 {
            return takings;
        }
        for (place, entry) in self.used.iter_mut().enumerate() {
            let Some(used) = entry else { continue };
            let mut exchanges = 0;
            cells.take(place as u32, second, &mut |taken| {
                exchanges += taken.exchanges;
                takings.summed.push((used.socket, summed(&used.common, taken)));
            });
            used.cold_seconds = if exchanges < cold_per_second { used.cold_seconds + 1 } else { 0 };
            match used.closed_in {
                None if used.cold_seconds >= COLD_SECONDS => {
                    cells.close(place as u32);
                    used.closed_in = Some(second);
                    self.draining.push(place as u32);
                    takings.cold.push((used.socket, used.key));
                }
                Some(closed_in) if second > closed_in + DRAINING_SECONDS => {
                    *entry = None;
                    self.draining.retain(|other| *other as usize != place);
                    self.count -= 1;
                }
                _ => {}
            }
        }
        takings
    }

    /// A connection has ended: takes all that was added up of it, also in cells that it had until a moment ago.
    pub fn end(&mut self, socket: SocketKey, heat: &mut Heat, mut to: impl FnMut(Summed)) {
        for place in &self.draining {
            let used = self.used[*place as usize].as_ref().filter(|used| used.socket == socket);
            if let (Some(used), Some(cells)) = (used, &mut self.cells) {
                cells.take(*place, u64::MAX, &mut |taken| to(summed(&used.common, taken)));
            }
        }
        for known in heat.0.iter_mut().flat_map(|warm| warm.known.drain(..)) {
            let (Some(place), Some(cells)) = (known.place, &mut self.cells) else { continue };
            cells.close(place);
            cells.take(place, u64::MAX, &mut |taken| to(summed(&known.common, taken)));
            self.used[place as usize] = None;
            self.count -= 1;
        }
    }
}

impl Heat {
    /// A cell was given up.
    pub fn cool(&mut self, key: u64) {
        if let Some(known) = self.known_mut().iter_mut().find(|known| known.key == key) {
            known.place = None;
        }
    }

    /// What the agent adds up itself.
    pub fn own(&mut self) -> Option<&mut Own> {
        self.0.as_mut()?.own.as_deref_mut()
    }

    /// Whether any of its operations has a cell.
    pub fn has_cells(&self) -> bool {
        self.known().iter().any(|known| known.place.is_some())
    }

    /// Of a connection that is idle: gives up what says nothing of what comes.
    pub fn sleep(&mut self) {
        let matters =
            |warm: &Warm| warm.is_hot || warm.is_cold_for_ever || warm.own.is_some() || !warm.known.is_empty();
        self.0.take_if(|warm| !matters(warm) && warm.settled_from == 0);
    }

    fn warm(&mut self) -> &mut Warm {
        self.0.get_or_insert_default()
    }

    fn is_hot(&self) -> bool {
        self.0.as_ref().is_some_and(|warm| warm.is_hot)
    }

    fn known(&self) -> &[Known] {
        self.0.as_ref().map_or(&[], |warm| &warm.known)
    }

    fn known_mut(&mut self) -> &mut [Known] {
        self.0.as_mut().map_or(&mut [], |warm| &mut warm.known)
    }
}

/// An exchange that could be added up.
struct Plain {
    key: u64,
    status: u16,
    /// As the probes spell it.
    fits_status: u32,
    /// Of the request.
    size: u32,
}

fn plain(socket: SocketKey, exchange: &Exchange<'_>) -> Option<Plain> {
    if exchange.kind != Kind::Call || exchange.failure.is_some() {
        return None;
    }
    // The probes know these alone.
    let (operation, status, fits_status) = match exchange.protocol {
        Http1::NAME => plain_http1(exchange)?,
        Redis::NAME => plain_redis(exchange)?,
        _ => return None,
    };
    let (connection_id, role) = socket;
    let key = key(connection_id, u32::from(role), operation);
    Some(Plain { key, status, fits_status, size: u32::try_from(exchange.request_bytes).ok()? })
}

fn plain_http1(exchange: &Exchange<'_>) -> Option<(u64, u16, u32)> {
    let is_plain = exchange.outcome != Outcome::Unknown
        && !exchange.path_truncated
        // The probes know an operation by its head alone.
        && exchange.named.is_empty()
        && !is_graphql(exchange.path)
        && exchange.response_started_ns >= Some(exchange.request_ended_ns)
        && exchange.method != "CONNECT";
    let status = exchange.status.filter(|status| is_plain && *status >= 200)?;
    Some((operation(exchange.method, exchange.path)?, status, status_of(status)))
}

/// Replies that are no errors, in one call.
fn plain_redis(exchange: &Exchange<'_>) -> Option<(u64, u16, u32)> {
    let is_plain = exchange.outcome == Outcome::Ok
        && exchange.code.as_str().is_empty()
        && exchange.request_started_ns == exchange.request_ended_ns
        && exchange.response_started_ns == exchange.response_ended_ns
        && is_one_of_many(exchange.method);
    is_plain.then(|| Some((resp::operation(exchange.method)?, 0, STATUS_OK)))?
}

fn widen<T: Ord + Copy>(range: &mut [T; 2], value: T) {
    range[0] = range[0].min(value);
    range[1] = range[1].max(value);
}

fn summed(common: &Rc<Common>, taken: Taken) -> Summed {
    let first = (OCTAVE_FIRST as usize * BUCKETS_PER_OCTAVE) as i32;
    Summed {
        common: Rc::clone(common),
        second: taken.second,
        exchanges: taken.exchanges,
        first_position: taken.first_position,
        last: taken.last,
        request_bytes: taken.request_bytes,
        response_bytes: taken.response_bytes,
        duration_ns: Histogram::of_buckets(first, &taken.counts[..], taken.duration_ns),
    }
}
