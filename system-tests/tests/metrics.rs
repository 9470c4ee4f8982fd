//! A real Prometheus, configured as that of docker-compose.yml, reads the metrics of every program, and what it says of the map is
//! what the client did. The dashboards' queries are answered from it.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "a failed test shows them")]

use std::net::SocketAddr;
use std::process::Command;

use headwater_process::{Child, Launch, Port};
use headwater_system_tests::dashboards::{Query, queries, root};
use headwater_system_tests::http::get;
use headwater_system_tests::lab::{Lab, Load, wait_for, wait_for_port};
use serde_json::Value;

const MODES: [&str; 6] = ["join", "service-map", "latency", "bottlenecks", "revisions", "rollups"];

#[test]
fn prometheus_knows_every_program_and_the_dashboards_are_filled() {
    let lab = Lab::start().unwrap();
    let ports: Vec<Port> = (0..MODES.len() + 4).map(|_| Port::free().unwrap()).collect();
    let at = |index: usize| ports[index].address();
    let [agent, map, console, prometheus] = [0, 1, 2, 3].map(|index| at(MODES.len() + index));
    let _processors: Vec<Child> =
        (0..MODES.len()).map(|index| lab.processor_serving(MODES[index], at(index)).unwrap()).collect();
    let _agent = lab.agent_serving(agent).unwrap();
    let _console = lab.console(map, console).unwrap();
    for address in (0..MODES.len()).map(at).chain([agent, map, console]) {
        wait_for(&format!("{address} is ready"), || Ok(get(address, "/readyz").is_some_and(|(code, _)| code == 200)))
            .unwrap();
    }
    // The configuration of docker-compose.yml, with the addresses of this test.
    let mut config = std::fs::read_to_string(root().join("deploy/prometheus.yml")).unwrap();
    let processors = MODES.iter().enumerate().map(|(index, mode)| (format!("{mode}:9464"), at(index)));
    let others = [("agent:9464", agent), ("console:8470", map), ("console:9464", console)];
    for (name, address) in processors.chain(others.map(|(name, address)| (name.to_owned(), address))) {
        assert!(config.contains(&name), "{name} is not scraped");
        config = config.replace(&name, &address.to_string());
    }
    let path = lab.folder.path().join("prometheus.yml");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new("prometheus");
    command.arg("--config.file").arg(&path).arg("--storage.tsdb.path").arg(lab.folder.path().join("prometheus"));
    command.args(["--web.listen-address", &prometheus.to_string()]);
    let launch = Launch::new("prometheus", command, lab.folder.path().join("prometheus.log"));
    let _prometheus = launch.spawn().expect("start prometheus: `cargo xtask setup` installs it");
    let is = |query: &str, wanted: f64| {
        wait_for(&format!("{query} = {wanted}"), || Ok(value(prometheus, query) == Some(wanted))).unwrap();
    };
    is("sum(up)", MODES.len() as f64 + 3.0);

    let nginx_port = Port::free().unwrap();
    let nginx = nginx_port.address();
    let _nginx = lab.nginx(&[nginx.to_string()], None).unwrap();
    wait_for_port(nginx).unwrap();
    let load = Load {
        address: nginx,
        server: "nginx",
        label: "metrics",
        seed: 1,
        requests: 2000,
        early: 0,
        threads: 2,
        pause_us: 10_000,
        netns: None,
    };
    let mut client = lab.client(env!("CARGO_BIN_EXE_oracle-client"), &load).unwrap();
    client.go().unwrap();
    let outcomes = client.finish().unwrap();
    println!("{} requests", outcomes.len());
    is("sum(headwater_edge_requests_total)", outcomes.len() as f64);
    is("sum(headwater_edge_duration_seconds_count)", outcomes.len() as f64);
    let failed = outcomes.iter().filter(|outcome| outcome.status >= 500).count();
    is("sum(headwater_edge_errors_total)", failed as f64);
    // Everything was read, and windows close although nothing is asked any more.
    is("count(headwater_processor_lag_records >= 0)", (4 + 4 + 4 + 4 + 4 + 5) as f64);
    is("sum(headwater_processor_lag_records{mode!=\"join\"})", 0.0);
    is("count(max by (mode) (headwater_processor_window_delay_seconds) < 40)", MODES.len() as f64);

    for mode in MODES {
        let delay = format!("headwater_processor_window_delay_seconds{{mode=\"{mode}\"}}[30s]");
        let of = |function: &str| value(prometheus, &format!("max({function}_over_time({delay}))"));
        println!("{mode}: the delay was {:?} to {:?} s", of("min"), of("max"));
    }

    for Query { title, text, may_be_empty } in queries("nginx").unwrap() {
        wait_for(&format!("{title}: {text}"), || {
            let (code, answer) = ask(prometheus, &text);
            assert_eq!(code, 200, "{title}: {text}: {answer}");
            Ok(may_be_empty || !answer["data"]["result"].as_array().unwrap().is_empty())
        })
        .unwrap();
    }
    assert!(get(agent, "/metrics").is_some_and(|(_, text)| text.contains("# TYPE process_cpu_seconds_total counter")));
}

fn value(prometheus: SocketAddr, query: &str) -> Option<f64> {
    let (_, answer) = ask(prometheus, query);
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

fn ask(prometheus: SocketAddr, query: &str) -> (u16, Value) {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let (code, text) = get(prometheus, &format!("/api/v1/query?query={encoded}")).unwrap_or_default();
    (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}
