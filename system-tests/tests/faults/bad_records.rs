//! Records that are none, of every kind and in every topic, between good ones: each becomes a dead letter once for each processor
//! that reads the topic, also when the processors are killed; the sums of the good ones are exact; whoever looks at a topic is
//! told and goes on.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use headwater_kafka::{KafkaSettings, SchemaCache, Start, TopicReader};
use headwater_process::{Child, Launch};
use headwater_schemas::records::{DeadLetter, Latency};
use headwater_schemas::topics::Topic;
use headwater_stack::{Stack, StackOptions};
use headwater_system_tests::lab::{shared, stop, wait_for};
use headwater_system_tests::program::{ours, run};
use headwater_system_tests::raw::{Bad, Raw};
use headwater_system_tests::topics;
use headwater_testing::Random;

const PATIENCE: Duration = Duration::from_secs(60);
const WINDOW_US: i64 = 10_000_000;
const SECONDS: i64 = 30;
/// Watermarks alone, so that the last window closes.
const SECONDS_AFTER: i64 = 40;
const EACH_SECOND: i64 = 40;
const KILLS: i64 = 3;
/// One call to a registry that is away is tried for two seconds.
const STOPPED_WITHIN: Duration = Duration::from_secs(15);

/// Where a record stands.
type Place = (String, i32, i64);

#[test]
fn each_bad_record_is_a_dead_letter_once_and_the_good_ones_count() {
    let settings = shared("bad-records").unwrap();
    let logs = tempfile::tempdir().unwrap();
    let mut raw = Raw::start(&settings).unwrap();
    let mut random = Random::new(11);
    let mut bad: Vec<Bad> = Vec::new();
    let start_us = start_us();

    let processors = || processors(&settings, &logs.path().join("processors.log"));
    let mut running = processors();
    for second in 0..SECONDS + SECONDS_AFTER {
        if second % (SECONDS / KILLS) == 0 && second < SECONDS {
            // All of them may be written before the last one is acknowledged.
            let before = letters(&settings).len();
            for topic in Topic::ALL {
                bad.extend(raw.bad(topic, &mut random).unwrap());
            }
            raw.flush().unwrap();
            // In the middle of the work: some of the letters are written by then, others not.
            wait_for("a dead letter", || Ok(letters(&settings).len() > before)).unwrap();
            running.kill();
            running = processors();
        }
        raw.second(start_us, second, if second < SECONDS { EACH_SECOND } else { 0 }).unwrap();
    }
    raw.flush().unwrap();

    let places = places(&settings, &bad);
    let expected = expected(&bad, &places);
    let came = wait_for("the dead letters", || Ok(letters(&settings).len() >= expected.len()));
    let in_edges = || topics::good_edges(&settings).unwrap().iter().map(|edge| edge.requests).sum::<i64>();
    let summed = wait_for("all requests in the edges", || Ok(in_edges() >= SECONDS * EACH_SECOND));
    println!("{} bad records of {} kinds", bad.len(), bad.iter().map(|bad| bad.kind).collect::<BTreeSet<_>>().len());
    check_letters(&settings, &expected);
    came.and(summed).unwrap_or_else(|error| panic!("{error}\n{}", running.log_text()));
    check_sums(&settings);
    assert!(running.is_running(), "the processors ended: {}", running.log_text());

    commands_pass_over_them(&settings, &bad, &places);
    the_console_counts_them(&settings, &bad);
}

#[test]
fn a_record_is_no_dead_letter_because_the_registry_is_away() {
    let stack = Stack::start(StackOptions::default()).unwrap();
    let settings = KafkaSettings::local(&stack.bootstrap(), &stack.registry().url());
    let logs = tempfile::tempdir().unwrap();
    let log = logs.path().join("processors.log");
    let mut raw = Raw::start(&settings).unwrap();
    let start_us = start_us();
    let mut running = processors(&settings, &log);
    for second in 0..20 {
        raw.second(start_us, second, EACH_SECOND).unwrap();
    }
    raw.flush().unwrap();
    let in_edges = || topics::edges(&settings).map_or(0, |all| all.iter().map(|edge| edge.requests).sum::<i64>());
    wait_for("the first window", || Ok(in_edges() == 10 * EACH_SECOND)).unwrap();

    // These are written with a schema that nobody has asked for yet, and nobody can tell.
    raw.renew_schema(&settings).unwrap();
    stack.registry().kill();
    for second in 20..SECONDS + SECONDS_AFTER {
        raw.second(start_us, second, if second < SECONDS { EACH_SECOND } else { 0 }).unwrap();
    }
    raw.flush().unwrap();
    wait_for("the processors' word", || Ok(running.log_text().contains("check registry.url"))).unwrap();
    assert!(running.is_running(), "they ended: {}", running.log_text());
    let began = Instant::now();
    stop(&mut running).unwrap();
    assert!(began.elapsed() < STOPPED_WITHIN, "they waited {:?} for the registry", began.elapsed());

    stack.registry().restart().unwrap();
    let _running = processors(&settings, &log);
    wait_for("all requests in the edges", || Ok(in_edges() >= SECONDS * EACH_SECOND)).unwrap();
    assert_eq!(in_edges(), SECONDS * EACH_SECOND);
    assert_eq!(letters(&settings), vec![]);
}

fn processors(settings: &KafkaSettings, log: &Path) -> Child {
    let mut command = ours("headwater-processor").unwrap();
    command.arg("all").args(flags(settings));
    Launch::new("processors", command, log).spawn().unwrap()
}

/// Where a window starts, somewhat more than a minute ago.
fn start_us() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    (now.as_micros() as i64 / WINDOW_US - 9) * WINDOW_US
}

/// Topic, partition and offset of each bad record, by its name.
fn places(settings: &KafkaSettings, bad: &[Bad]) -> BTreeMap<String, Place> {
    let mut places = BTreeMap::new();
    for topic in Topic::ALL {
        let names: BTreeSet<&str> = bad.iter().filter(|bad| bad.topic == topic).map(|bad| bad.key.as_str()).collect();
        let mut reader = TopicReader::start(settings, &[topic.name(&settings.prefix)], &Start::Earliest).unwrap();
        reader
            .read_to_end(PATIENCE, |message| {
                let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
                let name = key.trim_end_matches('!').to_owned();
                if names.contains(name.as_str()) {
                    places.insert(name, (message.topic().to_owned(), message.partition().0, message.offset().0));
                }
            })
            .unwrap();
    }
    assert_eq!(places.len(), bad.len(), "not all bad records stand in their topics");
    places
}

/// Who must have written a letter of which record.
fn expected(bad: &[Bad], places: &BTreeMap<String, Place>) -> BTreeSet<(Place, &'static str)> {
    let readers = |topic| -> &[&'static str] {
        match topic {
            Topic::Flows | Topic::Requests | Topic::Progress => &["join"],
            Topic::Partials => &["service-map", "latency"],
            Topic::Edges | Topic::EdgeWindows | Topic::Latencies | Topic::LatencyWindows | Topic::EdgeHours => {
                &["bottlenecks"]
            }
            Topic::EdgeMinutes | Topic::LatencyMinutes | Topic::LatencyHours => &[],
            Topic::Identities | Topic::Processes | Topic::Agents | Topic::Alerts | Topic::DeadLetters => &[],
        }
    };
    let letters =
        |bad: &Bad| readers(bad.topic).iter().map(|reader| (places[&bad.key].clone(), *reader)).collect::<Vec<_>>();
    bad.iter().flat_map(letters).collect()
}

/// All committed letters: place, reader and error.
fn letters(settings: &KafkaSettings) -> Vec<(Place, String, String)> {
    let mut letters = Vec::new();
    topics::each(settings, Topic::DeadLetters, |cache: &mut SchemaCache, value| {
        let Ok((schema, datum)) = cache.open(value) else { return Ok(()) };
        // Bad records stand in this topic too.
        if let Ok(letter) = schema.decode::<DeadLetter<'_>>(datum) {
            let place = (letter.topic.to_owned(), letter.partition, letter.offset);
            letters.push((place, letter.read_by.to_owned(), letter.error.to_owned()));
        }
        Ok(())
    })
    .unwrap();
    letters
}

/// Counts right, missing, wrong and doubled apart.
fn check_letters(settings: &KafkaSettings, expected: &BTreeSet<(Place, &'static str)>) {
    let mut counts: BTreeMap<(Place, String), usize> = BTreeMap::new();
    let mut errors = BTreeSet::new();
    for (place, reader, error) in letters(settings) {
        assert!(!error.is_empty(), "{place:?} has no error");
        errors.insert(error.chars().filter(|c| !c.is_ascii_digit()).take(100).collect::<String>());
        *counts.entry((place, reader)).or_default() += 1;
    }
    let count =
        |(place, reader): &(Place, &str)| counts.get(&(place.clone(), (*reader).to_owned())).copied().unwrap_or(0);
    let missing: Vec<_> = expected.iter().filter(|letter| count(letter) == 0).collect();
    let doubled: Vec<_> = expected.iter().filter(|letter| count(letter) > 1).collect();
    let wrong: Vec<_> =
        counts.keys().filter(|(place, reader)| !expected.iter().any(|(p, r)| p == place && r == reader)).collect();
    let right = expected.len() - missing.len() - doubled.len();
    println!("letters: {right} right, {} missing, {} wrong, {} doubled", missing.len(), wrong.len(), doubled.len());
    errors.iter().for_each(|error| println!("  {error}"));
    missing.iter().take(5).for_each(|letter| println!("  missing {letter:?}"));
    wrong.iter().take(5).for_each(|letter| println!("  wrong {letter:?}"));
    doubled.iter().take(5).for_each(|letter| println!("  doubled {letter:?}"));
    assert_eq!((right, missing.len(), wrong.len(), doubled.len()), (expected.len(), 0, 0, 0));
}

fn check_sums(settings: &KafkaSettings) {
    let edges = topics::good_edges(settings).unwrap();
    let sum = |value: fn(&headwater_schemas::records::Edge) -> i64| edges.iter().map(value).sum::<i64>();
    let total = SECONDS * EACH_SECOND;
    assert_eq!((sum(|e| e.requests), sum(|e| e.both_sides), sum(|e| e.errors)), (total, total, SECONDS));
    let http: Vec<_> = edges.iter().filter(|edge| edge.requests > 0).collect();
    assert!(
        http.iter().all(|edge| (edge.client.name.as_str(), edge.server.name.as_str()) == ("raw-client", "raw-server"))
    );
    // No agent says that it wrote one of them, so nothing is missing.
    let incomplete: Vec<_> = http.iter().filter(|edge| edge.completeness < 1.0).collect();
    assert!(incomplete.is_empty(), "{incomplete:?}");

    // They are made by another processor, which may be behind that of the edges.
    let came = wait_for("all requests in the latencies", || Ok(in_latencies(settings) >= total));
    assert_eq!(in_latencies(settings), total, "{came:?}");
}

/// The requests of all latencies that can be read.
fn in_latencies(settings: &KafkaSettings) -> i64 {
    let mut requests: i64 = 0;
    let take = |cache: &mut SchemaCache, value: &[u8]| {
        if let Ok((schema, datum)) = cache.open(value)
            && let Ok(latency) = schema.decode::<Latency>(datum)
        {
            requests += latency.requests;
        }
        Ok(())
    };
    topics::each(settings, Topic::Latencies, take).unwrap();
    requests
}

fn commands_pass_over_them(settings: &KafkaSettings, bad: &[Bad], places: &BTreeMap<String, Place>) {
    for topic in Topic::ALL {
        let mut command = ours("headwater").unwrap();
        command.args(["tail", topic.suffix(), "--from", "earliest", "--to-end", "--markers", "--json"]);
        let ended = run(command.args(flags(settings)), PATIENCE).unwrap();
        assert_eq!(ended.code, Some(0), "{topic:?}: {}", ended.stderr);
        for bad in bad.iter().filter(|bad| bad.topic == topic && bad.unreadable) {
            let (name, partition, offset) = &places[&bad.key];
            let told = format!("passed over {name} partition {partition} offset {offset}: ");
            assert!(ended.stderr.contains(&told), "tail does not say `{told}` of {bad:?}");
        }
        let unreadable = bad.iter().filter(|bad| bad.topic == topic && bad.unreadable).count();
        assert_eq!(ended.stderr.lines().count(), unreadable, "{topic:?}: {}", ended.stderr);
        let good = ended.stdout.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
        assert!(
            good > 0
                || [Topic::Identities, Topic::Processes, Topic::Agents, Topic::Alerts, Topic::DeadLetters]
                    .contains(&topic),
            "{topic:?}"
        );
    }
    let mut command = ours("headwater").unwrap();
    let ended = run(command.args(["map", "--json", "--minutes", "5"]).args(flags(settings)), PATIENCE).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told = format!("passed over {} partition 0 offset", Topic::Edges.name(&settings.prefix));
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);
    let lines = ended.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    assert_eq!(lines.map(|line| line["requests"].as_i64().unwrap()).sum::<i64>(), SECONDS * EACH_SECOND);
}

fn the_console_counts_them(settings: &KafkaSettings, bad: &[Bad]) {
    let logs = tempfile::tempdir().unwrap();
    let mut command = ours("headwater").unwrap();
    command.args(["console", "--console-listen", "127.0.0.1:0"]).args(flags(settings));
    let launch = Launch::new("console", command, logs.path().join("console.log"));
    let mut console = launch.piping_stdout().spawn().unwrap();
    let line = console.first_line().unwrap();
    let address = line.rsplit("http://").next().unwrap().to_owned();
    let windows = [Topic::Edges, Topic::EdgeWindows, Topic::Latencies, Topic::LatencyWindows];
    let read = [&windows[..], &[Topic::Alerts, Topic::Agents]].concat();
    let expected = bad.iter().filter(|bad| read.contains(&bad.topic) && bad.unreadable).count() as u64;
    let unreadable = || get(&address, "/api/status")["unreadable"].as_u64().unwrap();
    let counted = wait_for("the console's count", || Ok(unreadable() >= expected));
    assert_eq!(unreadable(), expected, "{counted:?}");
    let requests = || {
        let map = get(&address, "/api/map?minutes=5");
        let edges = map["edges"].as_array().unwrap().iter();
        edges.filter_map(|edge| edge["requests"]["requests"].as_i64()).sum::<i64>()
    };
    // Each topic is read by itself, so the windows may come after the last bad record.
    let came = wait_for("the windows in the console", || Ok(requests() >= SECONDS * EACH_SECOND));
    assert_eq!(requests(), SECONDS * EACH_SECOND, "the map goes on: {came:?}");
}

fn get(address: &str, path: &str) -> serde_json::Value {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn flags(settings: &KafkaSettings) -> [&str; 6] {
    let KafkaSettings { brokers, registry_url, prefix, .. } = settings;
    ["--kafka-brokers", brokers, "--registry-url", registry_url, "--kafka-prefix", prefix]
}
