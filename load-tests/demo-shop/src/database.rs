//! PostgreSQL, as the services use it: one connection each, over TCP. A service that loses it ends.
//!
//! Bound: each table keeps its latest rows, so a shop can run for as long as it likes.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio_postgres::{Client, Config, NoTls};

use crate::service;

/// The role and the database of the shop.
pub const ROLE: &str = "shop";
pub const DATABASE: &str = "postgres";

/// How many rows each of the growing tables keeps.
const ROWS_RETAINED: i64 = 10_000;
/// How often, in rows, the older ones are deleted.
const ROWS_BETWEEN_PRUNES: i64 = 500;

/// Connects and creates what the service needs.
pub async fn connect(server: SocketAddr, program: &str, schema: &str) -> Result<Arc<Client>> {
    let mut config = Config::new();
    config.host(server.ip().to_string()).port(server.port()).user(ROLE).dbname(DATABASE).application_name(program);
    let (client, connection) =
        config.connect(NoTls).await.with_context(|| format!("connecting to PostgreSQL at {server}"))?;
    tokio::spawn(async {
        let lost = connection.await;
        service::end_without("PostgreSQL", lost.err());
    });
    client.batch_execute(schema).await.with_context(|| format!("creating the tables of {program}"))?;
    Ok(Arc::new(client))
}

/// Deletes the oldest rows now and then, given the position that the newest row has.
pub async fn prune(client: &Client, table: &str, position: i64) -> Result<()> {
    if position % ROWS_BETWEEN_PRUNES == 0 {
        let delete = format!("DELETE FROM {table} WHERE position <= $1");
        let deleted = client.execute(&delete, &[&(position - ROWS_RETAINED)]).await;
        deleted.with_context(|| format!("deleting old rows of {table}"))?;
    }
    Ok(())
}
