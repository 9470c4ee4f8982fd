//! Redis, as the services use it: the catalog's cache and the queue from orders to shipping. A service that loses it ends.
//!
//! Bounds: a cached value lives a second, the queue keeps the latest 10,000 orders.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisResult, cmd};
use serde::{Deserialize, Serialize};

use crate::service;

/// Short, so that the database behind the cache sees some of the load as well.
const TIME_TO_LIVE_MS: u64 = 1_000;
const QUEUE: &str = "shipments";
const QUEUE_LENGTH_MAX: i64 = 10_000;
const POP_PATIENCE: Duration = Duration::from_secs(5);

/// One connection to Redis. Clones share it, so a waiting `pop` needs one of its own.
#[derive(Clone)]
pub struct Cache {
    connection: MultiplexedConnection,
}

/// What orders tells shipping.
#[derive(Serialize, Deserialize)]
pub struct QueuedShipment {
    pub order: i64,
    pub product: i64,
    pub quantity: i64,
}

impl Cache {
    pub async fn connect(server: SocketAddr) -> Result<Self> {
        Cache::at(&format!("redis://{server}")).await
    }

    /// By its Unix socket.
    pub async fn over(socket: &Path) -> Result<Self> {
        Cache::at(&format!("redis+unix://{}", socket.display())).await
    }

    async fn at(server: &str) -> Result<Self> {
        let doing = || format!("connecting to Redis at {server}");
        let client = Client::open(server).with_context(doing)?;
        // An answer to a waiting pop may take as long as the wait.
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(2 * POP_PATIENCE));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await.with_context(doing)?;
        Ok(Self { connection })
    }

    pub async fn get(&self, key: &str) -> Result<Option<String>> {
        let value = cmd("GET").arg(key).query_async(&mut self.connection.clone()).await;
        alive(value).context("reading from the cache")
    }

    pub async fn put(&self, key: &str, value: &str) -> Result<()> {
        let mut put = cmd("SET");
        put.arg(key).arg(value).arg("PX").arg(TIME_TO_LIVE_MS);
        alive(put.query_async(&mut self.connection.clone()).await).context("writing to the cache")
    }

    pub async fn push(&self, shipment: &QueuedShipment) -> Result<()> {
        let shipment = serde_json::to_string(shipment).context("writing a queued shipment")?;
        let mut push = redis::pipe();
        push.cmd("LPUSH").arg(QUEUE).arg(shipment).ignore();
        push.cmd("LTRIM").arg(QUEUE).arg(0).arg(QUEUE_LENGTH_MAX - 1).ignore();
        alive(push.query_async(&mut self.connection.clone()).await).context("pushing to the queue")
    }

    /// Waits for the next shipment; `None` if none came for some seconds.
    pub async fn pop(&self) -> Result<Option<QueuedShipment>> {
        let mut pop = cmd("BRPOP");
        pop.arg(QUEUE).arg(POP_PATIENCE.as_secs());
        let popped = alive(pop.query_async(&mut self.connection.clone()).await);
        let popped: Option<(String, String)> = popped.context("waiting on the queue")?;
        popped.map(|(_, shipment)| serde_json::from_str(&shipment).context("reading a queued shipment")).transpose()
    }
}

/// An answer, or an error of a connection that may still work.
fn alive<T>(result: RedisResult<T>) -> RedisResult<T> {
    if let Err(error) = &result
        && error.is_unrecoverable_error()
    {
        service::end_without("Redis", Some(error));
    }
    result
}
