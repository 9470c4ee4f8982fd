//! What `oracle-http2` asks for, each once: the path says of what size the answer is and marks it. And the server that answers.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::body::Bytes;
use axum::http::{HeaderMap, Request, Response};
use h2::{RecvStream, SendStream};
use tokio::net::{TcpListener, TcpStream};

/// Sizes of answers and how many are asked for of each: what one call moves, what one call does not, and what a thousand would not hold.
pub const ANSWERS: [(usize, usize); 4] = [(100, 400), (30_000, 400), (200_000, 40), (1_000_000, 40)];

/// Streams at the same time.
pub const AT_ONCE: usize = 10;

/// A method of gRPC, or something plain.
pub fn path(is_grpc: bool, bytes: usize, number: usize) -> String {
    if is_grpc { format!("/marks.v1.Marks/Get{bytes}x{number}") } else { format!("/{bytes}/x{number}") }
}

/// All paths, in the order in which they are asked for, and how long the answer is.
pub fn paths(is_grpc: bool) -> Vec<(String, usize)> {
    let of = |(bytes, count): (usize, usize)| (0..count).map(move |number| (path(is_grpc, bytes, number), bytes));
    ANSWERS.into_iter().flat_map(of).collect()
}

/// Serves all connections to an address, on one thread, until the process ends.
///
/// # Errors
/// If nobody can listen there.
pub fn serve_alone(address: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
        loop {
            let (stream, _) = listener.accept().await?;
            // A client that leaves ends its connection alone.
            tokio::spawn(serve(stream));
        }
    })
}

/// Serves one connection: an answer of the size that the path says, to what is plain and to calls of gRPC.
///
/// # Errors
/// If the connection breaks.
pub async fn serve(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = h2::server::Builder::new().initial_window_size(1 << 20).handshake::<_, Bytes>(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        tokio::spawn(answer(request, respond));
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut respond: h2::server::SendResponse<Bytes>) -> Result<()> {
    let is_grpc = request.headers().get("content-type").is_some_and(|kind| kind == "application/grpc");
    let digits = request.uri().path().split(['/', 'x']).filter_map(|part| part.trim_start_matches("Get").parse().ok());
    let bytes: usize = digits.into_iter().next().context("a path without a size")?;
    read_all(&mut request.into_body()).await?;
    let mut response = Response::builder();
    if is_grpc {
        response = response.header("content-type", "application/grpc");
    }
    let mut body: SendStream<Bytes> = respond.send_response(response.body(())?, false)?;
    if !is_grpc {
        return Ok(body.send_data(vec![b'x'; bytes].into(), true)?);
    }
    body.send_data(message(bytes), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", 0.into());
    Ok(body.send_trailers(trailers)?)
}

/// A message of gRPC with so many bytes, as it stands in a body.
pub fn message(bytes: usize) -> Bytes {
    [&[0][..], &(bytes as u32).to_be_bytes(), &vec![b'x'; bytes]].concat().into()
}

/// Reads a body to its end, and says how long it was.
///
/// # Errors
/// If the stream breaks.
pub async fn read_all(body: &mut RecvStream) -> Result<usize> {
    let mut read = 0;
    while let Some(data) = body.data().await {
        let bytes = data?.len();
        body.flow_control().release_capacity(bytes)?;
        read += bytes;
    }
    Ok(read)
}
