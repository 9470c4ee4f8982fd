//! The join against what happened, where either side tells of several exchanges in one record.
//!
//! Such a record does not say of which exchanges, so counts are held against the truth: by connection, operation and status class, in
//! each range of windows. No more may count there than belong there, and no less where all of these windows are called complete.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use headwater_histogram::Histogram;
use headwater_kafka::partition_of;
use headwater_schemas::place::{Offset, Partition};
use headwater_schemas::records::{Partial, Side};

use crate::join::{Places, Said, check_names, window_of};
use crate::logs::{Logs, connection_id, waited_ns};
use crate::world::{Fact, SIDES, World};

/// Operation and status class.
type Group = (String, &'static str);

/// Where an exchange may count, and whether it must if those windows are complete.
#[derive(Debug, Clone)]
struct Truth {
    index: usize,
    may: BTreeSet<i64>,
    must: Option<BTreeSet<i64>>,
}

/// Records of one partition of requests that tell of one connection: whose side, of which exchanges, and where.
type Told = HashMap<usize, Vec<(Side, Vec<usize>, Offset)>>;

/// Holds what the join of one partition said of requests against what happened.
pub fn check_sums(world: &World, logs: &Logs, partition: usize, said: &Said<'_>, all_is_well: bool) {
    let places = Places::of(logs, partition);
    let told = told(world, logs, partition);
    let mut truths: BTreeMap<Group, Vec<Truth>> = BTreeMap::new();
    for (index, exchange) in world.exchanges.iter().enumerate() {
        let connection = connection_id(exchange.connection);
        if partition_of(connection.as_bytes(), world.plan.partitions) != Partition(partition as i32) {
            continue;
        }
        let class = if exchange.error { "5xx" } else { "2xx" };
        let truth = truth(world, logs, &places, &told, said, index);
        truths.entry((world.operation(index), class)).or_default().push(truth);
    }
    let mut counted: BTreeMap<Group, BTreeMap<i64, Vec<&Partial>>> = BTreeMap::new();
    for partial in said.partials.iter().filter(|partial| !partial.operation.is_empty()) {
        let class = if partial.status_class == "5xx" { "5xx" } else { "2xx" };
        let windows = counted.entry((partial.operation.clone(), class)).or_default();
        windows.entry(partial.window_start_us).or_default().push(partial);
    }
    for (group, truths) in &truths {
        let partials = counted.remove(group).unwrap_or_default();
        check_group(world, said, group, truths, &partials, all_is_well);
    }
    assert!(counted.is_empty(), "exchanges that never were: {counted:?}");
}

fn told(world: &World, logs: &Logs, partition: usize) -> Told {
    let mut told = Told::new();
    for entry in &logs.requests[partition] {
        let mut exchanges = Vec::new();
        let mut of = None;
        for fact in &entry.facts {
            if let Fact::Exchange(index, side) = *fact {
                exchanges.push(index);
                of = Some((world.exchanges[index].connection, side));
            }
        }
        if let (Some((connection, side)), Some(vouched_at)) = (of, entry.vouched_at) {
            told.entry(connection).or_default().push((side, exchanges, vouched_at));
        }
    }
    told
}

fn truth(world: &World, logs: &Logs, places: &Places, told: &Told, said: &Said<'_>, index: usize) -> Truth {
    let exchange = &world.exchanges[index];
    let [client, server] = SIDES.map(|side| exchange.seen[side as usize].filter(|_| logs.has_exchange(index, side)));
    let [of_client, of_server] = [client, server].map(|seen| seen.map(|(at_us, _)| window_of(at_us)));
    let may = of_client.into_iter().chain(of_server).collect();
    let known_at = |window_us: i64, offset: Offset| said.request_seal(window_us).is_some_and(|seal| offset <= seal);
    let is_announced =
        |run: usize, window_us: i64| places.announced.get(&run).is_some_and(|first| known_at(window_us, *first));
    let must = match (of_client, of_server) {
        // It counts with its server where its client is not known by then.
        (Some(of_client), of_server) => {
            let known_to_server = |window_us: &i64| known_at(*window_us, places.records[&(index, Side::Client)]);
            let before = of_server.filter(|window_us| *window_us < of_client && !known_to_server(window_us));
            let must = [Some(of_client), before].into_iter().flatten().collect();
            is_announced(client.unwrap().1, of_client).then_some(must)
        }
        // What its client's agent saw belongs to that agent's window, which tells that it was lost.
        (None, Some(of_server)) if exchange.seen[Side::Client as usize].is_none() => {
            let is_told =
                is_told_in_part(world, &told[&exchange.connection], index, |offset| known_at(of_server, offset));
            (is_announced(server.unwrap().1, of_server) && !is_told).then(|| [of_server].into())
        }
        _ => None,
    };
    Truth { index, may, must }
}

/// Whether an exchange that no client's agent saw is in a server's sum of which the client tells something, since its agent began or
/// ended meanwhile.
fn is_told_in_part(
    world: &World,
    told: &[(Side, Vec<usize>, Offset)],
    index: usize,
    is_known: impl Fn(Offset) -> bool,
) -> bool {
    let range = |exchanges: &[usize]| {
        let positions = exchanges.iter().map(|index| world.exchanges[*index].position);
        (positions.clone().min().unwrap(), positions.max().unwrap())
    };
    let sum = told.iter().find(|(side, exchanges, _)| *side == Side::Server && exchanges.contains(&index));
    let (from, to) = range(&sum.unwrap().1);
    let clients = told.iter().filter(|(side, _, offset)| *side == Side::Client && is_known(*offset));
    clients.map(|(_, exchanges, _)| range(exchanges)).any(|(first, last)| first <= to && from <= last)
}

fn check_group(
    world: &World,
    said: &Said<'_>,
    group: &Group,
    truths: &[Truth],
    partials: &BTreeMap<i64, Vec<&Partial>>,
    all_is_well: bool,
) {
    let connection = world.exchanges[truths[0].index].connection;
    let requests = |window_us: &i64| -> i64 {
        partials.get(window_us).map_or(0, |partials| partials.iter().map(|partial| partial.requests).sum())
    };
    let about = || {
        let lines: String =
            truths.iter().map(|truth| format!("{:?} of {:?}\n", truth, world.exchanges[truth.index])).collect();
        let counts: Vec<_> = partials.keys().map(|window_us| (*window_us, requests(window_us))).collect();
        format!("{group:?} counted as {counts:?}, but\n{lines}")
    };
    let mut windows: BTreeSet<i64> = partials.keys().copied().collect();
    windows.extend(truths.iter().flat_map(|truth| &truth.may));
    let windows: Vec<i64> = windows.into_iter().collect();
    for from in 0..windows.len() {
        let (mut count, mut all_complete) = (0, true);
        for to in from..windows.len() {
            count += requests(&windows[to]);
            all_complete &= said.is_complete(windows[to]);
            let range = windows[from]..=windows[to];
            let may = truths.iter().filter(|truth| truth.may.iter().any(|at| range.contains(at))).count() as i64;
            assert!(count <= may, "doubled or misplaced in {range:?}: {count} of {may}: {}", about());
            let is_here = |must: &BTreeSet<i64>| must.iter().all(|at| range.contains(at));
            let must = truths.iter().filter(|truth| truth.must.as_ref().is_some_and(is_here)).count() as i64;
            assert!(count >= must || !all_complete, "missing in complete {range:?}: {count} of {must}: {}", about());
        }
    }
    for (window_us, partials) in partials {
        for partial in partials {
            check_names(partial, connection);
            let Partial { requests, errors, both_sides, duration_ns, .. } = partial;
            assert!(*requests > 0 && both_sides <= requests, "{partial:?}");
            assert_eq!(*errors, if group.1 == "5xx" { *requests } else { 0 }, "{partial:?}");
            assert_eq!(duration_ns.count() as i64, *requests, "{partial:?}");
        }
        if said.is_complete(*window_us) {
            check_amounts(world, truths, *window_us, partials, about);
        }
    }
    if all_is_well {
        check_servers(world, truths, partials, about);
    }
}

/// Bytes and durations of a complete window of which it is certain what counts there.
fn check_amounts(world: &World, truths: &[Truth], window_us: i64, partials: &[&Partial], about: impl Fn() -> String) {
    let here = truths.iter().filter(|truth| truth.may.contains(&window_us));
    let only_here = |truth: &&Truth| truth.must.as_ref().is_some_and(|must| must.iter().all(|at| *at == window_us));
    let here: Vec<&Truth> =
        here.filter(|truth| truth.must.is_none() || truth.must.as_ref().unwrap().contains(&window_us)).collect();
    let count: i64 = partials.iter().map(|partial| partial.requests).sum();
    if count != here.len() as i64 || !here.iter().all(only_here) {
        return;
    }
    let mut truth = (0, 0, Histogram::default());
    for exchange in here.iter().map(|truth| &world.exchanges[truth.index]) {
        let side = if exchange.seen[0].is_some() { Side::Client } else { Side::Server };
        truth.0 += exchange.request_bytes;
        truth.1 += exchange.response_bytes;
        truth.2.record(waited_ns(exchange, side) as u64);
    }
    let mut sums = (0, 0, Histogram::default());
    for partial in partials {
        sums.0 += partial.request_bytes;
        sums.1 += partial.response_bytes;
        sums.2.merge(&partial.duration_ns).unwrap();
    }
    assert_eq!(sums, truth, "wrong amounts in {window_us}: {}", about());
}

/// Where nothing went wrong, all that servers saw is there once, and nothing else.
fn check_servers(world: &World, truths: &[Truth], partials: &BTreeMap<i64, Vec<&Partial>>, about: impl Fn() -> String) {
    let (mut servers, mut both) = (0, 0);
    for exchange in truths.iter().map(|truth| &world.exchanges[truth.index]) {
        let [client, server] = exchange.seen.map(|seen| seen.is_some());
        servers += u64::from(server);
        both += i64::from(client && server);
    }
    let partials = || partials.values().flatten();
    let told: u64 = partials().map(|partial| partial.server_duration_ns.count()).sum();
    assert_eq!(told, servers, "what servers saw: {}", about());
    let of_both: i64 = partials().map(|partial| partial.both_sides).sum();
    assert!(of_both <= both, "{of_both} of {both} from both sides: {}", about());
}
