//! The bank: charges cards, and speaks to nobody but under TLS. It stands for somebody else's interface.

use std::path::PathBuf;
use std::process::ExitCode;

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::Parser;
use headwater_demo_shop::service::{self, ServiceArgs};
use headwater_demo_shop::tls;
use serde::Deserialize;

/// The demo shop's bank.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    /// The certificate that it shows, with its key beside it.
    #[arg(long)]
    certificate: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    service::run(async move {
        let acceptor = tls::showing(&args.certificate)?;
        service::serve_over(&args.service, Router::new().route("/charges", post(charge)), acceptor).await
    })
}

#[derive(Deserialize)]
struct Charge {
    order: i64,
    amount_cents: i64,
}

/// The same order costs the same, however often it is asked for.
async fn charge(Json(charge): Json<Charge>) -> StatusCode {
    if charge.order >= 0 && charge.amount_cents >= 0 { StatusCode::CREATED } else { StatusCode::BAD_REQUEST }
}
