//! The join goes on from a snapshot, on a real Kafka: it reads on from there alone, and without one it reads the log again. Readers see no difference.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_kafka::{
    Assignment, Commit, KafkaSettings, Next, Offset, Partition, Publisher, SchemaCache, Start, Stretch, Stretches,
    TopicPartition, TopicReader, admin, offsets,
};
use headwater_processors::modes::Mode;
use headwater_processors::processor::Memo;
use headwater_processors::runtime;
use headwater_processors::settings::{ALL_KEYS, Settings};
use headwater_schemas::records::{Kind as RequestKind, Outcome, Partial, Progress, Request, Share, Side, WindowClosed};
use headwater_schemas::topics::{Topic, WINDOW_CLOSED_HEADER};
use headwater_schemas::wire::Encoder;
use headwater_stack::shared::Shared;
use headwater_telemetry::Health;

const PATIENCE: Duration = Duration::from_secs(60);
const SECOND_US: i64 = 1_000_000;
const WINDOW_S: i64 = 10;
const PARTITIONS: i32 = 2;
/// In each partition and second.
const EXCHANGES: i64 = 20;

#[test]
fn a_join_goes_on_from_a_snapshot_and_reads_the_log_again_where_it_is_of_no_use() {
    let world = World::new();
    world.tell(0..14);
    let left =
        world.run_until(|committed| committed.iter().all(|left| memo(left).snapshot.is_some() && closed(left) >= 10));

    // Only what the snapshot says can be known now: the group starts behind all that is there.
    let ends: Vec<Offset> = left.iter().map(|left| world.end(&left.at)).collect();
    world.commit(left.iter().zip(&ends).map(|(left, end)| (left.at.clone(), *end, memo(left))));
    world.tell(14..20);
    let left =
        world.run_until(|committed| committed.iter().all(|left| memo(left).snapshot.is_some() && closed(left) >= 16));

    // And only what the log says.
    world.commit(left.iter().map(|left| {
        let mut memo = memo(left);
        memo.snapshot.as_mut().unwrap().crc32 ^= 1;
        (left.at.clone(), left.committed.unwrap(), memo)
    }));
    world.tell(20..26);
    world.run_until(|committed| committed.iter().all(|left| closed(left) >= 22));

    let windows = world.windows();
    assert!(windows.len() >= 23, "{windows:?}");
    for (window, (requests, both_sides, markers)) in windows {
        let all = i64::from(PARTITIONS) * EXCHANGES * WINDOW_S;
        assert_eq!((requests, both_sides, markers), (all, all, PARTITIONS * PARTITIONS), "window {window}");
    }
}

fn memo(left: &Assignment) -> Memo {
    serde_json::from_str(&left.note).unwrap_or_default()
}

/// How many windows are closed.
fn closed(left: &Assignment) -> i64 {
    memo(left).closed_through_us.map_or(0, |through_us| (through_us - start_us()) / (WINDOW_S * SECOND_US) + 1)
}

/// The same for the whole test.
fn start_us() -> i64 {
    static START_US: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    *START_US.get_or_init(|| {
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
        (now_us / (WINDOW_S * SECOND_US) - 60) * WINDOW_S * SECOND_US
    })
}

struct World {
    settings: Settings,
    publisher: Publisher,
    request: Encoder,
    progress: Encoder,
    /// What was vouched for in each partition of requests.
    told: Mutex<Vec<Stretches>>,
}

impl World {
    fn new() -> World {
        let shared = Shared::get().unwrap();
        let mut kafka = KafkaSettings::local(&shared.brokers, &shared.registry_url);
        kafka.prefix = Shared::prefix("snapshots");
        kafka.partitions = PARTITIONS;
        let topics = Mode::Join.inputs();
        admin::ensure_topics(&kafka, topics).unwrap();
        let mut cache = SchemaCache::new(&kafka);
        let [request, progress] = [Topic::Requests, Topic::Progress].map(|topic| cache.topic_id(topic).unwrap());
        let names = topics.iter().map(|topic| topic.name(&kafka.prefix)).collect();
        let publisher = Publisher::lingering(&kafka, names, Duration::from_millis(2)).unwrap();
        let arguments = ["processor"].map(Into::into);
        let loaded = headwater_settings::load(clap::Command::new("processor"), ALL_KEYS, arguments, Vec::new());
        let (_, mut values) = loaded.unwrap();
        World {
            publisher,
            request: Encoder::of::<Request<'_>>(request).unwrap(),
            progress: Encoder::of::<Progress>(progress).unwrap(),
            told: Mutex::new(vec![Stretches::default(); PARTITIONS as usize]),
            settings: Settings { raw_prefix: kafka.prefix.clone(), kafka, ..Settings::read(&mut values) },
        }
    }

    /// Tells of windows: both sides of each exchange, and how far the only agent is.
    fn tell(&self, windows: std::ops::Range<i64>) {
        for second in windows.start * WINDOW_S..windows.end * WINDOW_S {
            let at_us = start_us() + second * SECOND_US;
            for partition in 0..PARTITIONS {
                for exchange in 0..EXCHANGES {
                    let id = format!("{:016x}", i64::from(partition) * EXCHANGES + exchange + 1);
                    for side in [Side::Client, Side::Server] {
                        let request = request(&id, side, second * 100, at_us + exchange * 1000);
                        let value = self.request.encode(&request).unwrap();
                        self.publisher.publish(1, Partition(partition), id.as_bytes(), Some(&value), &[]).unwrap();
                    }
                }
            }
            self.publisher.flush(PATIENCE).unwrap();
            for partition in 0..PARTITIONS {
                let placed = self.publisher.placed(1, Partition(partition));
                let stretch = self.told.lock().unwrap()[partition as usize].next(&placed);
                let progress = self.progress.encode(&progress(second, at_us, &stretch)).unwrap();
                self.publisher.publish(2, Partition(partition), b"n", Some(&progress), &[]).unwrap();
            }
        }
        self.publisher.flush(PATIENCE).unwrap();
    }

    /// Runs a join until this holds of what it has committed, and stops it. Gives what it has left.
    fn run_until(&self, holds: impl Fn(&[Assignment]) -> bool) -> Vec<Assignment> {
        let kafka = &self.settings.kafka;
        let place = |topic: &Topic, partition| TopicPartition::new(topic.name(&kafka.prefix), Partition(partition));
        let places: Vec<_> = Mode::Join
            .inputs()
            .iter()
            .flat_map(|topic| (0..PARTITIONS).map(move |partition| place(topic, partition)))
            .collect();
        let committed = || offsets::committed(kafka, &Mode::Join.group(&kafka.prefix), &places).unwrap();
        let (stop, health) = (AtomicBool::new(false), Health::default());
        let has_come = std::thread::scope(|scope| {
            scope.spawn(|| runtime::run(Mode::Join, &self.settings, &stop, &health, None));
            let deadline = Instant::now() + PATIENCE;
            let mut has_come = false;
            while !has_come && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(100));
                has_come = holds(&committed());
            }
            stop.store(true, Ordering::Relaxed);
            has_come
        });
        let left = committed();
        assert!(has_come, "not within {PATIENCE:?}: {left:?}");
        left
    }

    fn end(&self, at: &TopicPartition) -> Offset {
        let states = admin::topics(&self.settings.kafka).unwrap();
        let topic = states.into_iter().find(|topic| topic.name == at.topic).unwrap();
        topic.kept[at.partition.0 as usize].end
    }

    fn commit(&self, starts: impl Iterator<Item = (TopicPartition, Offset, Memo)>) {
        let kafka = &self.settings.kafka;
        let commit = |(at, next, memo)| Commit { at, next, note: serde_json::to_string(&memo).unwrap() };
        offsets::commit(kafka, &Mode::Join.group(&kafka.prefix), &starts.map(commit).collect::<Vec<_>>()).unwrap();
    }

    /// What committed readers see of each window: requests, how many of both sides, markers.
    fn windows(&self) -> BTreeMap<i64, (i64, i64, i32)> {
        let kafka = &self.settings.kafka;
        let mut cache = SchemaCache::new(kafka);
        let mut reader = TopicReader::start(kafka, &[Topic::Partials.name(&kafka.prefix)], &Start::Earliest).unwrap();
        let mut windows: BTreeMap<i64, (i64, i64, i32)> = BTreeMap::new();
        let mut ends = 0;
        while ends < PARTITIONS {
            match reader.next(PATIENCE).unwrap() {
                Next::End(_) => ends += 1,
                Next::Idle => panic!("the partials do not end"),
                Next::Record(message) => match (message.value(), message.header(WINDOW_CLOSED_HEADER)) {
                    (Some(value), _) => {
                        let (schema, datum) = cache.open(value).unwrap();
                        let partial: Partial = schema.decode(datum).unwrap();
                        let window = windows.entry(window(partial.window_start_us)).or_default();
                        window.0 += partial.requests;
                        window.1 += partial.both_sides;
                    }
                    (None, Some(header)) => {
                        let (schema, datum) = cache.open(header).unwrap();
                        let marker: WindowClosed = schema.decode(datum).unwrap();
                        assert_eq!(marker.missing, []);
                        windows.entry(window(marker.window_start_us)).or_default().2 += 1;
                    }
                    (None, None) => panic!("a partial without anything"),
                },
            }
        }
        windows
    }
}

fn window(start_of_us: i64) -> i64 {
    (start_of_us - start_us()) / (WINDOW_S * SECOND_US)
}

fn progress(second: i64, at_us: i64, requests: &Stretch) -> Progress {
    let published = i64::from(PARTITIONS) * EXCHANGES * 2;
    Progress {
        node: "n".into(),
        agent_started_at_us: start_us(),
        sequence: second,
        covers_from_us: at_us,
        up_to_us: at_us + SECOND_US,
        is_final: false,
        partitions: PARTITIONS,
        flows: Share::anywhere(0, Vec::new()),
        requests: Share {
            after_offset: requests.after.0,
            through_offset: requests.through.0,
            records: requests.records as i64,
            ..Share::anywhere(published, Vec::new())
        },
    }
}

fn request<'a>(id: &'a str, side: Side, position: i64, at_us: i64) -> Request<'a> {
    let workload = if side == Side::Client { "shop" } else { "orders" };
    Request {
        connection_id: id,
        side,
        request_position: position,
        started_at_us: at_us - 1000,
        completed_at_us: at_us,
        duration_ns: 1_000_000,
        time_to_first_byte_ns: 900_000,
        protocol: "http",
        kind: RequestKind::Call,
        method: "GET",
        path: "/",
        operation: "GET /",
        resource: "",
        status: 200,
        outcome: Outcome::Ok,
        code: "",
        error: false,
        failure: None,
        request_bytes: 100,
        response_bytes: 200,
        request_messages: None,
        response_messages: None,
        trace_id: "",
        parent_span_id: "",
        request_id: "",
        request_thread_id: 0,
        request_call: 0,
        response_thread_id: 0,
        response_call: 0,
        weight: 1,
        sums: None,
        node: "n",
        cluster: "",
        namespace: "",
        workload_kind: "program",
        workload,
        pod: "",
        container: "",
        pid: 1,
        local_address: "10.0.0.1",
        local_port: 80,
        remote_address: "10.0.0.2",
        remote_port: 80,
        remote_name: "",
    }
}
