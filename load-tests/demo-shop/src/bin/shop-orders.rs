//! Orders: asks the catalog for the price, has payments take the money by gRPC, keeps the order in PostgreSQL and tells
//! shipping through a queue in Redis; whoever wants to know reads it in Kafka.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use headwater_demo_shop::cache::{Cache, QueuedShipment};
use headwater_demo_shop::http::HttpClient;
use headwater_demo_shop::payment::{Payment, Payments};
use headwater_demo_shop::service::{self, Failure, ServiceArgs};
use headwater_demo_shop::{database, events};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_postgres::Client;

/// The demo shop's orders.
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
    #[arg(long)]
    payments: SocketAddr,
}

struct Orders {
    database: Arc<Client>,
    queue: Cache,
    catalog: HttpClient,
    payments: Payments,
    events: events::Orders,
}

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS orders (
    id bigint PRIMARY KEY, product bigint NOT NULL, quantity bigint NOT NULL, amount_cents bigint NOT NULL,
    position bigserial UNIQUE)";
const CONNECTIONS_MAX: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let args = Args::parse();
    service::run(async move {
        let orders = Orders {
            database: database::connect(args.postgres, "shop-orders", SCHEMA).await?,
            queue: Cache::over(&args.queue).await?,
            catalog: HttpClient::new(args.catalog, CONNECTIONS_MAX, PATIENCE),
            payments: Payments::new(args.payments, PATIENCE)?,
            events: events::Orders::open().await?,
        };
        let routes = Router::new().route("/orders/{id}", get(status).put(place)).with_state(Arc::new(orders));
        service::serve(&args.service, routes).await
    })
}

#[derive(Deserialize)]
struct Order {
    product: i64,
    quantity: i64,
}

#[derive(Deserialize)]
struct Product {
    price_cents: i64,
}

/// The client names the order, so placing it again changes nothing.
async fn place(
    State(orders): State<Arc<Orders>>,
    Path(id): Path<i64>,
    Json(order): Json<Order>,
) -> Result<StatusCode, Failure> {
    let answer = orders.catalog.get(&format!("/products/{}", order.product)).await;
    let answer = answer.map_err(|error| Failure::upstream(format!("{error:#}")))?;
    match answer.status {
        200 => {}
        404 => return Err(Failure::not_found(format!("no product {}", order.product))),
        status => return Err(Failure::upstream(format!("the catalog answered {status}"))),
    }
    let amount_cents = answer.json::<Product>()?.price_cents.saturating_mul(order.quantity);
    let paid = orders.payments.pay(Payment { order: id, amount_cents }).await;
    paid.map_err(|error| Failure::upstream(format!("{error:#}")))?;
    let insert = "INSERT INTO orders (id, product, quantity, amount_cents) VALUES ($1, $2, $3, $4)
                  ON CONFLICT (id) DO NOTHING RETURNING position";
    let row = orders.database.query_opt(insert, &[&id, &order.product, &order.quantity, &amount_cents]).await?;
    let Some(row) = row else { return Ok(StatusCode::OK) };
    let placed = QueuedShipment { order: id, product: order.product, quantity: order.quantity };
    orders.queue.push(&placed).await?;
    orders.events.placed(&placed);
    database::prune(&orders.database, "orders", row.get(0)).await?;
    Ok(StatusCode::CREATED)
}

async fn status(State(orders): State<Arc<Orders>>, Path(id): Path<i64>) -> Result<Json<Value>, Failure> {
    let select = "SELECT product, quantity, amount_cents FROM orders WHERE id = $1";
    let row = orders.database.query_opt(select, &[&id]).await?;
    let row = row.ok_or_else(|| Failure::not_found(format!("no order {id}")))?;
    let (product, quantity, amount_cents): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    Ok(Json(json!({ "order": id, "product": product, "quantity": quantity, "amount_cents": amount_cents })))
}
