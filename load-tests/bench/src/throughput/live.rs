//! A fleet that tells of each second as it passes, and when its windows are seen to close.
//!
//! Bound: nodes that are silenced keep what they would tell, as an agent keeps what it cannot publish; silence few, and not for long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use headwater_kafka::{KafkaSettings, Next, SchemaCache, Start, TopicReader};
use headwater_schemas::records::WindowClosed;
use headwater_schemas::topics::Topic;
use headwater_system_tests::fleet::{Fleet, Outlet, Shape};

use super::WINDOW_US;

const TIMEOUT: Duration = Duration::from_secs(420);

/// A fleet that tells each second of the one before.
pub struct Load {
    stop: Arc<AtomicBool>,
    silent: Arc<AtomicU32>,
    thread: JoinHandle<Result<Duration>>,
}

impl Load {
    pub fn start(settings: &KafkaSettings, shape: Shape) -> Result<Load> {
        let stop = Arc::new(AtomicBool::new(false));
        let silent = Arc::new(AtomicU32::new(0));
        let (is_over, silenced) = (Arc::clone(&stop), Arc::clone(&silent));
        let mut outlet = Outlet::open(settings)?;
        let mut fleet = Fleet::new(shape, now_us()? / WINDOW_US * WINDOW_US);
        let thread = std::thread::spawn(move || {
            let mut slowest = Duration::ZERO;
            while !is_over.load(Ordering::Relaxed) {
                let due_us = fleet.next_us() + 1_000_000;
                let early_us = due_us - now_us()?;
                std::thread::sleep(Duration::from_micros(early_us.max(0) as u64));
                (0..silenced.load(Ordering::Relaxed)).for_each(|node| outlet.hold(node));
                fleet.second(&[], &mut outlet)?;
                // What the first seconds have to catch up does not count.
                let behind_us = now_us()? - due_us - 1_000_000;
                if fleet.requests() > shape.requests_per_second * 15 {
                    slowest = slowest.max(Duration::from_micros(behind_us.max(0) as u64));
                }
            }
            Ok(slowest)
        });
        Ok(Load { stop, silent, thread })
    }

    /// From now on so many nodes say nothing any more.
    pub fn silence(&self, nodes: u32) {
        self.silent.store(nodes, Ordering::Relaxed);
    }

    /// How far it was behind at most.
    pub fn stop(self) -> Result<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the load panicked"))?
    }
}

/// Notes when each window was seen to be closed.
pub struct Watch {
    reader: TopicReader,
    cache: SchemaCache,
    ends: BTreeMap<i64, i64>,
}

impl Watch {
    pub fn start(settings: &KafkaSettings) -> Result<Watch> {
        let reader = TopicReader::start(settings, &[Topic::EdgeWindows.name(&settings.prefix)], &Start::Earliest)?;
        Ok(Watch { reader, cache: SchemaCache::new(settings), ends: BTreeMap::new() })
    }

    /// Goes on until something can be told of ends of windows and when they were seen. A window counts once all partitions of `partials`
    /// gave their part of it.
    pub fn until<T>(&mut self, mut told: impl FnMut(&BTreeMap<i64, i64>) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            let Next::Record(message) = self.reader.next(Duration::from_millis(100))? else { continue };
            let Some(value) = message.value() else { continue };
            let (schema, datum) = self.cache.open(value)?;
            let marker: WindowClosed = schema.decode(datum)?;
            let end_us = marker.window_start_us + marker.window_ms * 1000;
            self.ends.insert(end_us, now_us()?);
            if let Some(value) = told(&self.ends) {
                return Ok(value);
            }
        }
        bail!("not within {TIMEOUT:?}; windows ended and were seen at {:?}", self.ends)
    }
}

pub fn now_us() -> Result<i64> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("read the clock")?.as_micros() as i64)
}
