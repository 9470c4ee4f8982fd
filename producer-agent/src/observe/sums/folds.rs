//! Exchanges that the agent adds up itself, one by one as they are told of: those of hot connections that the probes cannot add up, as long as
//! there is no processor time for a record of each.
//!
//! In: the records that exchanges would have. Out: for each second, connection, operation and status one record that stands for all. Whatever has a
//! failure, a duration outside of the probes' buckets, another kind than a call or a place before one that was told of stays by itself.
//! Bounded in bytes; what finds no room stays by itself, and is counted.

use headwater_histogram::Histogram;
use headwater_probe_loader::types::sums::{OCTAVE_END, OCTAVE_FIRST};
use headwater_protocols::operation::OTHER;
use headwater_schemas::records::{Kind, Outcome, Request, Sums};

use crate::observe::SocketKey;

const SECOND_US: i64 = 1_000_000;

/// Bytes of all that is being added up.
const BYTES_MAX: usize = 8 << 20;
/// Operations of one connection in one second, beside those without a name.
const OPERATIONS_MAX: usize = 64;

/// What is being added up of one connection, all in one second.
#[derive(Debug, Default)]
pub struct Own {
    second: i64,
    folds: Vec<Fold>,
    /// Behind all that was told of: what lies before may lie within a sum.
    next_position: i64,
    /// [`Folds`] knows of it.
    is_listed: bool,
}

/// Exchanges of one operation, kind, status and outcome.
#[derive(Debug)]
pub struct Fold {
    protocol: String,
    kind: Kind,
    method: String,
    path: String,
    operation: String,
    status: i32,
    outcome: Outcome,
    code: String,
    error: bool,
    exchanges: i64,
    from_position: i64,
    request_bytes: i64,
    response_bytes: i64,
    duration_ns: Histogram,
    /// Of the last one.
    last: Last,
}

#[derive(Debug, Default, Clone, Copy)]
struct Last {
    position: i64,
    started_at_us: i64,
    /// The latest of all.
    completed_at_us: i64,
    duration_ns: i64,
    time_to_first_byte_ns: i64,
    request_bytes: i64,
    response_bytes: i64,
}

/// What all connections share.
#[derive(Debug, Default)]
pub struct Folds {
    pub is_on: bool,
    /// Those that have something.
    sockets: Vec<SocketKey>,
    bytes: usize,
    /// No second before this one is being added up, if any is.
    oldest_second: Option<i64>,
    /// Exchanges that were added up, and those that found no room.
    pub added: u64,
    pub without_room: u64,
}

impl Folds {
    /// Adds an exchange to its like. Says no if it is to have a record of its own. What is there must be of its second; see [`Own::is_due`].
    pub fn add(&mut self, own: &mut Own, socket: SocketKey, request: &Request<'_>) -> bool {
        let is_in_order = request.request_position >= own.next_position;
        own.next_position = own.next_position.max(request.request_position + 1);
        let is_fit = request.kind == Kind::Call
            && request.failure.is_none()
            && request.sums.is_none()
            && request.duration_ns > 1 << OCTAVE_FIRST
            && request.duration_ns <= 1 << OCTAVE_END;
        if !is_in_order || !is_fit {
            return false;
        }
        let at = match own.folds.iter().position(|fold| fold.is_of(request)) {
            Some(at) => at,
            None if own.folds.len() >= OPERATIONS_MAX && request.operation != OTHER || self.bytes >= BYTES_MAX => {
                self.without_room += 1;
                return false;
            }
            None => {
                let fold = Fold::of(request);
                self.bytes += fold.bytes();
                own.folds.push(fold);
                own.folds.len() - 1
            }
        };
        let fold = &mut own.folds[at];
        let before = fold.bytes();
        fold.add(request);
        self.bytes += fold.bytes() - before;
        self.added += 1;
        own.second = second_of(request);
        self.oldest_second = Some(self.oldest_second.map_or(own.second, |oldest| oldest.min(own.second)));
        if !std::mem::replace(&mut own.is_listed, true) {
            self.sockets.push(socket);
        }
        true
    }

    /// Takes all of a connection.
    pub fn take(&mut self, own: &mut Own) -> Vec<Fold> {
        let taken = std::mem::take(&mut own.folds);
        self.bytes -= taken.iter().map(Fold::bytes).sum::<usize>();
        taken
    }

    /// Those that may have something, each of which [`Folds::take_before`] is to be asked of.
    pub fn listed(&mut self) -> Vec<SocketKey> {
        self.oldest_second = None;
        std::mem::take(&mut self.sockets)
    }

    /// Takes all of a connection that is of a second before this one.
    pub fn take_before(&mut self, second: i64, socket: SocketKey, own: &mut Own) -> Vec<Fold> {
        if own.second < second || own.folds.is_empty() {
            own.is_listed = false;
            return self.take(own);
        }
        self.oldest_second = Some(self.oldest_second.map_or(own.second, |oldest| oldest.min(own.second)));
        self.sockets.push(socket);
        Vec::new()
    }

    /// The second of the day before which nothing is being added up any more, if anything is.
    pub fn taken_to_second(&self) -> Option<i64> {
        self.oldest_second
    }
}

impl Own {
    /// Whether what is there is of another second, and has to be taken first.
    pub fn is_due(&self, request: &Request<'_>) -> bool {
        !self.folds.is_empty() && self.second != second_of(request)
    }
}

impl Fold {
    fn of(request: &Request<'_>) -> Fold {
        Fold {
            protocol: request.protocol.to_owned(),
            kind: request.kind,
            method: request.method.to_owned(),
            path: request.path.to_owned(),
            operation: request.operation.to_owned(),
            status: request.status,
            outcome: request.outcome,
            code: request.code.to_owned(),
            error: request.error,
            exchanges: 0,
            from_position: request.request_position,
            request_bytes: 0,
            response_bytes: 0,
            duration_ns: Histogram::default(),
            last: Last::default(),
        }
    }

    /// What has no name of its own is like all that has none.
    fn is_of(&self, request: &Request<'_>) -> bool {
        self.status == request.status
            && self.kind == request.kind
            && self.outcome == request.outcome
            && self.error == request.error
            && self.operation == request.operation
            && (self.operation == OTHER || self.path == request.path && self.method == request.method)
            && self.code == request.code
            && self.protocol == request.protocol
    }

    fn add(&mut self, request: &Request<'_>) {
        if self.operation == OTHER {
            // Of the last one, as all that stands beside the sums.
            request.path.clone_into(&mut self.path);
            request.method.clone_into(&mut self.method);
        }
        self.exchanges += 1;
        self.request_bytes += request.request_bytes;
        self.response_bytes += request.response_bytes;
        self.duration_ns.record(request.duration_ns.unsigned_abs());
        self.last = Last {
            position: request.request_position,
            started_at_us: request.started_at_us,
            completed_at_us: self.last.completed_at_us.max(request.completed_at_us),
            duration_ns: request.duration_ns,
            time_to_first_byte_ns: request.time_to_first_byte_ns,
            request_bytes: request.request_bytes,
            response_bytes: request.response_bytes,
        };
    }

    /// The record that stands for all; the connection's fields come from `connection`. One exchange alone is a record of one.
    pub fn record<'a>(&'a self, connection: Request<'a>) -> Request<'a> {
        let sums = (self.exchanges > 1).then(|| {
            Box::new(Sums {
                from_position: self.from_position,
                request_bytes: self.request_bytes,
                response_bytes: self.response_bytes,
                duration_ns: self.duration_ns.clone(),
            })
        });
        Request {
            request_position: self.last.position,
            started_at_us: self.last.started_at_us,
            completed_at_us: self.last.completed_at_us,
            duration_ns: self.last.duration_ns,
            time_to_first_byte_ns: self.last.time_to_first_byte_ns,
            protocol: &self.protocol,
            kind: self.kind,
            method: &self.method,
            path: &self.path,
            operation: &self.operation,
            status: self.status,
            outcome: self.outcome,
            code: &self.code,
            error: self.error,
            request_bytes: self.last.request_bytes,
            response_bytes: self.last.response_bytes,
            weight: self.exchanges,
            sums,
            ..connection
        }
    }

    fn bytes(&self) -> usize {
        let texts = [&self.protocol, &self.method, &self.path, &self.operation, &self.code];
        size_of::<Fold>() + texts.map(String::capacity).iter().sum::<usize>() + self.duration_ns.heap_bytes()
    }
}

fn second_of(request: &Request<'_>) -> i64 {
    request.completed_at_us.div_euclid(SECOND_US)
}

#[cfg(test)]
mod tests {
    use headwater_schemas::samples;
    use proptest::prelude::*;

    use super::*;

    const SOCKET: SocketKey = (7, 1);

    #[derive(Debug, Clone)]
    struct Asked {
        bytes: i64,
        duration_ns: i64,
        status: i32,
        failed: bool,
        after_us: i64,
    }

    fn asked() -> impl Strategy<Value = Asked> {
        let durations = prop_oneof![Just(0_i64), Just(1 << 40), 1025_i64..1_000_000_000];
        let statuses = prop_oneof![4 => Just(200), 1 => Just(404), 1 => Just(503)];
        (1_i64..5000, durations, statuses, proptest::bool::weighted(0.1), 1_i64..700_000).prop_map(
            |(bytes, duration_ns, status, failed, after_us)| Asked { bytes, duration_ns, status, failed, after_us },
        )
    }

    /// A record's share of the totals: exchanges, bytes both ways, durations.
    fn totals(of: &Request<'_>) -> [i64; 4] {
        match of.sums.as_deref() {
            Some(sums) => [of.weight, sums.request_bytes, sums.response_bytes, sums.duration_ns.sum()],
            None => [of.weight, of.request_bytes, of.response_bytes, of.duration_ns],
        }
    }

    fn call(position: i64, operation: &str) -> Request<'_> {
        Request {
            request_position: position,
            operation,
            kind: Kind::Call,
            sums: None,
            failure: None,
            weight: 1,
            ..samples::request()
        }
    }

    proptest! {
        /// Whatever is asked, what is added up and what is told of by itself is all that was asked, within its seconds.
        #[test]
        fn nothing_is_lost_and_nothing_counts_twice(all in proptest::collection::vec(asked(), 1..200)) {
            let (mut folds, mut own) = (Folds { is_on: true, ..Folds::default() }, Own::default());
            let (mut sent, mut told) = ([0; 4], [0; 4]);
            let mut ranges: Vec<(i32, i64, i64)> = Vec::new();
            let connection = || Request { kind: Kind::Call, sums: None, failure: None, weight: 1, ..samples::request() };
            let mut tell = |taken: Vec<Fold>, told: &mut [i64; 4]| {
                for fold in taken {
                    let record = fold.record(connection());
                    (0..4).for_each(|at| told[at] += totals(&record)[at]);
                    let from = record.sums.as_deref().map_or(record.request_position, |sums| sums.from_position);
                    assert_eq!(record.sums.as_deref().map_or(1, |sums| sums.duration_ns.count()), record.weight as u64);
                    ranges.push((record.status, from, record.request_position));
                }
            };
            let (mut at_us, mut position) = (1_790_000_000_000_000, 0);
            for asked in &all {
                at_us += asked.after_us;
                let request = Request {
                    request_position: position,
                    completed_at_us: at_us,
                    duration_ns: asked.duration_ns,
                    status: asked.status,
                    failure: asked.failed.then_some("no_response"),
                    request_bytes: asked.bytes,
                    response_bytes: 2 * asked.bytes,
                    ..connection()
                };
                position += asked.bytes;
                (0..4).for_each(|at| sent[at] += totals(&request)[at]);
                if own.is_due(&request) {
                    let taken = folds.take(&mut own);
                    prop_assert!(taken.iter().all(|fold| fold.last.completed_at_us.div_euclid(SECOND_US) < at_us.div_euclid(SECOND_US)));
                    tell(taken, &mut told);
                }
                if !folds.add(&mut own, SOCKET, &request) {
                    (0..4).for_each(|at| told[at] += totals(&request)[at]);
                }
                // Progress stays before what is being added up.
                prop_assert!(own.folds.is_empty() || folds.taken_to_second() <= Some(at_us.div_euclid(SECOND_US)));
            }
            let listed = folds.listed();
            prop_assert!(listed.len() <= 1);
            for socket in listed {
                let taken = folds.take_before(i64::MAX, socket, &mut own);
                tell(taken, &mut told);
            }
            prop_assert_eq!(sent, told);
            prop_assert_eq!((folds.bytes, folds.taken_to_second()), (0, None));
            ranges.sort_unstable();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].2 < pair[1].1), "{:?}", ranges);
        }
    }

    #[test]
    fn what_finds_no_room_or_comes_out_of_order_is_told_of_by_itself() {
        let (mut folds, mut own) = (Folds { is_on: true, ..Folds::default() }, Own::default());
        let names: Vec<String> = (0..OPERATIONS_MAX).map(|number| format!("GET /{number}")).collect();
        for (number, name) in names.iter().enumerate() {
            assert!(folds.add(&mut own, SOCKET, &call(number as i64, name)));
        }
        assert!(!folds.add(&mut own, SOCKET, &call(100, "GET /one-more")));
        assert_eq!(folds.without_room, 1);
        assert!(!folds.add(&mut own, SOCKET, &call(99, "GET /1")), "it lies before");
        assert!(folds.add(&mut own, SOCKET, &call(101, "GET /1")));
        for (position, path) in (102..).zip(["/a", "/b", "/c"]) {
            assert!(folds.add(&mut own, SOCKET, &Request { path, ..call(position, OTHER) }), "what has no name is one");
        }
        let nameless: Vec<_> = own.folds.iter().filter(|fold| fold.operation == OTHER).collect();
        assert_eq!(nameless.iter().map(|fold| (fold.exchanges, &*fold.path)).collect::<Vec<_>>(), [(3, "/c")]);
        folds.bytes = BYTES_MAX;
        let mut other = Own::default();
        assert!(!folds.add(&mut other, (8, 1), &call(1, "GET /1")));
    }
}
