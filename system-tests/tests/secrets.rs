//! Secrets of forty kinds, said in every protocol over real sockets under the whole product: no topic, key, log, metric or answer of the console holds one of them.
//!
//! They are those that the agent's own test says to its observer. A kind proves something only if what holds the word is told of, so each names what has to come out.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "a failed test shows them")]

#[path = "../../producer-agent/tests/secrets/conversations.rs"]
mod conversations;
#[path = "../../producer-agent/protocols/tests/shared/documents.rs"]
mod documents;
#[path = "../../producer-agent/protocols/tests/shared/envelopes.rs"]
mod envelopes;
#[path = "../../producer-agent/protocols/tests/shared/frames.rs"]
mod frames;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use conversations::{Kind, SECRET, kinds};
use headwater_process::{Child, Launch, Port};
use headwater_processors::rollups;
use headwater_schemas::records::Flow;
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::{Lab, stop, wait_for};
use headwater_system_tests::{http, topics};

const MODES: [&str; 6] = ["join", "service-map", "latency", "bottlenecks", "revisions", "rollups"];

#[test]
fn no_secret_stands_in_a_topic_a_log_or_a_metric() {
    let lab = Lab::start().unwrap();
    let ports: Vec<Port> = (0..MODES.len() + 3).map(|_| Port::free().unwrap()).collect();
    let at = |index: usize| ports[index].address();
    let [map, console, metrics] = [0, 1, 2].map(|index| at(MODES.len() + index));
    let mut running: Vec<Child> =
        (0..MODES.len()).map(|index| lab.processor_serving(MODES[index], at(index)).unwrap()).collect();
    running.push(lab.console(map, console).unwrap());
    let mut agent = lab.agent_of_users_with(&["--metrics-listen", &metrics.to_string()]).unwrap();

    let kinds = kinds();
    let ports_of_clients = say(&lab, &kinds);
    let spoken = |told: &[String], kind: &Kind| told.iter().any(|text| text.contains(kind.comes));
    let mut told = BTreeMap::new();
    let are_told = wait_for("every conversation is told of", || {
        told = told_by_port(&lab);
        let is_told = |(kind, port): (&Kind, &i64)| told.get(port).is_some_and(|told: &Vec<String>| spoken(told, kind));
        Ok(kinds.iter().zip(&ports_of_clients).all(is_told))
    });
    for (kind, port) in kinds.iter().zip(&ports_of_clients) {
        assert!(told.get(port).is_some_and(|told| spoken(told, kind)), "{}: {:?}", kind.name, told.get(port));
    }
    are_told.unwrap();
    wait_for("windows", || {
        Ok(!topics::edges(&lab.settings)?.is_empty() && !topics::latencies(&lab.settings)?.is_empty())
    })
    .unwrap();

    let mut places = Vec::new();
    for address in (0..MODES.len()).map(at).chain([console, metrics]) {
        let (code, text) = http::get(address, "/metrics").unwrap();
        assert!(code == 200 && text.contains("headwater_"), "{code}");
        places.push((format!("metrics of {address}"), text.into_bytes()));
    }
    for path in ["/", "/api/map", "/api/operations", "/api/alerts", "/api/agents", "/api/status", "/metrics"] {
        let (code, text) = http::get(map, path).unwrap();
        assert_eq!(code, 200, "console {path}: {text}");
        places.push((format!("console {path}"), text.into_bytes()));
    }
    stop(&mut agent).unwrap();
    for process in &mut running {
        stop(process).unwrap();
    }
    for topic in Topic::ALL {
        let mut looked_at = 0;
        topics::each_message(&lab.settings, topic, |parts| {
            looked_at += 1;
            places.extend(parts.into_iter().map(|part| (format!("{topic:?}"), part.to_vec())));
        })
        .unwrap();
        println!("{topic:?}: {looked_at}");
        // Only Kubernetes knows who owns an address; minutes and hours add up what stands in edges and latencies, once they are over.
        let may_be_empty =
            matches!(topic, Topic::Identities | Topic::Alerts | Topic::DeadLetters) || rollups::WRITES.contains(&topic);
        assert!(looked_at > 0 || may_be_empty, "{topic:?}");
    }
    places.extend(logs(lab.folder.path()));
    let leaks: Vec<_> = places.iter().filter(|(_, bytes)| holds(bytes)).map(|(place, _)| place).collect();
    println!("{} kinds, {} places looked at", kinds.len(), places.len());
    assert!(leaks.is_empty(), "{leaks:?}");
}

fn holds(bytes: &[u8]) -> bool {
    let secret = SECRET.as_bytes();
    bytes.windows(secret.len()).any(|part| part.eq_ignore_ascii_case(secret))
}

/// Says the conversations in the cgroup. Returns the port of each one's client.
fn say(lab: &Lab, kinds: &[Kind]) -> Vec<i64> {
    let hexadecimal = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    let said: Vec<Vec<(bool, String)>> = kinds
        .iter()
        .map(|kind| kind.said.iter().map(|said| (said.by_client, hexadecimal(&said.bytes))).collect())
        .collect();
    // It holds the word, and is none of the places where it must not stand.
    let file = lab.folder.path().join("conversations.json");
    fs::write(&file, serde_json::to_vec(&said).unwrap()).unwrap();
    let mut command = Command::new("/usr/bin/python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/conversations.py")).arg(&file);
    let launch = Launch::new("conversations", command, lab.folder.path().join("conversations.log"));
    let mut player = launch.in_cgroup(lab.cgroup.path()).piping_stdout().spawn().unwrap();
    let ports = serde_json::from_str(&player.first_line().unwrap()).unwrap();
    assert!(player.join().unwrap().success(), "{}", player.log_text());
    ports
}

/// Records of requests and flows, as texts, by the port of their client.
fn told_by_port(lab: &Lab) -> BTreeMap<i64, Vec<String>> {
    let mut told: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    let mut add = |ports: [i32; 2], text: String| {
        for port in ports {
            told.entry(port.into()).or_default().push(text.clone());
        }
    };
    topics::each_request(&lab.settings, |request| {
        add([request.local_port, request.remote_port], format!("{request:?}"))
    })
    .unwrap();
    topics::each(&lab.settings, Topic::Flows, |cache, value| {
        let (schema, datum) = cache.open(value)?;
        let flow: Flow<'_> = schema.decode(datum)?;
        add([flow.local_port, flow.remote_port], format!("{flow:?}"));
        Ok(())
    })
    .unwrap();
    told
}

fn logs(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let logs: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    assert!(logs.len() > MODES.len(), "{logs:?}");
    logs
}
