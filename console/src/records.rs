//! From a message in a topic to a record of ours.
//!
//! In: messages. Out: [`Item`]s, with owned strings. What is no record of its topic is an error that names where it stands.

use headwater_kafka::{KafkaSettings, Message, RecordError, SchemaCache};
use headwater_schemas::records::{Agent, Alert, Edge, Latency, Record, WindowClosed};
use headwater_schemas::topics::Topic;
use serde::Deserialize;

/// A record of the topics that the map is made of.
pub enum Item {
    Edge(Box<Edge>),
    Latency(Box<Latency>),
    Alert(Box<Alert>),
    Agent(Box<Agent>),
    /// A record without meaning here, such as the deletion of a key.
    Nothing,
}

pub struct ItemReader {
    cache: SchemaCache,
}

impl ItemReader {
    pub fn new(settings: &KafkaSettings) -> Self {
        ItemReader { cache: SchemaCache::new(settings) }
    }

    /// Reads a message of edges, latencies, alerts or agents.
    pub fn read(&mut self, topic: Topic, message: &Message<'_>) -> Result<Item, RecordError> {
        let Some(value) = message.value() else { return Ok(Item::Nothing) };
        Ok(match topic {
            Topic::Edges => Item::Edge(Box::new(self.decode(value)?)),
            Topic::Latencies => Item::Latency(Box::new(self.decode(value)?)),
            Topic::Alerts => Item::Alert(Box::new(self.decode(value)?)),
            Topic::Agents => Item::Agent(Box::new(self.decode(value)?)),
            _ => Item::Nothing,
        })
    }

    fn decode<'v, R: Record + Deserialize<'v>>(&mut self, value: &'v [u8]) -> Result<R, RecordError> {
        let (schema, datum) = self.cache.open(value)?;
        schema.decode(datum).map_err(|error| RecordError::Bad(error.to_string()))
    }
}

/// `headwater.edges partition 0 offset 17 (Edge)`, for messages to people.
pub fn place(topic: Topic, message: &Message<'_>) -> String {
    let record = match topic {
        Topic::Edges => Edge::NAME,
        Topic::Latencies => Latency::NAME,
        Topic::EdgeWindows | Topic::LatencyWindows => WindowClosed::NAME,
        Topic::Alerts => Alert::NAME,
        Topic::Agents => Agent::NAME,
        _ => topic.suffix(),
    };
    format!("{} partition {} offset {} ({record})", message.topic(), message.partition(), message.offset())
}
