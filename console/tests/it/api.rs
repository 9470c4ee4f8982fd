//! The console against a real Kafka: what is published is what its JSON says.

use std::io::Write;
use std::net::TcpStream;

use crate::common::{
    Console, PATIENCE, WINDOW_US, Writer, eventually, firing, heartbeat, http, latency, newest_window_us, no_data,
    settings,
};
use headwater_console::server::{Server, ServerSettings};
use headwater_schemas::records::{AlertState, Edge};
use headwater_schemas::topics::Topic;
use serde_json::Value;

pub fn get(url: &str) -> (u16, Value) {
    let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build();
    let mut response = ureq::Agent::from(config).get(url).call().unwrap();
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string().unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[test]
fn what_is_published_is_what_the_answers_say() {
    let settings = settings("api");
    let writer = Writer::start(&settings);
    let console = Console::start(&settings);
    let start_us = newest_window_us();
    let missing = vec![no_data("node-2", start_us, start_us + WINDOW_US)];
    let edge = Edge { completeness: 0.5, ..http(start_us, "a", "b", 100, 7, 4_000.0) };
    writer.edge(&Edge { requests: 1, ..edge.clone() });
    writer.edge(&Edge { revision: 1, ..edge.clone() });
    writer.latency(&latency(&edge, "GET /slow", "2xx", 10, 9_000.0));
    writer.latency(&latency(&edge, "GET /slow", "5xx", 7, 9_000.0));
    writer.latency(&latency(&edge, "GET /fast", "2xx", 83, 1_000.0));
    writer.alert(&firing(start_us));
    writer.agent(&heartbeat("node-1", 0, 0));
    writer.garbage(Topic::Edges);
    writer.close_without(start_us, 0.5, missing);

    let map = eventually("a complete window on the map", || {
        let (_, map) = get(&format!("{}/api/map?minutes=1", console.url));
        map["span"].is_object().then_some(map)
    });
    assert_eq!(map["edges"].as_array().unwrap().len(), 1);
    let found = &map["edges"][0];
    assert_eq!((&found["client"]["name"], &found["server"]["id"]), (&"a".into(), &"//unit/b".into()));
    assert_eq!(found["requests"]["requests"], 100, "the second revision counts, not the first nor both");
    assert_eq!(found["requests"]["requests_per_s"], 10.0);
    assert_eq!(found["requests"]["error_share"], 0.07);
    assert_eq!(found["requests"]["p95_us"], edge.p95_us, "percentiles of one window are those of its record");
    assert_eq!((&map["completeness"], &map["missing"][0]["node"]), (&0.5.into(), &"node-2".into()));

    let operations = eventually("all operations", || {
        let (_, view) = get(&format!("{}/api/operations?minutes=1", console.url));
        (view["total"] == 2 && view["operations"][0]["requests"]["requests"] == 17).then_some(view)
    });
    let slowest = &operations["operations"][0];
    assert_eq!((&slowest["operation"], &slowest["requests"]["errors"]), (&"GET /slow".into(), &7.into()));

    let alerts = eventually("the alert", || {
        let (_, view) = get(&format!("{}/api/alerts", console.url));
        (view["firing"] == 1).then_some(view)
    });
    assert_eq!(alerts["alerts"][0]["evidence"][0]["offset"], 4711);
    writer.alert(&headwater_schemas::records::Alert { state: AlertState::Resolved, ..firing(start_us) });
    writer.flush();
    eventually("the alert is resolved", || {
        (get(&format!("{}/api/alerts", console.url)).1["firing"] == 0).then_some(())
    });

    let agents = eventually("the heartbeat", || {
        let (_, view) = get(&format!("{}/api/agents", console.url));
        (!view["agents"].as_array().unwrap().is_empty()).then_some(view)
    });
    assert_eq!((&agents["agents"][0]["node"], &agents["agents"][0]["health"]), (&"node-1".into(), &"ok".into()));
    let (_, status) = get(&format!("{}/api/status", console.url));
    assert_eq!((&status["unreadable"], &status["caught_up"]), (&1.into(), &true.into()));
    assert_eq!(status["newest_window_end_us"], start_us + WINDOW_US);
    assert_eq!(get(&format!("{}/readyz", console.url)), (200, "ok\n".into()));
}

#[test]
fn wrong_questions_get_clear_answers_and_every_answer_is_guarded() {
    let console = Console::start(&settings("questions"));
    let (status, answer) = get(&format!("{}/api/map?minutes=99", console.url));
    assert_eq!((status, &answer["error"]), (400, &"minutes is 99, only the last 15 are kept".into()));
    assert_eq!(get(&format!("{}/api/map?minutes=x", console.url)).0, 400);
    assert_eq!(get(&format!("{}/api/map?hours=1", console.url)).0, 400);
    assert_eq!(
        get(&format!("{}/api/history", console.url)).1["error"],
        "give either edge=ID or node=ID, with an id from /api/map"
    );
    assert_eq!(get(&format!("{}/nothing", console.url)).0, 404);
    assert_eq!(get(&format!("{}/livez", console.url)), (200, "ok\n".into()));

    let page = ureq::get(&console.url).call().unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), "{policy}");
    assert_eq!(asked_as(&console.url, "example.org"), 421, "a name that is not this machine's");
}

#[test]
fn a_console_for_others_answers_to_addresses_and_its_own_names_alone() {
    let listen = "0.0.0.0:0".parse().unwrap();
    let hosts = vec!["map.example.org".to_owned()];
    let console = Console::serve(&settings("hosts"), ServerSettings { listen, hosts, ..ServerSettings::default() });
    // A port-forward makes it reachable as localhost: there a foreign page's name must not work either.
    assert_eq!(asked_as(&console.url, "evil.example"), 421);
    assert_eq!(asked_as(&console.url, "evil.example:8470"), 421);
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for host in ["localhost:8470", "10.1.2.3:8470", "map.example.org", &format!("{}:8470", own.trim())] {
        assert_eq!(asked_as(&console.url, host), 200, "{host}");
    }
}

fn asked_as(url: &str, host: &str) -> u16 {
    let client = ureq::Agent::from(ureq::Agent::config_builder().http_status_as_error(false).build());
    client.get(format!("{url}/api/map")).header("host", host).call().unwrap().status().as_u16()
}

#[test]
fn an_answer_that_did_not_change_is_not_sent_again_and_a_long_one_is_compressed() {
    let settings = settings("tags");
    let writer = Writer::start(&settings);
    let console = Console::start(&settings);
    let start_us = newest_window_us();
    for i in 0..20 {
        writer.edge(&http(start_us, "a", &format!("b{i}"), 100, 0, 1_000.0));
    }
    writer.close(start_us);
    let url = format!("{}/api/map", console.url);
    eventually("all edges", || (get(&url).1["edges"].as_array()?.len() == 20).then_some(()));
    let client = ureq::Agent::from(ureq::Agent::config_builder().http_status_as_error(false).build());
    let ask = |tag: &str, coding: &str| {
        client.get(&url).header("if-none-match", tag).header("accept-encoding", coding).call().unwrap()
    };
    let mut plain = ask("\"none\"", "identity");
    let tag = plain.headers()["etag"].to_str().unwrap().to_owned();
    let text = plain.body_mut().read_to_string().unwrap();
    let mut again = ask(&tag, "identity");
    assert_eq!((again.status().as_u16(), again.body_mut().read_to_vec().unwrap().len()), (304, 0));
    let mut small = ask("\"none\"", "gzip");
    assert_eq!(small.headers()["content-encoding"], "gzip");
    let bytes = small.body_mut().read_to_vec().unwrap();
    assert!(bytes.len() * 3 < text.len(), "{} of {} bytes", bytes.len(), text.len());

    writer.edge(&http(start_us, "a", "b20", 100, 0, 1_000.0));
    writer.flush();
    eventually("another answer", || (ask(&tag, "identity").status().as_u16() == 200).then_some(()));
}

#[test]
fn whoever_holds_connections_keeps_nobody_out() {
    let console = Console::start(&settings("idle"));
    let address = console.url.trim_start_matches("http://").to_owned();
    let idle: Vec<TcpStream> = (0..500)
        .map(|number| {
            let mut stream = TcpStream::connect(&address).unwrap();
            // Some ask for nothing, some slowly.
            if number % 3 == 0 {
                stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
            }
            stream
        })
        .collect();
    let page = ureq::get(&console.url).call().unwrap().body_mut().read_to_string().unwrap();
    assert!(page.contains("<title>Headwater</title>"), "{page}");
    for path in ["/main.js", "/style.css", "/api/map"] {
        assert_eq!(get(&format!("{}{path}", console.url)).0, 200, "{path}");
    }
    let counts = eventually("all of them are counted", || {
        let counts = get(&format!("{}/api/status", console.url)).1["connections"].clone();
        (counts["displaced"].as_u64()? >= 500 - 256).then_some(counts)
    });
    assert!(counts["open"].as_u64().unwrap() <= 256 && counts["refused"] == 0, "{counts}");
    drop(idle);
}

#[test]
fn an_absent_broker_is_told_and_a_taken_port_refused() {
    let mut settings = settings("absent");
    let port = headwater_process::Port::free().unwrap();
    settings.brokers = port.address().to_string();
    let console = Console::start(&settings);
    let problem = eventually("the problem is told", || {
        let (_, status) = get(&format!("{}/api/status", console.url));
        assert_eq!(status["broker_answers"], false);
        status["problem"].as_str().map(str::to_owned)
    });
    assert!(problem.contains(&settings.brokers) && problem.contains("check"), "{problem}");
    let (status, told) = get(&format!("{}/readyz", console.url));
    assert!(status == 503 && told.as_str().unwrap().contains(&settings.brokers), "{status} {told}");
    assert_eq!(get(&format!("{}/livez", console.url)).0, 200, "starting it again would not help");

    let taken = console.url.trim_start_matches("http://").parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let feed = headwater_console::feed::Feed::new(settings, Default::default(), Default::default());
    let refused = runtime
        .block_on(Server::bind(&ServerSettings { listen: taken, ..ServerSettings::default() }, feed))
        .err()
        .unwrap();
    assert!(format!("{refused:#}").contains("--console-listen"), "{refused:#}");
}
