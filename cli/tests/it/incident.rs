//! `headwater incident` on a real Kafka: what happened, and where the records stand that show it.

use headwater_console::clock::now_us;
use headwater_histogram::Histogram;
use headwater_schemas::records::{Alert, AlertState, Edge, Evidence, Workload};
use headwater_schemas::samples;
use headwater_schemas::topics::Topic;
use headwater_system_tests::lab::shared;
use serde_json::Value;

use crate::windows::{WINDOW_US, Written, closed, edge, printed, publish, refused};

/// Windows before, and meanwhile.
const BEFORE: i64 = 30;
const MEANWHILE: i64 = 6;

fn program(name: &str) -> Workload {
    Workload::local("program", name)
}

fn of(client: &str, server: &str, window_us: i64, us: u64) -> Written {
    let mut duration_ns = Histogram::default();
    duration_ns.record_many(us * 1000, 100);
    let (client, server) = (program(client), program(server));
    Written::Edge(Edge { client, server, requests: 100, duration_ns, ..edge(window_us) })
}

fn alert(service: &str, id: &str, state: AlertState, (started_at_us, observed_at_us): (i64, i64)) -> Alert {
    let [service, client] = [service, "web"].map(program);
    Alert {
        alert_id: id.into(),
        state,
        incident_id: format!("{} {started_at_us}", service.key()),
        server: service.clone(),
        service,
        client,
        started_at_us,
        observed_at_us,
        message: format!("{id} is slow"),
        evidence: Vec::new(),
        score: 0.0,
        runners_up: Vec::new(),
        objective: String::new(),
        severity: String::new(),
        owner: String::new(),
        ..samples::alert()
    }
}

#[test]
fn an_incident_is_told_with_its_edges_and_its_evidence() {
    let settings = shared("incident").unwrap();
    let from_us = (now_us() / WINDOW_US - 100) * WINDOW_US;
    let began_us = from_us + BEFORE * WINDOW_US;
    let ended_us = began_us + MEANWHILE * WINDOW_US;
    let window = |at: i64| {
        let window_us = from_us + at * WINDOW_US;
        let us = if window_us >= began_us { 90_000 } else { 1000 };
        let edges = [of("web", "orders", window_us, us), of("web", "users", window_us, 1000)];
        edges.into_iter().chain([Written::Closed(Topic::Edges, closed(window_us))])
    };
    publish(&settings, (0..BEFORE + MEANWHILE).flat_map(window));
    // Each window is two edges: that of the orders in the first bad window.
    let edges = Topic::Edges.name(&settings.prefix);
    let place = |window: i64| Evidence {
        topic: edges.clone(),
        partition: 0,
        offset: window * 2,
        window_start_us: from_us + window * WINDOW_US,
    };
    let fired = Alert {
        evidence: vec![place(BEFORE), place(BEFORE + 1)],
        score: 33.0,
        runners_up: samples::alert().runners_up,
        ..alert("orders", "a", AlertState::Firing, (began_us, began_us + 2 * WINDOW_US))
    };
    let alerts = [
        fired,
        alert("orders", "b", AlertState::Firing, (began_us, began_us + 3 * WINDOW_US)),
        alert("orders", "a", AlertState::Resolved, (began_us, ended_us - WINDOW_US)),
        alert("orders", "b", AlertState::Resolved, (began_us, ended_us)),
        alert("users", "c", AlertState::Firing, (ended_us, ended_us + WINDOW_US)),
        alert("orders", "d", AlertState::Firing, (from_us, from_us + WINDOW_US)),
        alert("orders", "d", AlertState::Resolved, (from_us, from_us + 2 * WINDOW_US)),
    ];
    publish(&settings, alerts.map(Written::Alert));

    let listed = printed(&settings, &["incident"]);
    let order: Vec<&str> = listed.lines().skip(1).filter_map(|line| line.split("//program/").nth(1)).collect();
    let id = format!("orders {began_us}");
    assert_eq!(order, [&format!("users {ended_us}"), &id, &format!("orders {from_us}")], "{listed}");

    let id = format!("//program/{id}");
    let told = printed(&settings, &["incident", &id]);
    let after = |from: &str, to: &str| told.find(from).unwrap() < told.find(to).unwrap();
    assert!(told.contains("over after 60 s") && told.contains("Blamed: orders (score 33)"), "{told}");
    assert!(told.contains("It might also be: shop/shop-payments"), "{told}");
    assert!(after("fires     a is slow", "fires     b is slow") && after("b is slow", "resolved  a is slow"), "{told}");
    assert!(told.contains("1.0 ms → 90 ms") && !told.contains("users"), "{told}");
    let read = format!("headwater tail edges --json --at 0:{},0:{}", BEFORE * 2, BEFORE * 2 + 2);
    assert!(told.contains(&read), "no `{read}` in\n{told}");

    // What is shown reads exactly these records.
    let at = format!("0:{},0:{}", BEFORE * 2, BEFORE * 2 + 2);
    let shown = printed(&settings, &["tail", "edges", "--json", "--at", &at]);
    let shown: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let places: Vec<_> = shown.iter().map(|record| (&record["@offset"], &record["window_start_us"])).collect();
    assert_eq!(
        places,
        [(&(BEFORE * 2).into(), &began_us.into()), (&(BEFORE * 2 + 2).into(), &(began_us + WINDOW_US).into())]
    );
    assert!(shown.iter().all(|record| record["server"]["name"] == "orders"), "{shown:?}");
    let error = refused(&settings, &["tail", "edges", "--at", "0:1000000"]);
    assert!(error.contains("no record in") && error.contains("offset 1000000"), "{error}");

    let told = printed(&settings, &["incident", &id[..id.len() - 3], "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    let steps: Vec<&str> = told["alerts"].as_array().unwrap().iter().map(|it| it["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["fired", "fired", "resolved", "resolved"]);
    assert_eq!(told["evidence"][0]["offsets"], serde_json::json!([BEFORE * 2, BEFORE * 2 + 2]));
    assert_eq!(told["edges"]["edges"][0]["change"], "changed");
    assert_eq!((&told["edges"]["a"]["windows"], &told["edges"]["b"]["windows"]), (&BEFORE.into(), &MEANWHILE.into()));

    // By its service: the newest one, and that there is another.
    let told = printed(&settings, &["incident", "orders"]);
    assert!(told.contains(&id) && told.contains("1 older incident"), "{told}");
    let error = refused(&settings, &["incident", "//program/order"]);
    assert!(error.contains("begins the ids of 2 incidents") && error.contains(&id), "{error}");
    let error = refused(&settings, &["incident", "nobody"]);
    assert!(error.contains("headwater tail alerts") && error.contains("`nobody`"), "{error}");
}
