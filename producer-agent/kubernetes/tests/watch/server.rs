//! A server that answers what a test tells it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the server answers to the next request.
#[derive(Clone)]
pub enum Answer {
    Json(u16, serde_json::Value),
    /// A watch: events, after which the stream stays open until the client goes, or ends at once.
    Stream(Vec<serde_json::Value>, bool),
}

pub struct Server {
    pub port: u16,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    pub requests: Receiver<(String, String)>,
}

impl Server {
    pub fn start(port: u16) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers: Arc<Mutex<VecDeque<Answer>>> = Arc::default();
        let (sender, requests) = channel();
        let queue = Arc::clone(&answers);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (queue, sender) = (Arc::clone(&queue), sender.clone());
                std::thread::spawn(move || serve(stream, &queue, &sender));
            }
        });
        Server { port, answers, requests }
    }

    pub fn answer(&self, answer: Answer) {
        self.answers.lock().unwrap().push_back(answer);
    }

    /// The next request: its line and its credentials.
    pub fn request(&self) -> (String, String) {
        self.requests.recv_timeout(PATIENCE).unwrap()
    }
}

fn serve(stream: TcpStream, queue: &Mutex<VecDeque<Answer>>, requests: &std::sync::mpsc::Sender<(String, String)>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let (mut line, mut authorization) = (String::new(), String::new());
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 {
                return;
            }
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("authorization: ") {
                authorization = value.trim().to_owned();
            }
        }
        let _ = requests.send((line, authorization));
        let deadline = Instant::now() + PATIENCE;
        let answer = loop {
            if let Some(answer) = queue.lock().unwrap().pop_front() {
                break answer;
            }
            if Instant::now() > deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        match answer {
            Answer::Json(code, body) => {
                let body = body.to_string();
                let head = format!(
                    "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                stream.write_all((head + &body).as_bytes()).unwrap();
            }
            Answer::Stream(events, stays) => {
                stream
                    .write_all(
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
                    )
                    .unwrap();
                for event in events {
                    let line = format!("{event}\n");
                    stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).unwrap();
                }
                if !stays {
                    stream.write_all(b"0\r\n\r\n").unwrap();
                    continue;
                }
                // The client ends it.
                let mut rest = String::new();
                let _ = reader.read_line(&mut rest);
                return;
            }
        }
    }
}
