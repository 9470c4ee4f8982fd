//! The least that anybody who wants to know what the records say must do: read them and decode them. No group, no sums, nothing published.

use std::time::Duration;

use anyhow::{Result, ensure};
use headwater_kafka::{KafkaSettings, SchemaCache, Start, TopicReader};
use headwater_process::cpu_time;
use headwater_schemas::records::{Flow, Request};
use headwater_schemas::topics::Topic;

const PATIENCE: Duration = Duration::from_secs(30);

/// Records of `requests` and `flows` for a second of this process's own time, which does nothing else meanwhile.
pub fn records_per_second_core(settings: &KafkaSettings, expected: u64) -> Result<f64> {
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
            Ok(if message.topic() == names[0] {
                schema.decode::<Flow<'_>>(datum)?.sent_bytes
            } else {
                schema.decode::<Request<'_>>(datum)?.request_bytes
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
