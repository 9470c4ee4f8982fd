//! Payments: charges the bank once for each order and keeps the payment in PostgreSQL.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use clap::Parser;
use headwater_demo_shop::database;
use headwater_demo_shop::http::HttpClient;
use headwater_demo_shop::payment::{PAY, Payment, Receipt};
use headwater_demo_shop::service::{self, ServiceArgs};
use headwater_demo_shop::tls;
use serde_json::json;
use tokio_postgres::Client;
use tonic::server::{Grpc, UnaryService};
use tonic_prost::ProstCodec;

/// The demo shop's payments.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    #[arg(long)]
    postgres: SocketAddr,
    #[arg(long)]
    bank: SocketAddr,
    /// The certificate that the bank shows.
    #[arg(long)]
    bank_certificate: PathBuf,
}

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS payments (
    order_id bigint PRIMARY KEY, amount_cents bigint NOT NULL, position bigserial UNIQUE)";
const CONNECTIONS_MAX: usize = 4;
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let args = Args::parse();
    service::run(async move {
        let payments = Arc::new(Payments {
            database: database::connect(args.postgres, "shop-payments", SCHEMA).await?,
            bank: HttpClient::new(args.bank, CONNECTIONS_MAX, PATIENCE).over(tls::trusting(&args.bank_certificate)?),
        });
        service::serve(&args.service, Router::new().route(PAY, post(pay)).with_state(payments)).await
    })
}

struct Payments {
    database: Arc<Client>,
    bank: HttpClient,
}

async fn pay(State(payments): State<Arc<Payments>>, request: Request) -> Response {
    let codec = ProstCodec::<Receipt, Payment>::default();
    Grpc::new(codec).unary(Pay(payments), request).await.map(Body::new)
}

/// One call of `shop.Payments/Pay`.
struct Pay(Arc<Payments>);

impl UnaryService<Payment> for Pay {
    type Response = Receipt;
    type Future = tonic::codegen::BoxFuture<tonic::Response<Receipt>, tonic::Status>;

    fn call(&mut self, request: tonic::Request<Payment>) -> Self::Future {
        let payments = Arc::clone(&self.0);
        Box::pin(async move {
            let receipt = payments.pay(request.into_inner()).await;
            receipt.map(tonic::Response::new).map_err(|error| tonic::Status::internal(format!("{error:#}")))
        })
    }
}

impl Payments {
    async fn pay(&self, Payment { order, amount_cents }: Payment) -> Result<Receipt> {
        let charge = json!({ "order": order, "amount_cents": amount_cents });
        let answer = self.bank.post("/charges", &charge).await?;
        ensure!(answer.status == 201, "the bank answered {}", answer.status);
        let insert = "INSERT INTO payments (order_id, amount_cents) VALUES ($1, $2)
                      ON CONFLICT (order_id) DO NOTHING RETURNING position";
        let row = self.database.query_opt(insert, &[&order, &amount_cents]).await?;
        if let Some(row) = &row {
            database::prune(&self.database, "payments", row.get(0)).await?;
        }
        Ok(Receipt { is_new: row.is_some() })
    }
}
