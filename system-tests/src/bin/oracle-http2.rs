//! `oracle-http2 NGINX`
//!
//! Asks a server of its own, and the nginx at the address, for everything that `http2::paths` names, ten things at once over each connection: nginx for
//! what is plain, its own server also for calls of gRPC, whose messages are as long in both directions. Prints `done`. Bounded by what is asked.
#![allow(clippy::print_stdout, reason = "its report is its standard output")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::body::Bytes;
use axum::http::Request;
use h2::client::SendRequest;
use headwater_system_tests::http2::{AT_ONCE, message, paths, read_all, serve};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

const TIMEOUT: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    let nginx = std::env::args().nth(1).context("usage: oracle-http2 NGINX")?.parse().context("NGINX")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(TIMEOUT, work(nginx)).await })??;
    println!("done");
    Ok(())
}

async fn work(nginx: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let own = listener.local_addr()?;
    let server = tokio::spawn(async move {
        for _ in 0..2 {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(serve(stream));
        }
        anyhow::Ok(())
    });
    ask(nginx, false).await?;
    ask(own, false).await?;
    ask(own, true).await?;
    server.await?
}

/// Asks for everything over one connection.
async fn ask(address: SocketAddr, is_grpc: bool) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .handshake::<_, Bytes>(stream)
        .await?;
    let connection = tokio::spawn(connection);
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = Vec::new();
    for (path, bytes) in paths(is_grpc) {
        let turn = turns.clone().acquire_owned().await?;
        let requests = requests.clone();
        tasks.push(tokio::spawn(async move {
            let answered = ask_one(requests, address, &path, is_grpc, bytes).await;
            drop(turn);
            answered.with_context(|| path)
        }));
    }
    for task in tasks {
        task.await??;
    }
    drop(requests);
    Ok(connection.await??)
}

async fn ask_one(
    requests: SendRequest<Bytes>,
    address: SocketAddr,
    path: &str,
    is_grpc: bool,
    bytes: usize,
) -> Result<()> {
    let mut request = Request::builder().uri(format!("http://{address}{path}"));
    if is_grpc {
        request = request.method("POST").header("content-type", "application/grpc");
    }
    let mut requests = requests.ready().await?;
    let (response, mut body) = requests.send_request(request.body(())?, !is_grpc)?;
    if is_grpc {
        body.send_data(message(bytes), true)?;
    }
    let mut body = response.await?.into_body();
    let read = read_all(&mut body).await?;
    ensure!(read == if is_grpc { bytes + 5 } else { bytes }, "{read} bytes came");
    body.trailers().await?;
    Ok(())
}
