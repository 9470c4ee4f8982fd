//! Counts what records tell that stand for several exchanges, so that each exchange counts once whoever of the two sides sums.
//!
//! In: such records of one window, its single exchanges, what was read of later windows, what was counted lately. Out: sums that count
//! in the window, and what to remember of them. The two sides sum independently, so their records overlap as they like. Rules:
//!
//! 1. What a client sums counts where its record is.
//! 2. What a server sums counts only where its client has told of nothing within that range. Else its durations alone are added to
//!    what the client tells there, in this window or in a later one that is known.
//! 3. A server's single record within a client's sum is in that sum: its duration alone is added.
//! 4. What counted from the server's side before its client told of it is taken out of what the client tells then.
//!
//! Where a client's agent begins or ends amid a server's sum, rule 2 leaves out what only the server saw of that second.

use headwater_schemas::Histogram;
use headwater_schemas::ids::ConnectionId;
use headwater_schemas::records::Side;
use rustc_hash::FxHashMap;

use super::counted::{Counted, Place, Stretch, Sums};
use super::exchanges::{Exchange, Later};
use super::items::{Amount, Item, RequestItem, SumItem, Told};
use super::ranges::{Names, Range, Ranges};
use crate::processor::Counters;
use crate::sums::Sum;
use crate::windows::Window;

/// Sums that count in the window, and who is at the two ends.
#[derive(Debug)]
pub struct Summed {
    pub ends: Exchange,
    pub sum: Sum,
}

/// What counts of the records of several exchanges, `sums`, and what is to be remembered of them.
///
/// Takes out of `exchanges` and of `later` what counts with them.
pub fn settle(
    sums: Vec<SumItem>,
    exchanges: &mut Vec<Exchange>,
    later: &mut Later,
    later_to: Window,
    counted: &mut Counted,
    counters: &mut Counters,
) -> (Vec<Summed>, Sums) {
    let (clients, servers): (Vec<SumItem>, Vec<SumItem>) =
        sums.into_iter().partition(|sum| sum.last.side == Side::Client);
    let of_clients = clients.iter().map(|sum| (sum.last.connection, sum.range())).collect();
    let mut remembered = Sums { of_clients, of_servers: Vec::new() };
    let hot = connections(&clients, &servers, exchanges, later.range(..=later_to), counted);
    if hot.is_empty() {
        return (Vec::new(), remembered);
    }
    let mut window = Settling {
        is_gone: vec![false; exchanges.len()],
        exchanges,
        clients: clients.into_iter().map(Client::of).collect(),
        hot,
        moved: Vec::new(),
        late_side: 0,
        summed: Vec::new(),
    };
    window.servers_singles();
    let ahead = window.look_ahead(later, later_to);
    window.take_out_what_counted(counted);
    for server in servers.into_iter().chain(ahead) {
        remembered.of_servers.extend(window.servers_sum(server));
    }
    for (window, told) in std::mem::take(&mut window.moved) {
        later.entry(window).or_default().push(told);
    }
    counters.add("late_side", window.late_side);
    (window.finish(), remembered)
}

/// What clients tell of windows that have closed counts no more. It may have counted from its server's side: then no later record tells of it,
/// and it must not be taken out of one. Gives how many exchanges that may be: where two records of several overlap in part, which of them are in
/// both is not certain then, so that this window must not be called complete.
pub fn take_out_what_is_late(mut late: Vec<Told>, counted: &mut Counted) -> u64 {
    if late.is_empty() || counted.len() == 0 {
        return 0;
    }
    late.sort_by_key(|told| (told.connection(), told.range().from));
    let mut alone: FxHashMap<ConnectionId, Ranges<Place>> = FxHashMap::default();
    for told in &late {
        alone.entry(told.connection()).or_default();
    }
    for (place, stretch) in counted.servers_sums() {
        if let Some(ranges) = alone.get_mut(&stretch.connection) {
            ranges.push(stretch.range, place);
        }
    }
    for (id, side, range, place) in counted.singles_of(|connection| alone.contains_key(&connection)).collect::<Vec<_>>()
    {
        if let (Side::Server, Some(ranges)) = (side, alone.get_mut(&id)) {
            ranges.push(range, place);
        }
    }
    alone.values_mut().for_each(Ranges::sort);
    let mut unclear = 0;
    for told in late {
        let Some(ranges) = alone.get(&told.connection()) else { continue };
        let range = told.range();
        let its_name = Names::from_iter([range.name()]);
        let mut amount = told.into_amount();
        unclear += if ranges.names().next().is_some() { u64::from(amount.count) } else { 0 };
        let (singles, stretches): (Vec<Place>, Vec<Place>) =
            ranges.alike(range, &its_name).partition(|place| matches!(place, Place::Single(_)));
        for place in singles.into_iter().chain(stretches) {
            counted.take_common(place, &mut amount);
        }
    }
    unclear
}

/// A connection of which a record tells that stands for several exchanges, or told lately.
#[derive(Default)]
struct Connection {
    /// What its client tells: in this window, by their places.
    singles: Ranges<usize>,
    sums: Ranges<usize>,
    /// In later windows.
    later: Ranges<Window>,
    /// In earlier ones.
    before: Ranges<()>,
    /// As its client names operations.
    client_names: Names,
    /// What counted from its server's side alone.
    alone: Ranges<Place>,
    server_names: Names,
}

type Connections = FxHashMap<ConnectionId, Connection>;

/// Finds these connections, and what is known of each.
fn connections<'a>(
    clients: &[SumItem],
    servers: &[SumItem],
    exchanges: &[Exchange],
    later: impl Iterator<Item = (&'a Window, &'a Vec<Told>)> + Clone,
    counted: &Counted,
) -> Connections {
    let mut hot = Connections::default();
    for (place, sum) in clients.iter().enumerate() {
        hot.entry(sum.last.connection).or_default().sums.push(sum.range(), place);
    }
    for sum in servers {
        hot.entry(sum.last.connection).or_default();
    }
    let later = later.flat_map(|(window, items)| items.iter().map(move |told| (*window, told)));
    for (_, told) in later.clone().filter(|(_, told)| matches!(told, Told::Several(_))) {
        hot.entry(told.connection()).or_default();
    }
    for (connection, range) in counted.clients_sums() {
        hot.entry(connection).or_default().before.push(range, ());
    }
    for (place, stretch) in counted.servers_sums() {
        hot.entry(stretch.connection).or_default().alone.push(stretch.range, place);
    }
    if hot.is_empty() {
        return hot;
    }
    for (place, client) in exchanges.iter().enumerate().filter_map(|(place, exchange)| Some((place, exchange.client?)))
    {
        if let Some(connection) = hot.get_mut(&client.connection) {
            connection.singles.push(client.range(), place);
        }
    }
    for (window, told) in later.filter(|(_, told)| told.side() == Side::Client) {
        if let Some(connection) = hot.get_mut(&told.connection()) {
            connection.later.push(told.range(), window);
        }
    }
    let singles: Vec<_> = counted.singles_of(|connection| hot.contains_key(&connection)).collect();
    for (id, side, range, place) in singles {
        if let Some(connection) = hot.get_mut(&id) {
            match side {
                Side::Client => connection.before.push(range, ()),
                Side::Server => connection.alone.push(range, place),
            }
        }
    }
    hot.values_mut().for_each(Connection::sort);
    hot
}

impl Connection {
    fn sort(&mut self) {
        self.client_names = self.singles.names().chain(self.sums.names()).chain(self.later.names()).collect();
        self.client_names.extend(self.before.names());
        self.server_names = self.alone.names().collect();
        self.singles.sort();
        self.sums.sort();
        self.later.sort();
        self.before.sort();
        self.alone.sort();
    }

    /// What counted from its server's side alone and may be what its client tells now. What the client has a name of its own for is that.
    fn counted_alike(&self, client: Range) -> impl Iterator<Item = Place> {
        self.alone.alike_where(client, &self.server_names, move |server| {
            server.name() == client.name() || !self.client_names.contains(&server.name())
        })
    }

    /// Whether its client told of anything within a range.
    fn client_tells(&self, of: Range) -> bool {
        self.singles.overlapping(of).next().is_some()
            || self.sums.overlapping(of).next().is_some()
            || self.later.overlapping(of).next().is_some()
            || self.before.overlapping(of).next().is_some()
    }
}

/// A client's record of several exchanges, while it is settled what counts of it.
struct Client {
    sum: SumItem,
    server: Option<RequestItem>,
    server_duration_ns: Histogram,
    both_sides: u32,
}

impl Client {
    fn of(sum: SumItem) -> Client {
        Client { sum, server: None, server_duration_ns: Histogram::default(), both_sides: 0 }
    }

    /// Its server told of so many of its exchanges. Gives how many of them there can be.
    fn seen_by(&mut self, server: &RequestItem, count: u32) -> u32 {
        self.server.get_or_insert(*server);
        let seen = count.min(self.sum.amount.count.saturating_sub(self.both_sides));
        self.both_sides += seen;
        seen
    }

    fn finish(self) -> Option<Summed> {
        let Client { sum, server, server_duration_ns, both_sides } = self;
        let both_sides = i64::from(both_sides.min(sum.amount.count));
        let ends = Exchange { client: Some(sum.last), server, is_in_servers_sum: false };
        (sum.amount.count > 0)
            .then(|| Summed { ends, sum: Sum { both_sides, server_duration_ns, ..counts(&sum.last, &sum.amount) } })
    }
}

/// One window, while it is settled what counts in it.
struct Settling<'a> {
    exchanges: &'a mut Vec<Exchange>,
    /// Which of them do not count by themselves.
    is_gone: Vec<bool>,
    clients: Vec<Client>,
    hot: Connections,
    /// What belongs to a later window.
    moved: Vec<(Window, Told)>,
    late_side: u64,
    summed: Vec<Summed>,
}

impl Settling<'_> {
    /// Single records of servers that lie in what their clients sum: here, later or before.
    fn servers_singles(&mut self) {
        for (exchange, is_gone) in self.exchanges.iter().zip(&mut self.is_gone) {
            let (None, Some(server)) = (&exchange.client, &exchange.server) else { continue };
            let Some(connection) = self.hot.get(&server.connection) else { continue };
            let (range, names) = (server.range(), &connection.client_names);
            if let Some(place) = connection.sums.alike(range, names).next() {
                self.clients[place].seen_by(server, 1);
                self.clients[place].server_duration_ns.record(server.duration_ns);
            } else if let Some(window) = connection.later.alike(range, names).next() {
                self.moved.push((window, Told::One(*server)));
            } else if connection.before.alike(range, names).next().is_some() {
                self.late_side += 1;
            } else {
                continue;
            }
            *is_gone = true;
        }
    }

    /// Uses here what servers tell in later windows of what their clients sum here. Gives what they sum there of it, and of nothing else that
    /// their clients tell.
    fn look_ahead(&mut self, later: &mut Later, later_to: Window) -> Vec<SumItem> {
        let mut sums = Vec::new();
        let servers = later.range_mut(..=later_to).flat_map(|(_, items)| items);
        for told in servers.filter(|told| told.side() == Side::Server && !told.last().is_used) {
            let Some(connection) = self.hot.get(&told.connection()) else { continue };
            let (range, names) = (told.range(), &connection.client_names);
            let of_sums = connection.sums.alike(range, names).next();
            match (told, of_sums) {
                (Told::One(server), Some(place)) => {
                    self.clients[place].seen_by(server, 1);
                    self.clients[place].server_duration_ns.record(server.duration_ns);
                    server.is_used = true;
                }
                // Most of it belongs there if its client tells of it there, too.
                (Told::Several(_), _) if connection.later.alike(range, names).next().is_some() => {}
                (Told::Several(sum), of_sums) => {
                    if of_sums.is_some() || connection.singles.alike(range, names).next().is_some() {
                        sums.push((**sum).clone());
                        sum.last.is_used = true;
                    }
                }
                (Told::One(_), None) => {}
            }
        }
        sums
    }

    /// Takes what counted from servers' sides before out of what their clients tell now. Single exchanges come first: which sum
    /// they are in is certain. Of two sums that overlap in part, all that the one which has fewer still holds is in both, as long as
    /// both sides told of all that was before.
    fn take_out_what_counted(&mut self, counted: &mut Counted) {
        for (exchange, is_gone) in self.exchanges.iter().zip(&mut self.is_gone) {
            let (Some(client), None) = (&exchange.client, &exchange.server) else { continue };
            let Some(connection) = self.hot.get(&client.connection) else { continue };
            let mut one = Amount::one(client.request_bytes, client.response_bytes, client.duration_ns);
            for place in connection.counted_alike(client.range()) {
                if one.count > 0 && counted.take_common(place, &mut one) > 0 {
                    (*is_gone, self.late_side) = (true, self.late_side + 1);
                }
            }
        }
        let mut in_order: Vec<&mut Client> = self.clients.iter_mut().collect();
        in_order.sort_by_key(|client| client.sum.from);
        for client in in_order {
            let Some(connection) = self.hot.get(&client.sum.last.connection) else { continue };
            let places = || connection.counted_alike(client.sum.range());
            let (singles, stretches): (Vec<Place>, Vec<Place>) =
                places().partition(|place| matches!(place, Place::Single(_)));
            for place in singles.into_iter().chain(stretches) {
                self.late_side += u64::from(counted.take_common(place, &mut client.sum.amount));
            }
        }
    }

    /// What a server sums. Gives what to remember of it if it counts.
    fn servers_sum(&mut self, server: SumItem) -> Option<Stretch> {
        let connection = self.hot.get(&server.last.connection)?;
        let (range, names) = (server.range(), &connection.client_names);
        let (mut left, mut first) = (server.amount.count, None);
        for place in connection.singles.alike(range, names) {
            let exchange = &mut self.exchanges[place];
            if exchange.server.is_none() && !self.is_gone[place] && !exchange.is_in_servers_sum && left > 0 {
                exchange.is_in_servers_sum = true;
                first = first.or(exchange.client);
                left -= 1;
            }
        }
        let mut of_sum = None;
        for place in connection.sums.alike(range, names) {
            let client = &mut self.clients[place];
            if client.sum.amount.count > 0 {
                left -= client.seen_by(&server.last, left);
                of_sum = of_sum.or(Some(place));
            }
        }
        let Amount { count, duration_ns, .. } = &server.amount;
        let ends = Exchange { client: first, server: Some(server.last), is_in_servers_sum: false };
        if let Some(place) = of_sum {
            merge(&mut self.clients[place].server_duration_ns, duration_ns);
        } else if first.is_some() {
            let sum = Sum { server_duration_ns: duration_ns.clone(), ..Sum::default() };
            self.summed.push(Summed { ends, sum });
        } else if let Some(window) = connection.later.alike(range, names).next() {
            self.moved.push((window, Told::Several(Box::new(server))));
        } else if connection.client_tells(range) {
            self.late_side += u64::from(*count);
        } else {
            let sum = Sum { server_duration_ns: duration_ns.clone(), ..counts(&server.last, &server.amount) };
            self.summed.push(Summed { ends, sum });
            let SumItem { last, amount, .. } = server;
            return Some(Stretch { connection: last.connection, range, amount });
        }
        None
    }

    fn finish(self) -> Vec<Summed> {
        let mut is_gone = self.is_gone.into_iter();
        self.exchanges.retain(|_| !is_gone.next().unwrap_or(false));
        let mut summed = self.summed;
        summed.extend(self.clients.into_iter().filter_map(Client::finish));
        summed
    }
}

/// What so many exchanges add up to.
fn counts(last: &RequestItem, amount: &Amount) -> Sum {
    Sum {
        requests: i64::from(amount.count),
        errors: if last.error { i64::from(amount.count) } else { 0 },
        request_bytes: amount.request_bytes,
        response_bytes: amount.response_bytes,
        duration_ns: amount.duration_ns.clone(),
        ..Sum::default()
    }
}

fn merge(sum: &mut Histogram, other: &Histogram) {
    if let Err(error) = sum.merge(other) {
        tracing::error!(%error, "a histogram was let in that cannot be added");
    }
}

#[cfg(test)]
mod tests;
