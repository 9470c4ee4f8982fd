//! A backtest over a log says of a range what the running processor said of it, whatever came before and however it was read.

use std::sync::Arc;

use headwater_processors::backtest::{Backtest, Event, Outcome};
use headwater_processors::bottlenecks::Bottlenecks;
use headwater_processors::objectives::rules::Rules;
use headwater_processors::processor::{BadSnapshot, Checkpoint, Input, Output, Processor};
use headwater_schemas::place::Partition;
use headwater_schemas::records::{Alert, AlertState, Edge, Latency, Record, WindowClosed};
use headwater_schemas::wire::WriterSchema;
use headwater_testing::Random;
use proptest::prelude::*;

use crate::drive::{Pace, Schemas, drive};
use crate::join::pace;
use crate::logs::Log;
use crate::the_same;
use crate::traffic::{Fault, Operation, Traffic, in_two, window_us};
use crate::world::WINDOW_US;

const RULES: &str = "objectives:
- name: orders-answer
  service: {name: orders}
  target: 99
  burn_rates: [{long: 10m, short: 2m, rate: 5, severity: page}, {long: 30m, short: 5m, rate: 2, severity: ticket}]
- name: orders-are-quick
  service: {name: orders}
  operation: POST /orders
  within: 200ms
  target: 95
  burn_rates: [{long: 10m, short: 2m, rate: 4}]
- name: nobody-asks
  service: {name: nobody}
  target: 99
  burn_rates: [{long: 5m, short: 1m, rate: 5}]
";
const WINDOWS: i64 = 500;

fn rules() -> Arc<Rules> {
    Arc::new(Rules::parse(RULES).unwrap())
}

fn topics() -> [String; 2] {
    ["edges".to_owned(), "latencies".to_owned()]
}

fn schemas() -> [WriterSchema; 3] {
    [Edge::SCHEMA, Latency::SCHEMA, WindowClosed::SCHEMA].map(|text| WriterSchema::parse(text).unwrap())
}

/// The four inputs.
fn in_four(logs: &[Log; 2]) -> [Log; 4] {
    let [[edges, edges_closed], [latencies, latencies_closed]] = [0, 1].map(|topic| in_two(&logs[topic]));
    [edges, edges_closed, latencies, latencies_closed]
}

/// What the running processor tells of objectives. That a restart changes nothing of it, the tests of objectives show.
fn live(logs: &[Log; 2], pace: Pace) -> Vec<Alert> {
    let pace = Pace { crashes: 0, snapshots: 0, ..pace };
    let rules = rules();
    let make = |checkpoints: &[Option<Checkpoint>], _: Option<&[u8]>| -> Result<Box<dyn Processor>, BadSnapshot> {
        let mut judge = Bottlenecks::new(topics(), Partition(0), checkpoints);
        judge.follow(&rules);
        Ok(Box::new(judge))
    };
    let schemas = schemas();
    let [edges, latencies, closed] = &schemas;
    let schemas = Schemas { values: vec![edges, closed, latencies, closed], control: closed };
    let logs = in_four(logs);
    let outputs = drive(&make, &logs.each_ref(), &schemas, pace).outputs.into_iter();
    let alerts = outputs.filter_map(|output| if let Output::Alert(alert) = output { Some(alert) } else { None });
    alerts.filter(|alert| alert.kind == "burn_rate").collect()
}

/// Reads the logs from where it is needed, some records of each at a time.
fn backtest(logs: &[Log; 2], from_us: i64, to_us: i64, random: &mut Random) -> Outcome {
    let (rules, schemas) = (rules(), schemas());
    let reads_from_us = Backtest::reads_from_us(&rules, from_us);
    let mut backtest = Backtest::new(rules, topics(), Partition(0), from_us, to_us);
    let logs = in_four(logs);
    let mut places =
        [0, 1, 2, 3].map(|stream: usize| logs[stream].partition_point(|entry| entry.timestamp_us < reads_from_us));
    while !backtest.is_over() && (0..4).any(|stream| places[stream] < logs[stream].len()) {
        let stream = random.between(0, 3) as usize;
        for _ in 0..random.between(1, 50) {
            let Some(entry) = logs[stream].get(places[stream]).filter(|_| backtest.wants(stream)) else { break };
            places[stream] += 1;
            let schema = if stream % 2 == 1 { &schemas[2] } else { &schemas[stream / 2] };
            let input = Input {
                stream,
                offset: entry.offset,
                timestamp_us: Some(entry.timestamp_us),
                appended_us: None,
                kind: entry.kind,
                partitions: None,
                schema,
                datum: &entry.datum,
            };
            backtest.record(input).unwrap();
        }
    }
    backtest.finish()
}

fn traffic(random: &mut Random) -> Traffic {
    let operations = [("GET /orders/{id}", 0.0), ("POST /orders", 0.002)].map(|(name, error_share)| Operation {
        client: "gateway",
        server: "orders",
        name,
        requests_a_window: 40.0,
        median_us: 20_000.0,
        spread: 0.4,
        error_share,
    });
    let fault = |random: &mut Random| {
        let from_window = random.between(0, WINDOWS - 60);
        let factor = if random.chance(50) { 1.0 } else { 30.0 };
        Fault {
            server: "orders",
            name: "POST /orders",
            from_window,
            to_window: from_window + random.between(5, 60),
            latency_factor: factor,
            error_share: 0.6 * random.unit(),
        }
    };
    let faults = (0..4).map(|_| fault(random)).collect();
    Traffic { operations: operations.to_vec(), faults, windows: WINDOWS, holes: Default::default() }
}

fn steps(alerts: &[Alert]) -> Vec<(&str, AlertState, i64, f64)> {
    let step = |alert: &'_ Alert| (alert.state, alert.observed_at_us, alert.value);
    alerts.iter().map(|alert| (alert.alert_id.as_str(), step(alert).0, step(alert).1, step(alert).2)).collect()
}

proptest! {
    #![proptest_config(the_same(12))]

    #[test]
    fn a_backtest_says_what_the_running_processor_said(
        seed in any::<u64>(), pace in pace(), reading in any::<u64>(), from in 200i64..400, length in 1i64..200,
    ) {
        let mut random = Random::new(seed);
        let logs = traffic(&mut random).logs(&mut random);
        let told = live(&logs, pace);
        let (from_us, to_us) = (window_us(from), window_us((from + length).min(WINDOWS)));

        // Over all of the log it is the same to the letter.
        let whole = backtest(&logs, window_us(0), window_us(WINDOWS), &mut Random::new(reading));
        let alerts: Vec<Alert> = whole.events.into_iter().map(|event| match event {
            Event::Told(alert) => alert,
            Event::FiresAlready(alert) => panic!("nothing fired before the first window: {alert:?}"),
        }).collect();
        prop_assert_eq!(&alerts, &told);
        prop_assert_eq!(whole.without_requests, vec!["nobody-asks".to_owned()]);

        // Of a range, what it tells is what was told in it; what fired before and is not over is told as such.
        let part = backtest(&logs, from_us, to_us, &mut Random::new(reading));
        let (mut already, mut alerts) = (Vec::new(), Vec::new());
        for event in part.events {
            match event {
                Event::Told(alert) => alerts.push(alert),
                Event::FiresAlready(alert) => already.push(alert.alert_id),
            }
        }
        let in_range: Vec<Alert> =
            told.iter().filter(|alert| alert.observed_at_us > from_us && alert.observed_at_us <= to_us).cloned().collect();
        prop_assert_eq!(steps(&alerts), steps(&in_range));
        let before = told.iter().filter(|alert| alert.observed_at_us <= from_us);
        let mut fires: Vec<&str> = Vec::new();
        for alert in before {
            fires.retain(|id| *id != alert.alert_id);
            if alert.state == AlertState::Firing {
                fires.push(&alert.alert_id);
            }
        }
        fires.sort_unstable();
        prop_assert_eq!(already, fires);
    }
}

#[test]
fn the_worlds_of_this_file_have_something_to_tell() {
    let (mut fired, mut already) = (0, 0);
    for seed in 0..10 {
        let mut random = Random::new(seed);
        let logs = traffic(&mut random).logs(&mut random);
        let outcome = backtest(&logs, window_us(250), window_us(250) + 100 * WINDOW_US, &mut random);
        fired += outcome.events.iter().filter(|event| matches!(event, Event::Told(_))).count();
        already += outcome.events.iter().filter(|event| matches!(event, Event::FiresAlready(_))).count();
    }
    assert!(fired >= 10 && already >= 1, "{fired} {already}");
}
