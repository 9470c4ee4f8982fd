//! What became of each request of a load: JSON lines in a file, and totals for each operation.
//!
//! In: outcomes, in any order. Out: one `"kind":"request"` object a line, and at the end one `"kind":"total"` for
//! each operation. Bounds: the totals have one entry an operation; the file grows by about 200 bytes a request.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::plan::{Operation, PlannedRequest};

/// What became of one request.
pub struct Outcome {
    pub request: PlannedRequest,
    pub result: Result<Exchange, NoAnswer>,
}

/// An answer, whatever its status.
pub struct Exchange {
    pub status: u16,
    pub sent: Instant,
    pub received: Instant,
}

pub enum NoAnswer {
    /// As many requests as allowed were still waiting for their answers.
    NotSent,
    Failed(String),
}

/// The lines of a report.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Line {
    Request(RequestLine),
    Total(Total),
}

/// One request. Times are microseconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
pub struct RequestLine {
    pub index: u64,
    pub operation: Operation,
    pub method: String,
    pub path: String,
    pub expected_status: u16,
    /// Missing, like the times, if there was no answer; then `error` says why.
    pub status: Option<u16>,
    pub sent_at_us: Option<u64>,
    pub received_at_us: Option<u64>,
    pub error: Option<String>,
}

/// All requests of one operation. `planned` is the sum of the four counts after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    pub operation: Operation,
    pub planned: u64,
    pub as_expected: u64,
    pub unexpected: u64,
    pub failed: u64,
    pub not_sent: u64,
    pub latency_us_sum: u64,
    pub latency_us_max: u64,
}

pub struct Report {
    file: Option<BufWriter<File>>,
    totals: BTreeMap<Operation, Total>,
    clock: Clock,
}

impl Report {
    /// With a file, every request is written down; without one, only counted.
    pub fn new(file: Option<&Path>) -> Result<Self> {
        let create =
            |path: &Path| File::create(path).with_context(|| format!("creating the report {}", path.display()));
        let file = file.map(create).transpose()?.map(BufWriter::new);
        Ok(Self { file, totals: BTreeMap::new(), clock: Clock::now() })
    }

    pub fn add(&mut self, outcome: Outcome) -> Result<()> {
        let Outcome { request, result } = outcome;
        let total = self.totals.entry(request.operation).or_insert_with(|| Total::new(request.operation));
        total.planned += 1;
        let (mut status, mut sent_at_us, mut received_at_us, mut error) = (None, None, None, None);
        match result {
            Ok(exchange) => {
                total.count_answer(&exchange, request.expected_status);
                status = Some(exchange.status);
                sent_at_us = Some(self.clock.unix_us(exchange.sent));
                received_at_us = Some(self.clock.unix_us(exchange.received));
            }
            Err(NoAnswer::NotSent) => {
                total.not_sent += 1;
                error = Some("not sent: too many requests were waiting for their answers".to_owned());
            }
            Err(NoAnswer::Failed(reason)) => {
                total.failed += 1;
                error = Some(reason);
            }
        }
        let PlannedRequest { index, operation, path, expected_status, .. } = request;
        let method = request.method.to_owned();
        let line =
            RequestLine { index, operation, method, path, expected_status, status, sent_at_us, received_at_us, error };
        self.write(&Line::Request(line))
    }

    /// Writes the totals, completes the file and returns the totals.
    pub fn finish(mut self) -> Result<Vec<Total>> {
        let totals: Vec<Total> = std::mem::take(&mut self.totals).into_values().collect();
        for total in &totals {
            self.write(&Line::Total(total.clone()))?;
        }
        if let Some(file) = &mut self.file {
            file.flush().context("writing the report")?;
        }
        Ok(totals)
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let line = serde_json::to_string(line).context("writing a line of the report")?;
        writeln!(file, "{line}").context("writing the report")
    }
}

impl Total {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            planned: 0,
            as_expected: 0,
            unexpected: 0,
            failed: 0,
            not_sent: 0,
            latency_us_sum: 0,
            latency_us_max: 0,
        }
    }

    fn count_answer(&mut self, exchange: &Exchange, expected_status: u16) {
        if exchange.status == expected_status {
            self.as_expected += 1;
        } else {
            self.unexpected += 1;
        }
        let latency_us = micros(exchange.received.duration_since(exchange.sent));
        self.latency_us_sum += latency_us;
        self.latency_us_max = self.latency_us_max.max(latency_us);
    }
}

/// Turns moments of the steady clock into times of day, by one reading of both: durations stay exact.
struct Clock {
    steady: Instant,
    unix_us: u64,
}

impl Clock {
    fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { steady: Instant::now(), unix_us: micros(since_1970) }
    }

    fn unix_us(&self, moment: Instant) -> u64 {
        self.unix_us + micros(moment.duration_since(self.steady))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn each_outcome_is_a_line_and_is_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let mut report = Report::new(Some(&path)).unwrap();
        let sent = Instant::now();
        let received = sent + Duration::from_micros(250);
        let mut requests = Plan::new(1, 20.0).filter(|request| request.operation == Operation::ViewProduct);
        for status in [200, 500] {
            let result = Ok(Exchange { status, sent, received });
            report.add(Outcome { request: requests.next().unwrap(), result }).unwrap();
        }
        for no_answer in [NoAnswer::NotSent, NoAnswer::Failed("reset".to_owned())] {
            report.add(Outcome { request: requests.next().unwrap(), result: Err(no_answer) }).unwrap();
        }
        let totals = report.finish().unwrap();
        let expected = Total {
            operation: Operation::ViewProduct,
            planned: 4,
            as_expected: 1,
            unexpected: 1,
            failed: 1,
            not_sent: 1,
            latency_us_sum: 500,
            latency_us_max: 250,
        };
        assert_eq!(totals, [expected]);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 5);
        let Line::Request(first) = &lines[0] else { panic!("the first line is a request") };
        assert_eq!((first.status, first.received_at_us.unwrap() - first.sent_at_us.unwrap()), (Some(200), 250));
        assert!(matches!(&lines[4], Line::Total(total) if total == &totals[0]));
    }
}
