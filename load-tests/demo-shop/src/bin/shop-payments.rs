//! Payments: takes a payment once for each order and keeps it in PostgreSQL.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::Parser;
use headwater_demo_shop::database;
use headwater_demo_shop::service::{self, Failure, ServiceArgs};
use serde::Deserialize;
use tokio_postgres::Client;

/// The demo shop's payments.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    #[arg(long)]
    postgres: SocketAddr,
}

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS payments (
    order_id bigint PRIMARY KEY, amount_cents bigint NOT NULL, position bigserial UNIQUE)";

fn main() -> ExitCode {
    let args = Args::parse();
    service::run(async move {
        let database = database::connect(args.postgres, "shop-payments", SCHEMA).await?;
        let routes = Router::new().route("/payments", post(pay)).with_state(database);
        service::serve(&args.service, routes).await
    })
}

#[derive(Deserialize)]
struct Payment {
    order: i64,
    amount_cents: i64,
}

async fn pay(State(database): State<Arc<Client>>, Json(payment): Json<Payment>) -> Result<StatusCode, Failure> {
    let insert = "INSERT INTO payments (order_id, amount_cents) VALUES ($1, $2)
                  ON CONFLICT (order_id) DO NOTHING RETURNING position";
    match database.query_opt(insert, &[&payment.order, &payment.amount_cents]).await? {
        Some(row) => {
            database::prune(&database, "payments", row.get(0)).await?;
            Ok(StatusCode::CREATED)
        }
        None => Ok(StatusCode::OK),
    }
}
