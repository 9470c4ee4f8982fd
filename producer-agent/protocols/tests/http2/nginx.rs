//! A real nginx, asked for many things at once.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, path::Path};

use headwater_process::{Child, Launch, Port, Scratch};
use headwater_protocols::Direction;
use headwater_protocols::http2::Options;
use http::Request;
use tokio::sync::Semaphore;

use crate::oracle::{run, whole};
use crate::session::{Said, carry, read_all};
use crate::wire::FINISHED;

const PATIENCE: Duration = Duration::from_secs(60);
const PLACES: [(&str, u16); 4] = [("none", 404), ("failed", 503), ("empty", 204), ("large", 200)];
const REQUESTS: usize = 1_000;
const AT_ONCE: usize = 10;

fn start(folder: &Path, port: u16) -> Child {
    let path = folder.display();
    fs::create_dir(folder.join("files")).unwrap();
    fs::write(folder.join("files/large"), vec![b'x'; 60_000]).unwrap();
    let settings = format!(
        "daemon off; pid {path}/pid; error_log {path}/error.log; worker_processes 1; events {{}}
         http {{ access_log off; client_body_temp_path {path}; proxy_temp_path {path}; fastcgi_temp_path {path};
             uwsgi_temp_path {path}; scgi_temp_path {path};
             server {{ listen 127.0.0.1:{port} http2; keepalive_requests 100000;
                 location /none {{ return 404; }} location /failed {{ return 503; }} location /empty {{ return 204; }}
                 location /large {{ root {path}/files; try_files /large =500; }} }} }}"
    );
    fs::write(folder.join("nginx.conf"), settings).unwrap();
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(folder).args(["-c", "nginx.conf"]).current_dir(folder);
    let mut nginx = Launch::new("nginx", nginx, folder.join("nginx.log")).ending_softly().spawn().unwrap();
    nginx.await_ready(PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok().map(drop)).unwrap();
    nginx
}

/// Asks for all places in turn, each time under another name, and gives what was said.
async fn ask(port: u16) -> Vec<Said> {
    let (client, near) = tokio::io::duplex(1 << 16);
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
    let said = Arc::new(Mutex::new(Vec::new()));
    let up = tokio::spawn(carry(near_read, far_write, Direction::Request, said.clone()));
    let down = tokio::spawn(carry(far_read, near_write, Direction::Response, said.clone()));
    let (requests, connection) = h2::client::handshake(client).await.unwrap();
    let connection = tokio::spawn(connection);
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = Vec::new();
    for number in 0..REQUESTS {
        let turn = turns.clone().acquire_owned().await.unwrap();
        let requests = requests.clone();
        tasks.push(tokio::spawn(async move {
            let (place, status) = PLACES[number % PLACES.len()];
            let request = Request::get(format!("http://127.0.0.1/{place}/x{number}?token=secret")).body(()).unwrap();
            let (response, _) = requests.ready().await.unwrap().send_request(request, true).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), status);
            read_all(&mut response.into_body()).await;
            drop(turn);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    drop(requests);
    connection.await.unwrap().unwrap();
    up.await.unwrap();
    down.await.unwrap();
    Arc::try_unwrap(said).unwrap().into_inner().unwrap()
}

/// Cases: http2-multiplexed.
#[test]
fn what_a_real_nginx_answers_is_found_once() {
    let folder = Scratch::create("headwater-http2-", 0o755).unwrap();
    let port = Port::free().unwrap();
    let _nginx = start(folder.path(), port.number());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let said = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(port.number())).await }).unwrap();
    let output = run(Options::default(), &whole(&said), 0, FINISHED);
    assert_eq!(output.losses, BTreeMap::new());
    let mut seen: Vec<String> = output
        .seen
        .iter()
        .map(|seen| format!("{} {} {} {}", seen.protocol, seen.method, seen.path, seen.code))
        .collect();
    let place = |number: usize| PLACES[number % PLACES.len()];
    let mut expected: Vec<String> =
        (0..REQUESTS).map(|number| format!("http2 GET /{}/x{number} {}", place(number).0, place(number).1)).collect();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}
