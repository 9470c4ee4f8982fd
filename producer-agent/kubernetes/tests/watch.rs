//! The watch against a server that answers what a test tells it, over real HTTP: lists, bookmarks, an expired resource version, refused
//! credentials, and a server that is away. What a real API server does is the cluster tests' matter.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headwater_kubernetes::{Options, PodNews, Watch};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the server answers to the next request.
enum Answer {
    Json(u16, serde_json::Value),
    /// A watch: events, after which the stream stays open until the client goes, or ends at once.
    Stream(Vec<serde_json::Value>, bool),
}

struct Server {
    port: u16,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    requests: Receiver<(String, String)>,
}

impl Server {
    fn start(port: u16) -> Server {
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

    fn answer(&self, answer: Answer) {
        self.answers.lock().unwrap().push_back(answer);
    }

    /// The next request: its line and its credentials.
    fn request(&self) -> (String, String) {
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

fn pod(uid: &str, version: u64) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"uid": uid, "name": uid, "namespace": "shop", "resourceVersion": version.to_string()},
        "spec": {"containers": [{"name": "c"}]}
    })
}

fn list(pods: &[serde_json::Value], version: u64) -> Answer {
    Answer::Json(
        200,
        json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}, "items": pods}),
    )
}

fn event(kind: &str, object: &serde_json::Value) -> serde_json::Value {
    json!({"type": kind, "object": object})
}

fn status(code: u16, reason: &str) -> serde_json::Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason, "reason": reason, "code": code})
}

fn words(news: &PodNews) -> String {
    match news {
        PodNews::ListBegins => "list".into(),
        PodNews::ListEnds => "listed".into(),
        PodNews::Seen(pod) => format!("seen {}", pod.name),
        PodNews::Deleted(uid) => format!("deleted {uid}"),
    }
}

fn expect(news: &Receiver<PodNews>, wanted: &[&str]) {
    let got: Vec<String> = wanted.iter().map(|_| words(&news.recv_timeout(PATIENCE).unwrap())).collect();
    assert_eq!(got, wanted);
}

/// One test, since the credentials come from the environment of the process.
#[test]
fn the_watch_survives_what_an_api_server_does() {
    let folder = tempfile::tempdir().unwrap();
    let (token, kubeconfig) = (folder.path().join("token"), folder.path().join("config"));
    std::fs::write(&token, "first").unwrap();
    let server = Server::start(0);
    let write_config = |port: u16| {
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
            "users": [{"name": "u", "user": {"tokenFile": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]
        });
        std::fs::write(&kubeconfig, text.to_string()).unwrap();
    };
    write_config(server.port);
    // SAFETY: no other thread of this test program reads or writes the environment now.
    unsafe { std::env::set_var("KUBECONFIG", &kubeconfig) };

    server.answer(list(&[pod("a", 1), pod("b", 2)], 10));
    server.answer(Answer::Stream(
        vec![
            event("ADDED", &pod("c", 11)),
            event("BOOKMARK", &json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "50"}})),
            event("DELETED", &pod("a", 12)),
        ],
        false,
    ));
    let (sender, news) = channel();
    let options = Options { node: "node-a".into(), labels: vec![] };
    let watch = Watch::start(options, Arc::default(), move |news| sender.send(news).is_ok()).unwrap();
    expect(&news, &["list", "seen a", "seen b", "listed", "seen c", "deleted a"]);
    let (line, authorization) = server.request();
    assert!(line.contains("fieldSelector=spec.nodeName%3Dnode-a"), "{line}");
    assert!(line.contains("resourceVersion=0"), "not from the server's cache: {line}");
    assert_eq!(authorization, "bearer first");
    let (line, _) = server.request();
    assert!(line.contains("watch=true") && line.contains("allowWatchBookmarks=true"), "{line}");
    assert!(line.contains("resourceVersion=10"), "{line}");

    // The stream ended: the next one begins at the newest version that is known, and finds it compacted.
    server.answer(Answer::Stream(vec![event("ERROR", &status(410, "Expired"))], false));
    let (line, _) = server.request();
    assert!(
        line.contains("watch=true") && line.contains("resourceVersion=12") || line.contains("resourceVersion=50"),
        "{line}"
    );
    server.answer(list(&[pod("c", 11)], 60));
    expect(&news, &["list", "seen c", "listed"]);
    let (line, _) = server.request();
    assert!(!line.contains("watch=true"), "no list after 410: {line}");

    // The token is not accepted any more; its file holds a new one.
    let (line, _) = server.request();
    assert!(line.contains("watch=true"), "{line}");
    std::fs::write(&token, "second").unwrap();
    server.answer(Answer::Json(401, status(401, "Unauthorized")));
    let mut authorization = String::new();
    while authorization != "bearer second" {
        let (line, with) = server.request();
        authorization = with;
        if authorization == "bearer second" {
            assert!(!line.contains("watch=true"), "{line}");
            server.answer(list(&[pod("d", 61)], 70));
        } else {
            server.answer(Answer::Json(401, status(401, "Unauthorized")));
        }
    }
    expect(&news, &["list", "seen d", "listed"]);

    // An overloaded server, then one that works again.
    server.request();
    server.answer(Answer::Json(500, status(500, "InternalError")));
    loop {
        let (line, _) = server.request();
        if line.contains("watch=true") {
            server.answer(Answer::Stream(vec![event("ADDED", &pod("e", 71))], true));
            break;
        }
        server.answer(list(&[], 70));
    }
    loop {
        if words(&news.recv_timeout(PATIENCE).unwrap()) == "seen e" {
            break;
        }
    }
    assert!(watch.counts().errors.load(std::sync::atomic::Ordering::Relaxed) >= 2);
    drop(watch);
}
