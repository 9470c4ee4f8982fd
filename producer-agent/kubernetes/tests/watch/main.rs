//! The watch against a server that answers what a test tells it, over real HTTP: lists, bookmarks, an expired resource version, refused
//! credentials, and a server that is away. What a real API server does is the cluster tests' matter.
#![allow(clippy::unwrap_used)]

mod server;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use headwater_kubernetes::{Counts, Options, PodNews, Watch};
use serde_json::json;

use server::{Answer, PATIENCE, Server};

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
    // SAFETY: no other thread of this test program reads or writes the environment now.
    unsafe { std::env::set_var("KUBECONFIG", &kubeconfig) };
    let start = || {
        let server = Server::start(0);
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{}", server.port)}}],
            "users": [{"name": "u", "user": {"tokenFile": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]
        });
        std::fs::write(&kubeconfig, text.to_string()).unwrap();
        server
    };
    it_goes_on_where_it_was(&start(), &token);
    it_waits_longer_and_longer(&start(), &Answer::Json(401, status(401, "Unauthorized")));
    it_waits_longer_and_longer(&start(), &Answer::Json(503, status(503, "ServiceUnavailable")));
    a_watch_that_is_cut_at_once_is_not_asked_for_without_a_pause(&start());
}

fn start(options: Options) -> (Watch, Receiver<PodNews>) {
    let (sender, news) = channel();
    (Watch::start(options, Arc::default(), move |news| sender.send(news).is_ok()).unwrap(), news)
}

fn options() -> Options {
    Options { node: "node-a".into(), labels: vec![] }
}

fn it_goes_on_where_it_was(server: &Server, token: &Path) {
    server.answer(list(&[pod("a", 1), pod("b", 2)], 10));
    server.answer(Answer::Stream(
        vec![
            event("ADDED", &pod("c", 11)),
            event("BOOKMARK", &json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "50"}})),
            event("DELETED", &pod("a", 12)),
        ],
        false,
    ));
    let (watch, news) = start(options());
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
    std::fs::write(token, "second").unwrap();
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
    assert!(watch.counts().errors.load(Ordering::Relaxed) >= 2);
}

/// The first list fails again and again: ten thousand agents that try once a second would keep a server down.
fn it_waits_longer_and_longer(server: &Server, answer: &Answer) {
    let began = Instant::now();
    let (watch, _news) = start(options());
    let counts = Arc::clone(watch.counts());
    for _ in 0..5 {
        server.answer(answer.clone());
        server.request();
        assert!(!is_connected(&counts), "it takes a failure for an answer");
    }
    // At least 0.8, 1.6, 3.2 and 6.4 s.
    assert!(began.elapsed() >= Duration::from_secs(12), "five attempts within {:?}", began.elapsed());
}

fn is_connected(counts: &Counts) -> bool {
    counts.connected.load(Ordering::Relaxed)
}

fn a_watch_that_is_cut_at_once_is_not_asked_for_without_a_pause(server: &Server) {
    let (_watch, news) = start(options());
    server.answer(list(&[], 10));
    for _ in 0..1000 {
        server.answer(Answer::Stream(vec![], false));
    }
    expect(&news, &["list", "listed"]);
    let (began, mut requests) = (Instant::now(), 0);
    while let Some(left) = Duration::from_secs(5).checked_sub(began.elapsed()) {
        requests += usize::from(server.requests.recv_timeout(left).is_ok());
    }
    assert!((2..=12).contains(&requests), "{requests} requests in 5 s");
}
