//! The catalog: products in PostgreSQL, single ones cached in Redis for a second, and how many were sold, from Kafka.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use headwater_demo_shop::cache::Cache;
use headwater_demo_shop::events::Sales;
use headwater_demo_shop::service::{self, Failure, ServiceArgs};
use headwater_demo_shop::{database, plan};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_postgres::{Client, Row};

/// The demo shop's catalog.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    #[arg(long)]
    postgres: SocketAddr,
    #[arg(long)]
    redis: SocketAddr,
}

struct Catalog {
    database: Arc<Client>,
    cache: Cache,
    sales: Sales,
}

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS products (
    id bigint PRIMARY KEY, name text NOT NULL, price_cents bigint NOT NULL)";

fn main() -> ExitCode {
    let args = Args::parse();
    service::run(async move {
        let database = database::connect(args.postgres, "shop-catalog", SCHEMA).await?;
        let fill = "INSERT INTO products SELECT n, 'product ' || n, 100 + n * 37 % 5000
                    FROM generate_series(1, $1::bigint) n ON CONFLICT (id) DO NOTHING";
        database.execute(fill, &[&plan::PRODUCTS]).await.context("filling the catalog")?;
        let catalog = Catalog { database, cache: Cache::connect(args.redis).await?, sales: Sales::follow()? };
        let routes = Router::new()
            .route("/catalog", get(page))
            .route("/products/{id}", get(product))
            .with_state(Arc::new(catalog));
        service::serve(&args.service, routes).await
    })
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    page: i64,
}

async fn page(State(catalog): State<Arc<Catalog>>, Query(Page { page }): Query<Page>) -> Result<Json<Value>, Failure> {
    let select = "SELECT id, name, price_cents FROM products WHERE id > $1 ORDER BY id LIMIT $2";
    let after = page.clamp(0, plan::CATALOG_PAGES) * plan::PRODUCTS_PER_PAGE;
    let rows = catalog.database.query(select, &[&after, &plan::PRODUCTS_PER_PAGE]).await?;
    let products: Vec<Value> = rows.iter().map(|row| product_json(row, &catalog.sales)).collect();
    Ok(Json(json!({ "page": page, "products": products })))
}

async fn product(State(catalog): State<Arc<Catalog>>, Path(id): Path<i64>) -> Result<impl IntoResponse, Failure> {
    let key = format!("product:{id}");
    let product = match catalog.cache.get(&key).await? {
        Some(product) => product,
        None => {
            let select = "SELECT id, name, price_cents FROM products WHERE id = $1";
            let row = catalog.database.query_opt(select, &[&id]).await?;
            let row = row.ok_or_else(|| Failure::not_found(format!("no product {id}")))?;
            let product = product_json(&row, &catalog.sales).to_string();
            catalog.cache.put(&key, &product).await?;
            product
        }
    };
    Ok(([(CONTENT_TYPE, "application/json")], product))
}

fn product_json(row: &Row, sales: &Sales) -> Value {
    let (id, name, price_cents): (i64, &str, i64) = (row.get(0), row.get(1), row.get(2));
    json!({ "id": id, "name": name, "price_cents": price_cents, "sold": sales.of(id) })
}
