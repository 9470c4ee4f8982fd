//! What one window of one series takes between join and merge.

use anyhow::Result;
use headwater_kafka::{KafkaSettings, Start, TopicReader};
use headwater_schemas::topics::Topic;

/// Bytes of all keys and values of `partials`, before they are compressed; those of what connections did and of markers included.
pub fn partial_bytes(settings: &KafkaSettings) -> Result<f64> {
    let mut reader = TopicReader::start(settings, &[Topic::Partials.name(&settings.prefix)], &Start::Earliest)?;
    let mut bytes = 0;
    reader.read_to_end(std::time::Duration::from_secs(30), |message| {
        let value = message.value().or_else(|| message.header(headwater_schemas::topics::WINDOW_CLOSED_HEADER));
        bytes += message.key().map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
    })?;
    Ok(bytes as f64)
}
