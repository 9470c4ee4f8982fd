//! Kafka, as the services use it: orders tells of each order that was placed, the catalog counts what sells. Orders makes the topic at its start, for which the broker has to answer;
//! after that nobody waits for it, and a shop whose broker goes away goes on.
//!
//! Bounds: a thousand orders wait for the broker, each for ten seconds, and the catalog counts as many products as there are.

use std::collections::BTreeMap;
use std::env;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
use serde::{Deserialize, Serialize};

use crate::cache::QueuedShipment;
use crate::plan;

const TOPIC: &str = "shop.orders";
const GROUP: &str = "shop-catalog";
/// A topic that exists since a moment ago may not be known yet.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(500);

/// Variables of the services that use it.
const VARIABLES: [&str; 3] = ["SHOP_KAFKA", "SHOP_KAFKA_USER", "SHOP_KAFKA_PASSWORD"];

/// A broker that somebody else runs, who knows us by name and password (SASL PLAIN, no TLS).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Broker {
    pub address: String,
    pub user: String,
    pub password: String,
}

impl Broker {
    /// What a service is told by whoever started it, if it is.
    pub fn of_environment() -> Option<Broker> {
        let [address, user, password] = VARIABLES.map(|name| env::var(name).ok());
        Some(Broker { address: address?, user: user?, password: password? })
    }

    /// A password stands in no argument.
    pub fn variables(&self) -> [(&'static str, &str); 3] {
        let [address, user, password] = VARIABLES;
        [(address, &self.address), (user, &self.user), (password, &self.password)]
    }

    fn client(&self, id: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address).set("client.id", id).set("security.protocol", "sasl_plaintext");
        config.set("sasl.mechanism", "PLAIN").set("sasl.username", &self.user).set("sasl.password", &self.password);
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }
}

/// Who tells of orders, if there is a broker.
pub struct Orders(Option<ThreadedProducer<DefaultProducerContext>>);

impl Orders {
    /// Makes the topic, too.
    pub async fn open() -> Result<Orders> {
        let Some(broker) = Broker::of_environment() else { return Ok(Orders(None)) };
        let mut config = broker.client("shop-orders");
        let admin: AdminClient<DefaultClientContext> = config.create().context("making a client of Kafka")?;
        let topic = NewTopic::new(TOPIC, 1, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        // One that is there already is as good.
        admin.create_topics([&topic], &options).await.context("making the topic of orders")?;
        config.set("linger.ms", "5").set("queue.buffering.max.messages", "1000").set("message.timeout.ms", "10000");
        Ok(Orders(Some(config.create().context("making a producer")?)))
    }

    pub fn placed(&self, order: &QueuedShipment) {
        let (Some(producer), Ok(value)) = (&self.0, serde_json::to_string(order)) else { return };
        let key = order.order.to_string();
        // A queue that is full is a broker that is away.
        let _ = producer.send(BaseRecord::to(TOPIC).key(&key).payload(&value));
    }
}

/// How many pieces of each product were ordered since the catalog started.
#[derive(Clone, Default)]
pub struct Sales(Arc<Mutex<BTreeMap<i64, i64>>>);

impl Sales {
    /// Counts on a thread of its own, for as long as the process lives; stays at nothing without a broker.
    pub fn follow() -> Result<Sales> {
        let sales = Sales::default();
        let Some(broker) = Broker::of_environment() else { return Ok(sales) };
        let mut config = broker.client(GROUP);
        config.set("group.id", GROUP).set("auto.offset.reset", "latest").set("allow.auto.create.topics", "false");
        // The topic may come after us.
        config.set("topic.metadata.refresh.interval.ms", "5000");
        let consumer: BaseConsumer = config.create().context("making a consumer")?;
        consumer.subscribe(&[TOPIC]).context("subscribing to the orders")?;
        let counts = sales.clone();
        thread::spawn(move || {
            loop {
                let Some(Ok(message)) = consumer.poll(POLL) else { continue };
                let order = message.payload().and_then(|value| serde_json::from_slice::<QueuedShipment>(value).ok());
                order.iter().for_each(|order| counts.add(order));
            }
        });
        Ok(sales)
    }

    fn add(&self, order: &QueuedShipment) {
        if (1..=plan::PRODUCTS).contains(&order.product) {
            let mut sold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *sold.entry(order.product).or_default() += order.quantity;
        }
    }

    pub fn of(&self, product: i64) -> i64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&product).copied().unwrap_or(0)
    }
}
