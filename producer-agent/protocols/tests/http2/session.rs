//! Sessions of a real client and a real server of HTTP/2, over a wire that keeps all that is said.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use headwater_protocols::Direction;
use headwater_testing::Random;
use http::{HeaderMap, Method, Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::Semaphore;

/// What one write of a peer said.
#[derive(Clone, Debug)]
pub struct Said {
    pub direction: Direction,
    pub bytes: Vec<u8>,
}

/// One call and what it is answered with; its number marks its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub method: &'static str,
    pub is_grpc: bool,
    pub status: u16,
    pub grpc_status: u16,
    /// Sizes of what is sent, one after the other: messages, if it is gRPC.
    pub asked: Vec<usize>,
    pub answered: Vec<usize>,
    /// What a body of GraphQL names, which is sent in pieces of the sizes; empty if it is no such call.
    pub named: String,
    /// Bytes in that body before the name.
    space_bytes: usize,
    /// Headers of so many bytes, so that a block has several frames.
    pub long_header_bytes: usize,
}

/// How both sides speak.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub calls: usize,
    pub at_once: usize,
    /// Of the window of each stream.
    pub window_bytes: u32,
    pub table_bytes: u32,
    /// Some headers are longer than a frame.
    pub has_long_headers: bool,
}

pub fn calls(plan: &Plan) -> Vec<Call> {
    let mut random = Random::new(plan.seed);
    (0..plan.calls).map(|_| Call::any(&mut random, plan)).collect()
}

impl Call {
    fn any(random: &mut Random, plan: &Plan) -> Call {
        let is_grpc = random.chance(40);
        let status = [200, 201, 204, 304, 404, 418, 500, 503][random.index(8)];
        let sizes = |random: &mut Random| -> Vec<usize> {
            let of = |random: &mut Random| match random.below(8) {
                0 => random.index(40_000),
                1 => 0,
                _ => random.index(300),
            };
            (0..random.index(4)).map(|_| of(random)).collect()
        };
        let (asked, answered) = (sizes(random), sizes(random));
        let method = if is_grpc { "POST" } else { ["GET", "POST", "DELETE", "PATCH"][random.index(4)] };
        let is_graphql = method == "POST" && !is_grpc && !asked.is_empty() && random.chance(70);
        Call {
            method,
            is_grpc,
            named: if is_graphql { format!("Get{}", random.index(100)) } else { String::new() },
            space_bytes: [0, random.index(300), random.index(3_900)][random.index(3)],
            status: if is_grpc { 200 } else { status },
            grpc_status: [0, 0, 0, 5, 13, 14, 16][random.index(7)],
            asked: if method == "GET" { Vec::new() } else { asked },
            answered: if [204, 304].contains(&status) && !is_grpc { Vec::new() } else { answered },
            long_header_bytes: if plan.has_long_headers && random.one_in(5) { 20_000 } else { 0 },
        }
    }

    /// Some paths come again and again, so that they stand in the table.
    pub fn path(&self, number: usize) -> String {
        let number = if number.is_multiple_of(3) { number } else { number % 7 };
        match (self.is_grpc, self.named.is_empty()) {
            (true, _) => format!("/marks.v1.Marks/Get{number}"),
            (false, true) => format!("/marks/x{number}"),
            (false, false) => format!("/marks/x{number}/graphql"),
        }
    }

    /// The pieces of a body that names something.
    fn pieces(&self) -> Vec<Vec<u8>> {
        let space = "x".repeat(self.space_bytes);
        let body = format!(
            r#"{{"variables":{{"space":"{space}","operationName":"Other"}},"query":"query {} {{ a }}"}}"#,
            self.named
        );
        let mut rest = body.into_bytes();
        let mut pieces = Vec::new();
        for size in &self.asked {
            let behind = rest.split_off(rest.len().min(*size));
            pieces.push(std::mem::replace(&mut rest, behind));
        }
        pieces.push(rest);
        pieces
    }
}

/// Everything that both sides say, in its order.
pub fn record(plan: Plan) -> Vec<Said> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (client, near) = tokio::io::duplex(1 << 16);
        let (server, far) = tokio::io::duplex(1 << 16);
        let said = Arc::new(Mutex::new(Vec::new()));
        let (near_read, near_write) = tokio::io::split(near);
        let (far_read, far_write) = tokio::io::split(far);
        let up = tokio::spawn(carry(near_read, far_write, Direction::Request, said.clone()));
        let down = tokio::spawn(carry(far_read, near_write, Direction::Response, said.clone()));
        let calls: Arc<[Call]> = calls(&plan).into();
        let server = tokio::spawn(serve(server, plan, calls.clone()));
        ask(client, plan, calls).await;
        for task in [up, down, server] {
            task.await.unwrap();
        }
        Arc::try_unwrap(said).unwrap().into_inner().unwrap()
    })
}

/// Passes on what one side says, and keeps it.
pub async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    direction: Direction,
    said: Arc<Mutex<Vec<Said>>>,
) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            to.shutdown().await.ok();
            return;
        }
        said.lock().unwrap().push(Said { direction, bytes: buffer[..read].to_vec() });
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn ask(io: DuplexStream, plan: Plan, calls: Arc<[Call]>) {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(plan.window_bytes).header_table_size(plan.table_bytes).max_header_list_size(1 << 20);
    let (requests, connection) = builder.handshake::<_, Bytes>(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let turns = Arc::new(Semaphore::new(plan.at_once));
    let mut tasks = Vec::new();
    for number in 0..calls.len() {
        let turn = turns.clone().acquire_owned().await.unwrap();
        let (requests, calls) = (requests.clone(), calls.clone());
        tasks.push(tokio::spawn(async move {
            ask_one(requests, &calls[number], number).await;
            drop(turn);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    drop(requests);
    connection.await.unwrap().unwrap();
}

async fn ask_one(requests: SendRequest<Bytes>, call: &Call, number: usize) {
    let mut requests = requests.ready().await.unwrap();
    let uri = format!("http://marks.example{}?number={number}", call.path(number));
    let mut request = Request::builder().method(Method::from_bytes(call.method.as_bytes()).unwrap()).uri(uri);
    if call.is_grpc {
        request = request.header("content-type", "application/grpc");
    }
    if call.long_header_bytes > 0 {
        request = request.header("x-long", "l".repeat(call.long_header_bytes));
    }
    if !call.named.is_empty() {
        request = request.header("content-type", "application/json");
    }
    let is_bare = call.asked.is_empty();
    let request = request.header("x-number", number.to_string()).body(()).unwrap();
    let (response, mut body) = requests.send_request(request, is_bare).unwrap();
    if !call.named.is_empty() {
        let pieces = call.pieces();
        let last = pieces.len() - 1;
        for (at, piece) in pieces.into_iter().enumerate() {
            body.send_data(piece.into(), at == last).unwrap();
            tokio::task::yield_now().await;
        }
    } else if !is_bare {
        send_all(&mut body, call, &call.asked, true).await;
    }
    let response = response.await.unwrap();
    assert_eq!(response.status(), call.status);
    let mut body = response.into_body();
    read_all(&mut body).await;
    body.trailers().await.unwrap();
}

async fn serve(io: DuplexStream, plan: Plan, calls: Arc<[Call]>) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(plan.window_bytes).max_header_list_size(1 << 20);
    let mut connection = builder.handshake::<_, Bytes>(io).await.unwrap();
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.unwrap();
        let calls = calls.clone();
        tokio::spawn(async move {
            let number: usize = request.uri().query().unwrap().strip_prefix("number=").unwrap().parse().unwrap();
            let call = &calls[number];
            read_all(&mut request.into_body()).await;
            // Later ones overtake earlier ones.
            for _ in 0..number * 7 % 11 {
                tokio::task::yield_now().await;
            }
            let mut response = Response::builder().status(call.status);
            if call.is_grpc {
                response = response.header("content-type", "application/grpc");
            }
            let is_bare = call.answered.is_empty() && !call.is_grpc;
            let mut body = respond.send_response(response.body(()).unwrap(), is_bare).unwrap();
            if is_bare {
                return;
            }
            send_all(&mut body, call, &call.answered, !call.is_grpc).await;
            if call.is_grpc {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", call.grpc_status.into());
                body.send_trailers(trailers).unwrap();
            }
        });
    }
}

async fn send_all(body: &mut h2::SendStream<Bytes>, call: &Call, sizes: &[usize], ends: bool) {
    for (at, size) in sizes.iter().enumerate() {
        let prefix = if call.is_grpc { [&[0][..], &(*size as u32).to_be_bytes()].concat() } else { Vec::new() };
        // Looks like frames, one after the other.
        let content = b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01".iter().copied().cycle().take(*size);
        let bytes = prefix.into_iter().chain(content).collect();
        body.send_data(bytes, ends && at + 1 == sizes.len()).unwrap();
        tokio::task::yield_now().await;
    }
}

pub async fn read_all(body: &mut RecvStream) {
    while let Some(data) = body.data().await {
        let bytes = data.unwrap().len();
        body.flow_control().release_capacity(bytes).unwrap();
    }
}
