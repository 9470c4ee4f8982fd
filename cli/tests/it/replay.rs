//! `headwater replay` on a real Kafka: the windows of a past range come again, byte for byte, also if it is killed in the middle.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use headwater_console::clock::now_us;
use headwater_kafka::{KafkaSettings, Offset, Start, TopicReader, admin};
use headwater_process::program as built;
use headwater_schemas::records::{Record, WindowClosed};
use headwater_schemas::topics::Topic;
use headwater_schemas::wire::{WriterSchema, split};
use headwater_system_tests::fill::{Fill, SECONDS_BEHIND, fill};
use headwater_system_tests::lab::{shared, wait_up_to};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);
const SECOND_US: i64 = 1_000_000;
const WINDOW_US: i64 = 10 * SECOND_US;
const SECONDS: u64 = 20 * 60;
const RECORDS: u64 = SECONDS * 2 * 100;

/// A live run that is over, for all tests of this file.
struct Past {
    settings: KafkaSettings,
    start_us: i64,
}

impl Past {
    fn get() -> &'static Past {
        static PAST: OnceLock<Past> = OnceLock::new();
        PAST.get_or_init(|| {
            let settings = shared("live").unwrap();
            let start_us = (now_us() / WINDOW_US) * WINDOW_US - 40 * 60 * SECOND_US;
            // In the range that is computed again, and not in its first window.
            let lossy_second = Some(16 * 60 + 15);
            let records = Fill { records: RECORDS, seconds: SECONDS, start_us, in_the_past: true, lossy_second };
            fill(&settings, &records).unwrap();
            let past = Past { settings, start_us };
            let mut live = Owned(past.command(&built("headwater-processor").unwrap()).arg("all").spawn().unwrap());
            let windows = SECONDS as usize / 10;
            past.until("all windows of the live run", || closed_windows(&past.settings) >= windows);
            live.kill();
            past
        })
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .args(["--kafka-brokers", &self.settings.brokers, "--registry-url", &self.settings.registry_url])
            .args(["--kafka-prefix", &self.settings.prefix]);
        command
    }

    /// Seconds of the past, and where to.
    fn replay(&self, from_s: i64, to_s: i64, into: &str) -> Command {
        self.replay_of(&self.settings.prefix, from_s, to_s, into)
    }

    fn replay_of(&self, prefix: &str, from_s: i64, to_s: i64, into: &str) -> Command {
        let at = |seconds: i64| rfc3339(self.start_us + seconds * SECOND_US);
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        command
            .args(["replay", "--from", &at(from_s), "--to", &at(to_s), "--into", into, "--json"])
            .args(["--kafka-brokers", &self.settings.brokers, "--registry-url", &self.settings.registry_url])
            .args(["--kafka-prefix", prefix])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn under(&self, prefix: &str) -> KafkaSettings {
        KafkaSettings { prefix: prefix.into(), ..self.settings.clone() }
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let held = wait_up_to(PATIENCE, what, || Ok(holds()));
        held.unwrap_or_else(|error| panic!("{error}; Kafka: {}", self.settings.brokers));
    }

    /// What the live run says of the range must be all that the replay says.
    fn assert_same(&self, into: &str, from_s: i64, to_s: i64) {
        let range_us = self.start_us + from_s * SECOND_US..self.start_us + to_s * SECOND_US;
        for topic in [Topic::Edges, Topic::Latencies] {
            let live: Vec<Line> =
                lines(&self.settings, topic).into_iter().filter(|line| range_us.contains(&line.window_us)).collect();
            let again = lines(&self.under(into), topic);
            let markers = live.iter().filter(|line| line.is_marker).count();
            assert!(live.len() > markers * 5, "{} records and {markers} markers prove little", live.len());
            let missing = live.iter().filter(|line| again.binary_search(line).is_err()).count();
            let wrong = again.iter().filter(|line| live.binary_search(line).is_err()).count();
            let doubled = again.windows(2).filter(|pair| pair[0] == pair[1]).count();
            assert_eq!((missing, wrong, doubled, again.len()), (0, 0, 0, live.len()), "{topic:?} under {into}");
        }
    }
}

/// A process that ends with its owner.
struct Owned(Child);

impl Owned {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A record of a topic: all of it but its place and the id of its schema, and the places that it names.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    window_us: i64,
    is_marker: bool,
    key: Vec<u8>,
    datum: Vec<u8>,
}

/// All records of edges or latencies and of what closes their windows, sorted.
fn lines(settings: &KafkaSettings, topic: Topic) -> Vec<Line> {
    let [records, closed] = [topic, topic.windows().unwrap()].map(|topic| topic.name(&settings.prefix));
    let mut reader = TopicReader::start(settings, &[records, closed.clone()], &Start::Earliest).unwrap();
    let schema = WriterSchema::parse(WindowClosed::SCHEMA).unwrap();
    let mut lines = Vec::new();
    reader
        .read_to_end(PATIENCE, |message| {
            let mut datum = split(message.value().unwrap()).unwrap().1.to_vec();
            let (window_us, is_marker, key) =
                (zigzag(&datum), message.topic() == closed, message.key().unwrap().to_vec());
            if is_marker {
                // The records stand elsewhere.
                let closed: WindowClosed = schema.decode(&datum).unwrap();
                datum = format!("{:?}", WindowClosed { through_offset: -1, ..closed }).into_bytes();
            }
            lines.push(Line { window_us, is_marker, key, datum });
        })
        .unwrap();
    lines.sort();
    lines
}

/// Both records and markers begin with the start of their window, as Avro writes a number.
fn zigzag(datum: &[u8]) -> i64 {
    let (mut number, mut shift) = (0u64, 0);
    for byte in datum {
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Windows that all partials' partitions have closed in both topics.
fn closed_windows(settings: &KafkaSettings) -> usize {
    let there = admin::topics(settings).unwrap_or_default();
    let is_there = |topic: Topic| {
        let named = |topic: Topic| there.iter().any(|state| state.name == topic.name(&settings.prefix));
        named(topic) && topic.windows().is_some_and(named)
    };
    let count = |topic: Topic| {
        if !is_there(topic) {
            return 0;
        }
        lines(settings, topic).iter().filter(|line| line.is_marker).count() / settings.partitions as usize
    };
    count(Topic::Edges).min(count(Topic::Latencies))
}

fn rfc3339(us: i64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_micros(us.cast_unsigned())).to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn summary(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)))
}

#[test]
fn a_range_from_the_middle_comes_again_byte_for_byte() {
    let past = Past::get();
    let told = summary(&past.replay(15 * 60, 19 * 60, "again.").output().unwrap());
    past.assert_same("again.", 15 * 60, 19 * 60);
    assert_eq!((&told["windows"], &told["windows_in_range"]), (&24.into(), &24.into()), "{told}");
    let edges = lines(&past.under("again."), Topic::Edges).iter().filter(|line| !line.is_marker).count();
    assert_eq!(told["edges"], edges, "{told}");
    assert_eq!(told["not_computed"].as_array().unwrap().len(), 0, "{told}");
    // The loss of the first time is still one.
    assert_eq!(told["incomplete"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["incomplete"][0]["missing"][0]["reason"], "queue-full");
    let read = told["records_read"].as_u64().unwrap();
    assert!(read < RECORDS * 9 / 10, "it starts in the middle, but has read {read} of {RECORDS} records");

    // The same command finds all done; another range is refused.
    let again = summary(&past.replay(15 * 60, 19 * 60, "again.").output().unwrap());
    assert_eq!(again["edges"], told["edges"]);
    let other = past.replay(14 * 60, 19 * 60, "again.").output().unwrap();
    assert!(!other.status.success() && text(&other.stderr).contains("not of this replay"), "{}", text(&other.stderr));
    past.assert_same("again.", 15 * 60, 19 * 60);
}

#[test]
fn a_replay_that_was_killed_goes_on_and_counts_nothing_twice() {
    let past = Past::get();
    let into = past.under("killed.");
    let mut first = Owned(past.replay(60, 19 * 60, "killed.").spawn().unwrap());
    past.until("the first partials", || {
        let partials = Topic::Partials.name(&into.prefix);
        // A topic that is being made has no leader yet.
        let there = admin::topics(&into).unwrap_or_default();
        there.iter().any(|state| state.name == partials && state.kept.iter().any(|kept| kept.end > Offset::FIRST))
    });
    // Children belong to the thread that forked them.
    let threads = std::fs::read_dir(format!("/proc/{}/task", first.0.id())).unwrap().flatten();
    let children = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")).unwrap());
    let processor: libc::pid_t = children.collect::<String>().trim().parse().unwrap();
    // SAFETY: the process is a child of ours' that is not reaped, so the id is its own.
    unsafe { libc::kill(processor, libc::SIGKILL) };
    assert!(!first.0.wait().unwrap().success(), "a replay whose processors are killed fails");
    let closed = closed_windows(&into);
    assert!(closed < 18 * 6, "it was killed after its end");

    let told = summary(&past.replay(60, 19 * 60, "killed.").output().unwrap());
    assert_eq!(told["windows"], 18 * 6, "{told}");
    past.assert_same("killed.", 60, 19 * 60);
}

#[test]
fn it_ends_where_the_topics_end_and_names_what_is_not_there() {
    let past = Past::get();
    let minute = SECONDS as i64 / 60;
    let told = summary(&past.replay((minute - 1) * 60, (minute + 2) * 60, "end.").output().unwrap());
    let windows = told["windows"].as_i64().unwrap();
    // The watermarks behind the records close a few more windows, and the slack holds the last one back.
    assert_eq!(windows, 6 + (SECONDS_BEHIND as i64 - 2) / 10, "{told}");
    let not_computed = &told["not_computed"][0];
    assert!(not_computed["why"].as_str().unwrap().contains("not in the topics"), "{told}");
    assert_eq!(not_computed["to"], rfc3339(past.start_us + (minute + 2) * 60 * SECOND_US));
}

#[test]
fn what_cannot_be_right_is_refused_before_anything_is_written() {
    let past = Past::get();
    let refused = |command: &mut Command, part: &str| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(part), "{part} is not in: {}", text(&output.stderr));
    };
    refused(&mut past.replay(60, 120, &past.settings.prefix), "is the prefix of the topics that are read");
    refused(&mut past.replay(120, 60, "x."), "is not before");
    refused(&mut past.replay(61, 69, "x."), "no whole window");
    refused(&mut past.replay(60, 120, "x y"), "cannot begin the name of a topic");
    refused(&mut past.replay_of("typo.", 60, 120, "x."), "check kafka.prefix (typo.)");
    admin::ensure_topics(&past.under("agents."), &[Topic::Flows, Topic::Requests]).unwrap();
    refused(&mut past.replay(60, 120, "agents."), "only agents write");
    assert!(admin::topics(&past.under("x.")).unwrap().is_empty());
}
