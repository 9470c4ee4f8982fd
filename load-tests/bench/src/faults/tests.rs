#![allow(clippy::unwrap_used)]

use headwater_schemas::records::{ADDRESS, Edge, Latency, Workload};
use headwater_testing::Random;

use super::fault::{Fault, Kind, Place};
use super::judges::{Alarm, Blamed};
use super::life::Life;
use super::run::{BEGIN_US, run, time_us};
use super::score::{Outcome, Score};
use super::system::{Service, System, Tier};

const SPAN_S: f64 = 600.0;

/// What a system publishes in ten minutes, with the fault or without.
fn records(system: &System, fault: Option<&Fault>) -> (Vec<Edge>, Vec<Latency>) {
    let mut random = Random::new(7);
    let mut life = Life::quiet(system, &mut random);
    life.faults.extend(fault.cloned());
    let mut records = (Vec::new(), Vec::new());
    run(system, &life, (0.0, SPAN_S), &mut random, |_, edges, latencies| {
        records.0.extend(edges);
        records.1.extend(latencies);
    });
    records
}

fn with_fault(kind: Kind) -> (System, Fault) {
    let mut random = Random::new(3);
    loop {
        let system = System::new(random.number());
        if let Some(fault) = Fault::new(kind, &system, 0.0, SPAN_S, &mut random) {
            return (system, fault);
        }
    }
}

/// Requests, errors, failed connects and the median over all windows of edges that the workload serves under its name, or its address.
fn served(edges: &[Edge], workload: &Workload, address: &str) -> (i64, i64, i64, f64) {
    let its = edges.iter().filter(|e| e.server == *workload || (e.server.kind == ADDRESS && e.server.name == address));
    let mut sums = (0, 0, 0, 0.0);
    let mut weights = 0.0;
    for edge in its {
        sums = (sums.0 + edge.requests, sums.1 + edge.errors, sums.2 + edge.connections_failed, sums.3);
        sums.3 += edge.p50_us * edge.requests as f64;
        weights += edge.requests as f64;
    }
    (sums.0, sums.1, sums.2, sums.3 / weights.max(1.0))
}

#[test]
fn systems_have_no_rings_and_rates_within_bounds() {
    for seed in 0..50 {
        let system = System::new(seed);
        assert!((6..=41).contains(&system.services.len()), "{}", system.services.len());
        let rates = system.usual_rates();
        for call in &system.calls {
            let is_job = system.services[call.client].tier == Tier::Job;
            assert!(is_job || call.client < call.server, "{call:?}");
            let rate = rates[call.client] * call.calls_per_request;
            assert!(is_job || (0.099..=1001.0).contains(&rate), "{rate} of {call:?}");
        }
        assert!((1..system.services.len() - 1).all(|server| system.calls.iter().any(|call| call.server == server)));
    }
}

#[test]
fn the_same_seed_gives_the_same_records_and_operations_add_up_to_their_edge() {
    let system = System::new(5);
    let (edges, latencies) = records(&system, None);
    let again = records(&System::new(5), None);
    assert!((&edges, &latencies) == (&again.0, &again.1));
    assert!(edges.len() > 60 * system.calls.len() / 2, "{}", edges.len());
    let sum = |of: &[i64]| of.iter().sum::<i64>();
    assert_eq!(
        sum(&edges.iter().map(|edge| edge.requests).collect::<Vec<_>>()),
        sum(&latencies.iter().map(|latency| latency.requests).collect::<Vec<_>>())
    );
    assert!(
        edges.iter().all(|edge| edge.duration_ns.count() as i64 == edge.requests && edge.duration_ns.check().is_ok())
    );
}

#[test]
fn a_slow_database_makes_its_callers_slow_too() {
    let (system, fault) = with_fault(Kind::Database);
    let Place::Service(culprit) = fault.place else { panic!("{fault:?}") };
    let (usual, faulty) = (records(&system, None).0, records(&system, Some(&fault)).0);
    let client = system.calls.iter().find(|call| call.server == culprit && call.client != system.services.len() - 1);
    for service in [culprit, client.unwrap().client] {
        let service = &system.services[service];
        let us = [&usual, &faulty].map(|edges| served(edges, &service.workload, "").3);
        assert!(us[1] > us[0], "{}: {us:?}", service.workload);
    }
}

#[test]
fn who_is_dead_has_lost_its_name_and_refuses() {
    let (system, fault) = with_fault(Kind::Crash);
    let Place::Service(culprit) = fault.place else { panic!("{fault:?}") };
    let service = &system.services[culprit];
    let [usual, faulty] =
        [None, Some(&fault)].map(|fault| served(&records(&system, fault).0, &service.workload, &service.address));
    assert!(faulty.0 < usual.0 && faulty.2 > usual.2 + 10, "{usual:?} {faulty:?}");
}

#[test]
fn who_hangs_is_sent_requests_and_answers_none() {
    let mut random = Random::new(3);
    // Of those whose clients all wait for ever.
    let (system, fault) = loop {
        let system = System::new(random.number());
        let Some(fault) = Fault::new(Kind::Hang, &system, 0.0, SPAN_S, &mut random) else { continue };
        let Place::Service(culprit) = fault.place else { panic!("{fault:?}") };
        let mut calls = system.calls.iter().filter(|call| call.server == culprit);
        if calls.all(|call| call.timeout_us.is_none()) && fault.tell(&system).contains("hung: 1.0") {
            break (system, fault);
        }
    };
    let Place::Service(culprit) = fault.place else { panic!("{fault:?}") };
    let Service { workload, address, .. } = &system.services[culprit];
    let edges = records(&system, Some(&fault)).0;
    let its = |edge: &&Edge| edge.server == *workload || edge.server.name == *address;
    let bytes: Vec<_> =
        edges.iter().filter(its).map(|e| (e.client_to_server_bytes, e.server_to_client_bytes)).collect();
    assert!(bytes.len() > 10 && bytes.iter().all(|(sent, answered)| *sent > 0 && *answered == 0), "{bytes:?}");
}

#[test]
fn errors_are_as_many_as_the_fault_says_or_more() {
    let (system, fault) = with_fault(Kind::Errors);
    let Place::Service(culprit) = fault.place else { panic!("{fault:?}") };
    let service = &system.services[culprit];
    let [usual, faulty] =
        [None, Some(&fault)].map(|fault| served(&records(&system, fault).0, &service.workload, &service.address));
    assert!(faulty.1 > usual.1 + faulty.0 / 200, "{usual:?} {faulty:?} {}", fault.tell(&system));
}

#[test]
fn the_first_alarm_counts_and_none_is_wrong() {
    let (system, mut fault) = with_fault(Kind::Crash);
    fault.from_s = 1000.0;
    let Place::Service(culprit) = fault.place else { panic!("{fault:?}") };
    let blamed = |service: usize| Blamed {
        client: Workload::local("program", "any"),
        server: system.services[service].workload.clone(),
    };
    let other = if culprit == 1 { 2 } else { 1 };
    let alarm = |at_s: f64, candidates: &[usize]| Alarm {
        at_us: time_us(at_s),
        candidates: candidates.iter().map(|service| blamed(*service)).collect(),
        incident: String::new(),
        message: String::new(),
    };
    let outcome = |alarms: &[Alarm]| Outcome::new(&system, &fault, alarms);
    let right = outcome(&[alarm(1030.0, &[culprit]), alarm(1040.0, &[other])]);
    assert_eq!((right.detected_s, right.rank, right.clean_spans), (Some(30.0), Some(0), 2));
    let second = outcome(&[alarm(1030.0, &[other, culprit])]);
    assert_eq!((second.rank, second.clean_spans), (Some(1), 2));
    let late = outcome(&[alarm(1301.0, &[culprit])]);
    assert_eq!((late.detected_s, late.rank, late.clean_spans), (None, None, 3));
    let score = Score::of([right, second, late].iter());
    assert_eq!((score.detected, score.detect_median_s), (2, 30.0));
    assert!((score.top1 - 1.0 / 3.0).abs() < 1e-9 && (score.top3 - 2.0 / 3.0).abs() < 1e-9, "{score:?}");
    assert_eq!(BEGIN_US % 10_000_000, 0);
}
