//! Shipping: takes orders from a queue in Redis, looks their product up in the catalog and keeps a shipment in
//! PostgreSQL; answers where a shipment is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use headwater_demo_shop::cache::{Cache, QueuedShipment};
use headwater_demo_shop::database;
use headwater_demo_shop::http::HttpClient;
use headwater_demo_shop::service::{self, Failure, ServiceArgs};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_postgres::Client;

/// The demo shop's shipping.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    #[arg(long)]
    postgres: SocketAddr,
    /// The Unix socket of Redis.
    #[arg(long)]
    queue: PathBuf,
    #[arg(long)]
    catalog: SocketAddr,
}

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS shipments (
    order_id bigint PRIMARY KEY, content text NOT NULL, position bigserial UNIQUE)";
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let args = Args::parse();
    service::run(async move {
        let database = database::connect(args.postgres, "shop-shipping", SCHEMA).await?;
        let queue = Cache::over(&args.queue).await?;
        let catalog = HttpClient::new(args.catalog, 1, PATIENCE);
        let routes = Router::new().route("/shipments/{order}", get(track)).with_state(database.clone());
        tokio::select! {
            served = service::serve(&args.service, routes) => served,
            failed = ship_all(&queue, &catalog, &database) => failed,
        }
    })
}

/// Works the queue off, one order at a time. Only a queue or a database that is gone ends it.
async fn ship_all(queue: &Cache, catalog: &HttpClient, database: &Client) -> Result<()> {
    loop {
        if let Some(shipment) = queue.pop().await? {
            ship(&shipment, catalog, database).await.with_context(|| format!("shipping order {}", shipment.order))?;
        }
    }
}

#[derive(Deserialize)]
struct Product {
    name: String,
}

async fn ship(shipment: &QueuedShipment, catalog: &HttpClient, database: &Client) -> Result<()> {
    // A catalog that fails does not hold the parcel back: it goes out without the product's name.
    let name = match catalog.get(&format!("/products/{}", shipment.product)).await {
        Ok(answer) if answer.status == 200 => answer.json::<Product>()?.name,
        _ => format!("product {}", shipment.product),
    };
    let content = format!("{} times {name}", shipment.quantity);
    let insert = "INSERT INTO shipments (order_id, content) VALUES ($1, $2)
                  ON CONFLICT (order_id) DO UPDATE SET content = excluded.content RETURNING position";
    let row = database.query_one(insert, &[&shipment.order, &content]).await?;
    database::prune(database, "shipments", row.get(0)).await
}

async fn track(State(database): State<Arc<Client>>, Path(order): Path<i64>) -> Result<Json<Value>, Failure> {
    let row = database.query_opt("SELECT content FROM shipments WHERE order_id = $1", &[&order]).await?;
    let row = row.ok_or_else(|| Failure::not_found(format!("no shipment of order {order}")))?;
    Ok(Json(json!({ "order": order, "state": "shipped", "content": row.get::<_, &str>(0) })))
}
