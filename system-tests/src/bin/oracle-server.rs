//! `oracle-server ADDRESS`: hyper's HTTP/1.1 server with answers of every kind. Prints the address that it listens on.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its report is its standard output")]

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, get};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).context("usage: oracle-server ADDRESS")?;
    let listener = TcpListener::bind(&address).await.with_context(|| format!("listen on {address}"))?;
    println!("{}", listener.local_addr()?);
    let routes = Router::new()
        .route("/ok/{id}", get(|| async { "ok\n" }))
        .route("/ok/{id}/{number}", get(|| async { "ok\n" }))
        .route("/status/{status}/{id}", get(status))
        .route("/slow/{ms}/{id}", get(slow))
        .route("/size/{bytes}/{id}", get(|Path((bytes, _)): Path<(usize, String)>| async move { vec![b's'; bytes] }))
        .route("/chunked/{bytes}/{id}", get(chunked))
        .route("/echo/{id}", any(|body: Bytes| async move { format!("{} bytes\n", body.len()) }))
        .layer(axum::extract::DefaultBodyLimit::max(1 << 20));
    axum::serve(listener, routes).await?;
    Ok(())
}

async fn status(Path((status, _)): Path<(u16, String)>) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST)
}

async fn slow(Path((ms, _)): Path<(u64, String)>) -> &'static str {
    tokio::time::sleep(Duration::from_millis(ms.min(1000))).await;
    "slow\n"
}

/// A body whose length is not known in advance: chunks, or the end of the connection in HTTP/1.0.
async fn chunked(Path((bytes, _)): Path<(usize, String)>) -> Response {
    let chunks = vec![b'c'; bytes]
        .chunks(512)
        .map(|chunk| Ok::<_, Infallible>(Bytes::copy_from_slice(chunk)))
        .collect::<Vec<_>>();
    Response::new(Body::from_stream(futures_util::stream::iter(chunks)))
}
