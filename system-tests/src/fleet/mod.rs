//! A fleet of nodes whose every record is known: what their agents would write of services that call each other.
//!
//! In: how many nodes, edges, operations and connections, and how fast. Out: second by second the records of both sides and, behind them,
//! how far each node is. The same numbers give the same records. Bound: memory grows with edges and connections, not with time.

mod outlet;
mod records;

use headwater_schemas::records::{Dropped, Flow, Progress, Request, Share, Side};

pub use outlet::Outlet;
use records::{Connection, Moment, Series};

/// Agents tell of each open connection so often.
const FLOW_INTERVAL_SECONDS: u64 = 10;

/// Progress goes on for so long behind the last record, so that all windows close.
pub const SECONDS_BEHIND: u64 = 30;

/// What there is, and how much of it.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub nodes: u32,
    /// Services; each is on one node.
    pub services: u32,
    /// Pairs of services of which one calls the other.
    pub edges: u32,
    /// Operations of each edge, a tenth of which fail always, so that each is one series: one key of `latencies`.
    pub operations: u32,
    pub connections_per_edge: u32,
    /// Requests of all together. Each has a record of its client and one of its server.
    pub requests_per_second: u64,
}

impl Shape {
    /// Keys of `latencies`.
    pub fn series(&self) -> u64 {
        u64::from(self.edges) * u64::from(self.operations)
    }

    pub fn connections(&self) -> u64 {
        u64::from(self.edges) * u64::from(self.connections_per_edge)
    }
}

/// What is told, to whoever publishes it.
pub trait Sink {
    fn request(&mut self, node: u32, record: &Request<'_>) -> anyhow::Result<()>;
    fn flow(&mut self, node: u32, record: &Flow<'_>) -> anyhow::Result<()>;
    fn progress(&mut self, node: u32, record: &Progress) -> anyhow::Result<()>;
}

/// What has happened so far.
pub struct Fleet {
    shape: Shape,
    began_at_us: i64,
    nodes: Vec<String>,
    series: Vec<Series>,
    connections: Vec<Connection>,
    requests: u64,
    second: u64,
}

impl Fleet {
    pub fn new(shape: Shape, began_at_us: i64) -> Fleet {
        let names = records::names(&shape);
        Fleet {
            shape,
            began_at_us,
            nodes: names.nodes.clone(),
            series: records::series(&shape),
            connections: records::connections(&shape, &names),
            requests: 0,
            second: 0,
        }
    }

    /// Requests that were told of, each of which has two records.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// When the next second begins.
    pub fn next_us(&self) -> i64 {
        self.began_at_us + self.second as i64 * 1_000_000
    }

    /// Tells of the next second: requests, connections, and that this is all, or that so much is missing at a node.
    pub fn second(&mut self, losses: &[(u32, Dropped)], sink: &mut impl Sink) -> anyhow::Result<()> {
        let from_us = self.next_us();
        let count = self.shape.requests_per_second;
        for i in 0..count {
            let at_us = from_us + (i * 1_000_000 / count) as i64;
            self.request(at_us, sink)?;
        }
        for number in (0..self.connections.len())
            .filter(|number| *number as u64 % FLOW_INTERVAL_SECONDS == self.second % FLOW_INTERVAL_SECONDS)
        {
            let observed_at_us = from_us + (number as i64 * 7_919) % 1_000_000;
            let connection = &mut self.connections[number];
            let before = std::mem::replace(&mut connection.told, connection.now);
            let connection = &self.connections[number];
            for side in [Side::Client, Side::Server] {
                sink.flow(connection.node(side), &connection.flow(side, observed_at_us, before))?;
            }
        }
        self.end_of_second(losses, sink)
    }

    /// Tells that nothing happened in the next second.
    pub fn quiet_second(&mut self, sink: &mut impl Sink) -> anyhow::Result<()> {
        self.end_of_second(&[], sink)
    }

    fn end_of_second(&mut self, losses: &[(u32, Dropped)], sink: &mut impl Sink) -> anyhow::Result<()> {
        let from_us = self.next_us();
        for (number, node) in (0..).zip(&self.nodes) {
            let dropped = losses.iter().filter(|(at, _)| *at == number).map(|(_, dropped)| dropped.clone());
            let dropped: Vec<Dropped> = dropped.collect();
            let progress = Progress {
                node: node.clone(),
                agent_started_at_us: self.began_at_us,
                sequence: self.second as i64,
                covers_from_us: from_us,
                up_to_us: from_us + 1_000_000,
                is_final: false,
                partitions: 0,
                flows: Share::anywhere(0, dropped.clone()),
                requests: Share::anywhere(0, dropped),
            };
            sink.progress(number, &progress)?;
        }
        self.second += 1;
        Ok(())
    }

    /// Whatever the rate, series come in turn, so that each is live in each window that has at least as many requests.
    fn request(&mut self, at_us: i64, sink: &mut impl Sink) -> anyhow::Result<()> {
        let number = self.requests;
        self.requests += 1;
        let series = &self.series[(number % self.series.len() as u64) as usize];
        let turn = number / self.series.len() as u64 % u64::from(self.shape.connections_per_edge);
        let connection = &mut self.connections[(series.first_connection + turn) as usize];
        let moment = Moment { number, at_us, position: connection.now.requests * records::REQUEST_BYTES };
        connection.count(series);
        let connection = &self.connections[(series.first_connection + turn) as usize];
        for side in [Side::Client, Side::Server] {
            sink.request(connection.node(side), &connection.request(side, series, moment))?;
        }
        Ok(())
    }
}
