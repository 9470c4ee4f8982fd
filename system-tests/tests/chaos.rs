//! What the edges say stays true while Kafka is away for a minute, and while any process is killed at any moment: the sums of a
//! window are exact, or the window says which node's data is missing, from when to when.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a failed test shows them")]
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_kafka::{
    KafkaSettings, NewRecord, Next, Offset, Partition, Publisher, Start, TopicReader, Transactions, admin,
};
use headwater_process::{Child, Port, rss_bytes};
use headwater_schemas::records::Workload;
use headwater_schemas::topics::Topic;
use headwater_stack::{Stack, StackOptions};
use headwater_system_tests::chaos::{Chaos, MODES};
use headwater_system_tests::client::{Outcome, time_of_day_us};
use headwater_system_tests::lab::{Client, Lab, Load, NODE, wait_for, wait_for_port, wait_for_window, wait_up_to};
use headwater_system_tests::newest::newest;
use headwater_system_tests::topics;
use headwater_system_tests::windows::{WINDOW_US, judge, said, unnamed, window_of};

const OUTAGE: Duration = Duration::from_secs(60);

/// A third of an outage brings records of more than three times this.
const GROWTH_BYTES_MAX: i64 = 1 << 20;

/// A member that was killed holds its partitions for ten seconds, its transaction for fifteen; a worker without brokers looks again
/// every ten seconds; a window then closes when the next watermarks pass it.
const RECOVERY: Duration = Duration::from_secs(120);

/// What is killed when, unless CHAOS_SEED says otherwise: a run that failed can be had again.
const SEED: u64 = 2026;

/// Brokers give a transaction of ours up when it is 15 s old; one that was killed has read its logs after some 5 s, and is back in
/// its cluster after 10 to 13 s.
const TRANSACTION_AGE: Duration = Duration::from_secs(7);

/// Between two sessions of a client's thread: some 150 requests a second in all.
const PAUSE_US: u64 = 200_000;

/// Far more than any of these tests sends.
const ENOUGH: u64 = 200_000;

#[test]
fn kafka_stopped_for_a_minute() {
    let lab = Lab::start_own().unwrap();
    // Two agents look at the same processes: one that keeps a minute in its spool, and one whose memory does not hold it.
    let roomy = lab.settings.clone();
    let tight = KafkaSettings { prefix: "tight.".to_owned(), queue_bytes: 1 << 20, ..roomy.clone() };
    let mut load = SteadyLoad::open(&lab, 1);
    let agents = [lab.agent_with(&roomy).unwrap(), lab.agent_without_spool(&tight).unwrap()];
    let _processors = [&roomy, &tight].map(|settings| lab.processor_with("all", settings).unwrap());
    wait_for_window(WINDOW_US).unwrap();
    load.begin();
    wait_until_complete(&roomy, time_of_day_us().unwrap(), Duration::from_secs(60));

    lab.own_stack().kafka().stop();
    let stopped_at_us = time_of_day_us().unwrap();
    std::thread::sleep(OUTAGE * 2 / 3);
    let memory = || rss_bytes(agents[1].pid()).unwrap() as i64;
    let memory_bytes = memory();
    std::thread::sleep(OUTAGE / 3);
    let grown_bytes = memory() - memory_bytes;
    println!("the agent with the full queue has {memory_bytes} bytes, and {grown_bytes} more 20 s later");
    assert!(grown_bytes < GROWTH_BYTES_MAX, "a queue that is full goes on growing: {grown_bytes} bytes in 20 s");
    lab.own_stack().kafka().restart().unwrap();
    let back_at_us = time_of_day_us().unwrap();
    println!("Kafka was away from {stopped_at_us} to {back_at_us}");

    // One window more, which must be complete by itself again.
    wait_until_complete(&tight, back_at_us, RECOVERY);
    let outcomes = load.end();
    let last_us = outcomes.iter().map(|outcome| outcome.received_at_us).max().unwrap();
    for settings in [&roomy, &tight] {
        wait_until_closed(settings, last_us);
        let requests = topics::requests(settings).unwrap();
        let closed = topics::closed(settings, Topic::Edges).unwrap();
        let verdict = judge(&outcomes, &requests, &topics::edges(settings).unwrap(), &closed);
        println!("{}: {} requests, {verdict}", settings.prefix, outcomes.len());
        assert!(verdict.problems.is_empty(), "{}: {verdict}", settings.prefix);
        let dropped = check_agent(settings, outcomes.len() as i64, requests.len() as i64);
        if settings.prefix == roomy.prefix {
            assert!(!dropped.keys().any(|reason| reason.ends_with("_full")), "there is room for a minute: {dropped:?}");
            // The kernel may have left a run out, which has nothing to do with Kafka.
            assert_eq!(verdict.incomplete == 0 && verdict.unseen == 0, dropped.is_empty(), "{dropped:?}, {verdict}");
        } else {
            assert!(verdict.unseen > 0, "the small queue took a minute of records");
        }
    }
}

/// What the agent dropped, by its last counts. It has counted every record, and its memory grew by no more than its queue and what
/// every agent needs.
fn check_agent(settings: &KafkaSettings, sent: i64, published: i64) -> BTreeMap<String, i64> {
    let counted = || topics::agents(settings).unwrap().pop().unwrap();
    wait_for("the agent's last counts", || Ok(counted().captured["requests"] >= 2 * sent)).unwrap();
    wait_for("the last acknowledgements", || Ok(counted().published["requests"] >= published)).unwrap();
    let agents = topics::agents(settings).unwrap();
    let last = agents.last().unwrap();
    let (before, most) = (agents[0].rss_bytes, agents.iter().map(|agent| agent.rss_bytes).max().unwrap());
    let dropped = last.dropped.get("requests/queue_full").copied().unwrap_or(0);
    println!("{}: {last:?}; memory {before} to {most}", settings.prefix);
    // A run that the kernel left out is counted as one record, whether or not it would have given one: a bound from above.
    let missed = last.dropped.get("requests/probe_run_missed").copied().unwrap_or(0);
    let captured = last.captured["requests"];
    assert!(
        (captured - missed..=captured).contains(&(2 * sent)),
        "{captured} records of 2 x {sent}, {missed} runs missed"
    );
    assert_eq!((last.published["requests"], dropped), (published, captured - missed - published));
    assert!(most - before < i64::from(settings.queue_bytes).max(16 << 20), "{before} to {most} bytes");
    last.dropped.clone()
}

#[test]
fn any_process_killed_at_ten_random_moments() {
    let seed = std::env::var("CHAOS_SEED").map_or(SEED, |text| text.parse().unwrap());
    println!("CHAOS_SEED={seed}");
    // In an emulated machine Kafka stays outside, unharmed; everything else is there, and takes its time.
    let spares_kafka = std::env::var_os("CHAOS_SPARES_KAFKA").is_some();
    let slowness = std::env::var("CHAOS_SLOWNESS").map_or(1, |text| text.parse().unwrap());
    let lab = Arc::new(if spares_kafka { Lab::start() } else { Lab::start_own() }.unwrap());
    let settings = &lab.settings;
    let mut load = SteadyLoad::open(&lab, slowness);
    let agent = lab.agent().unwrap();
    if let Ok(hook) = std::env::var("CHAOS_HOOK") {
        assert_eq!(topics::agents(settings).unwrap()[0].capture_path, hook);
    }
    let processors = MODES.map(|mode| lab.processor(mode).unwrap());
    wait_for_window(WINDOW_US).unwrap();
    load.begin();
    wait_until_complete(settings, time_of_day_us().unwrap(), Duration::from_secs(60) * slowness);

    let mut chaos = Chaos::new(&lab, seed, agent, processors.into());
    chaos.kill(10).unwrap();
    let deadline = Instant::now() + RECOVERY * slowness;
    while !chaos.all_run() {
        supervise_a_second(&mut chaos, deadline);
    }
    let calm_us = time_of_day_us().unwrap();
    while !is_complete_after(settings, calm_us) {
        supervise_a_second(&mut chaos, deadline);
    }
    let outcomes = load.end();
    let last_us = outcomes.iter().map(|outcome| outcome.received_at_us).max().unwrap();
    wait_until_closed(settings, last_us);
    let faults = chaos.faults().to_vec();
    faults.iter().for_each(|fault| println!("{fault:?}"));
    // Whatever is published again must not come between two looks at the topics.
    drop(chaos);

    let edges = topics::edges(settings).unwrap();
    let closed = topics::closed(settings, Topic::Edges).unwrap();
    let mut verdict = judge(&outcomes, &topics::requests(settings).unwrap(), &edges, &closed);
    let said = said(&edges, &closed, &mut verdict.problems);
    for fault in faults.iter().filter(|fault| fault.victim == "agent") {
        for part in unnamed(fault.ended_at_us, fault.started_at_us, &said) {
            verdict.problems.push(format!("{fault:?}: nothing says that {NODE} is missing in {part:?}"));
        }
    }
    println!("{} requests, {verdict}", outcomes.len());
    assert!(verdict.problems.is_empty(), "CHAOS_SEED={seed}: {verdict}");
    check_latencies(settings);
    check_alerts(settings);
}

/// A process that dies while its transaction is open, and a Kafka that is killed before it has given the transaction up.
#[test]
fn a_transaction_that_nobody_ends_is_given_up_also_by_a_kafka_that_was_killed() {
    let stack = Stack::start(StackOptions::default()).unwrap();
    let settings = KafkaSettings::local(&stack.bootstrap(), &stack.registry().url());
    admin::ensure_topics(&settings, &[Topic::Edges]).unwrap();
    let edges = Topic::Edges.name(&settings.prefix);
    let mut orphan = Transactions::start(&settings, "orphan").unwrap();
    orphan.send(&NewRecord::new(&edges, Partition(0), b"never", b"committed")).unwrap();
    // Its time is over while Kafka starts: after it has read its logs, before it has leaders again.
    std::thread::sleep(TRANSACTION_AGE);
    stack.kafka().kill();
    stack.kafka().restart().unwrap();

    let publisher = Publisher::start(&settings, vec![edges.clone()]).unwrap();
    publisher.publish(0, Partition(0), b"after", Some(b"it"), &[]).unwrap();
    publisher.flush(Duration::from_secs(30)).unwrap();
    let mut reader = TopicReader::start(&settings, &[edges], &Start::Earliest).unwrap();
    wait_for("what stands behind the open transaction", || {
        Ok(match reader.next(Duration::from_millis(100))? {
            Next::Record(message) => {
                assert_eq!(message.key(), Some(b"after".as_slice()), "a record that was never committed is read");
                assert!(message.offset() > Offset::FIRST, "the record of the open transaction never came to Kafka");
                true
            }
            _ => false,
        })
    })
    .unwrap();
}

fn supervise_a_second(chaos: &mut Chaos, deadline: Instant) {
    let began = Instant::now();
    assert!(began < deadline, "the pipeline did not recover in time after the last kill");
    chaos.supervise(|| began.elapsed() > Duration::from_secs(1)).unwrap();
}

/// The parts of the latencies of a window and an edge add up to that edge, and no part is there twice.
fn check_latencies(settings: &KafkaSettings) {
    let mut parts = BTreeSet::new();
    let mut sums: BTreeMap<(i64, Workload, Workload, String), i64> = BTreeMap::new();
    let latencies = topics::latencies(settings).unwrap();
    for latency in &latencies {
        assert!(parts.insert((latency.window_start_us, latency.key(), latency.revision)), "doubled: {latency:?}");
    }
    for latency in newest(latencies).into_iter().filter(|latency| latency.requests > 0) {
        let edge = (latency.window_start_us, latency.client, latency.server, latency.protocol);
        *sums.entry(edge).or_default() += latency.requests;
    }
    let mut edges: BTreeMap<(i64, Workload, Workload, String), i64> = BTreeMap::new();
    for edge in newest(topics::edges(settings).unwrap()).into_iter().filter(|edge| edge.requests > 0) {
        edges.insert((edge.window_start_us, edge.client, edge.server, edge.protocol), edge.requests);
    }
    assert_eq!(sums, edges, "latencies and edges tell of different requests");
}

/// Nothing fires or ends twice.
fn check_alerts(settings: &KafkaSettings) {
    let alerts = topics::alerts(settings).unwrap();
    println!("{} alerts", alerts.len());
    let mut told = BTreeSet::new();
    for alert in alerts {
        assert!(told.insert((alert.alert_id.clone(), format!("{:?}", alert.state))), "doubled: {alert:?}");
    }
}

/// Two servers, and a client of each that goes on until it is told to stop.
struct SteadyLoad {
    clients: Vec<Client>,
    _servers: [Child; 2],
    _port: Port,
}

impl SteadyLoad {
    /// Asks so many times less often than usual.
    fn open(lab: &Lab, slowness: u32) -> SteadyLoad {
        let port = Port::free().unwrap();
        let nginx_address = port.address();
        let nginx = lab.nginx(&[nginx_address.to_string()], None).unwrap();
        wait_for_port(nginx_address).unwrap();
        let (hyper, hyper_address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
        let client = |address, server, label, seed| {
            let load = Load {
                address,
                server,
                label,
                seed,
                requests: ENOUGH,
                early: 10,
                threads: 2,
                pause_us: PAUSE_US * u64::from(slowness),
                netns: None,
            };
            lab.client(env!("CARGO_BIN_EXE_oracle-client"), &load).unwrap()
        };
        let clients = vec![client(nginx_address, "nginx", "n", 1), client(hyper_address, "hyper", "h", 2)];
        SteadyLoad { clients, _servers: [nginx, hyper], _port: port }
    }

    fn begin(&mut self) {
        self.clients.iter_mut().for_each(|client| client.go().unwrap());
    }

    /// Stops the clients and tells what they did. The servers go on.
    fn end(&mut self) -> Vec<Outcome> {
        self.clients.iter_mut().for_each(|client| client.stop().unwrap());
        self.clients.drain(..).flat_map(|client| client.finish().unwrap()).collect()
    }
}

/// Waits for a window that began after a time and is called complete.
fn wait_until_complete(settings: &KafkaSettings, after_us: i64, patience: Duration) {
    let came = wait_up_to(patience, "a complete window", || Ok(is_complete_after(settings, after_us)));
    let last = || topics::closed(settings, Topic::Edges).unwrap_or_default().pop();
    came.unwrap_or_else(|error| panic!("{}: after {after_us} {error}; the last one is {:?}", settings.prefix, last()));
}

fn is_complete_after(settings: &KafkaSettings, after_us: i64) -> bool {
    let closed = topics::closed(settings, Topic::Edges).unwrap_or_default();
    closed.iter().any(|marker| marker.window_start_us > after_us && marker.completeness == 1.0)
}

/// Waits until edges and latencies have said all of the window of a time.
fn wait_until_closed(settings: &KafkaSettings, at_us: i64) {
    for topic in [Topic::Edges, Topic::Latencies] {
        let closed = || topics::closed(settings, topic).unwrap_or_default();
        let is_closed = || Ok(closed().iter().any(|marker| marker.window_start_us >= window_of(at_us)));
        wait_for(&format!("the last window of {topic:?}"), is_closed).unwrap();
    }
}
