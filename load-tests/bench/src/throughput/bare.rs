//! The least that anybody who wants to know what the records say must do: read them and decode them. No group, no sums, nothing published.

use std::time::Duration;

use anyhow::{Result, ensure};
use headwater_kafka::{KafkaSettings, SchemaCache, Start, TopicReader};
use headwater_process::cpu_time;
use headwater_schemas::records::{Flow, Request};
use headwater_schemas::topics::Topic;

const PATIENCE: Duration = Duration::from_secs(30);

/// How records are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoding {
    /// By a library, which looks up each field in the schema, as whoever reads topics does it.
    BySchema,
    /// As the processors do it.
    Straight,
}

/// Records of `requests` and `flows` for a second of this process's own time, which does nothing else meanwhile.
pub fn records_per_second_core(settings: &KafkaSettings, expected: u64, decoding: Decoding) -> Result<f64> {
    let own = std::process::id();
    let before = cpu_time(own)?;
    let names = [Topic::Flows, Topic::Requests].map(|topic| topic.name(&settings.prefix));
    let mut cache = SchemaCache::new(settings);
    let mut reader = TopicReader::start(settings, &names, &Start::Earliest)?;
    let (mut records, mut bytes, mut result) = (0, 0, Ok(()));
    reader.read_to_end(PATIENCE, |message| {
        let Some(value) = message.value() else { return };
        let mut decode = || -> Result<i64> {
            let (schema, datum) = cache.open(value)?;
            Ok(match (message.topic() == names[0], decoding) {
                (true, Decoding::BySchema) => schema.decode_by_name::<Flow<'_>>(datum)?.0.sent_bytes,
                (true, Decoding::Straight) => schema.decode::<Flow<'_>>(datum)?.sent_bytes,
                (false, Decoding::BySchema) => schema.decode_by_name::<Request<'_>>(datum)?.0.request_bytes,
                (false, Decoding::Straight) => schema.decode::<Request<'_>>(datum)?.request_bytes,
            })
        };
        match decode() {
            Ok(some) => (records, bytes) = (records + 1, bytes + some),
            Err(error) => result = Err(error),
        }
    })?;
    result?;
    ensure!(records == expected && bytes > 0, "{records} records of {expected} with {bytes} bytes were read");
    Ok(records as f64 / (cpu_time(own)? - before).as_secs_f64())
}
