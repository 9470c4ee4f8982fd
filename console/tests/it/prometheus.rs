//! `/metrics` as a real Prometheus reads it: as text, and as protobuf with native histograms.

use std::path::Path;
use std::process::{Command, Stdio};

use headwater_process::{Child, Launch, Port};
use headwater_schemas::records::{Alert, AlertState, Edge};
use serde_json::Value;

use crate::common::{Console, WINDOW_US, Writer, eventually, firing, http, latency, newest_window_us, settings};

/// A Prometheus that scrapes one address each second.
struct Prometheus {
    url: String,
    _child: Child,
    _port: Port,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: &str, arguments: &[&str]) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let config = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: console\n  static_configs: [{{targets: [\"{target}\"]}}]\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let port = Port::free().unwrap();
        let address = port.address().to_string();
        let mut command = Command::new("prometheus");
        command.args(["--config.file", &at("prometheus.yml"), "--storage.tsdb.path", &at("data")]);
        command.args(["--web.listen-address", &address]).args(arguments);
        let child = Launch::new("prometheus", command, folder.path().join("log")).spawn();
        let child = child.expect("start prometheus: `cargo xtask setup` installs it");
        Prometheus { url: format!("http://{address}"), _child: child, _port: port, _folder: folder }
    }

    /// The value of a query with one result; none before there is one.
    fn value(&self, query: &str) -> Option<f64> {
        let mut response = ureq::get(format!("{}/api/v1/query", self.url)).query("query", query).call().ok()?;
        let answer: Value = serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
        let results = answer["data"]["result"].as_array().unwrap();
        assert!(results.len() < 2, "{query}: {results:?}");
        results.first()?["value"][1].as_str()?.parse().ok()
    }

    fn expect(&self, query: &str, wanted: f64) {
        let mut found = None;
        headwater_process::wait_for(crate::common::PATIENCE, || {
            found = self.value(query);
            found.is_some_and(|found| (found - wanted).abs() <= wanted.abs() * 1e-9).then_some(())
        })
        .unwrap_or_else(|| panic!("{query} is {found:?}, not {wanted}"));
    }
}

#[test]
fn a_real_prometheus_reads_what_was_published() {
    let settings = settings("prometheus");
    let writer = Writer::start(&settings);
    let console = Console::start(&settings);
    let target = console.url.trim_start_matches("http://");
    let text = Prometheus::start(target, &[]);
    let native = Prometheus::start(target, &["--enable-feature=native-histograms"]);
    eventually("the console has read what was there", || {
        let (code, _) = crate::api::get(&format!("{}/readyz", console.url));
        (code == 200).then_some(())
    });
    for prometheus in [&text, &native] {
        prometheus.expect("headwater_map_windows_total{topic=\"latencies\"}", 0.0);
    }

    let start_us = newest_window_us() - WINDOW_US;
    let edge = http(start_us, "a", "b \"quoted\"", 1000, 70, 4_000.0);
    writer.edge(&edge);
    writer.latency(&latency(&edge, "GET /slow", "2xx", 930, 4_000.0));
    writer.latency(&latency(&edge, "GET /slow", "5xx", 70, 4_000.0));
    writer.alert(&firing(start_us));
    writer.close(start_us);
    let next = Edge { window_start_us: start_us + WINDOW_US, completeness: 0.5, ..edge.clone() };
    writer.edge(&next);
    writer.close(start_us + WINDOW_US);

    let of = "{client_kind=\"unit\",client_name=\"a\",server_name=\"b \\\"quoted\\\"\",protocol=\"http\"}";
    for prometheus in [&text, &native] {
        prometheus.expect("headwater_map_windows_total{topic=\"edges\"}", 2.0);
        prometheus.expect("headwater_map_windows_incomplete_total{topic=\"edges\"}", 1.0);
        prometheus.expect("headwater_map_completeness_ratio", 0.5);
        prometheus.expect(&format!("sum(headwater_edge_requests_total{of})"), 1000.0);
        prometheus.expect("headwater_edge_errors_total{status_class=\"5xx\"}", 70.0);
        prometheus
            .expect("headwater_edge_bytes_total{direction=\"to_client\"}", 2.0 * edge.server_to_client_bytes as f64);
        prometheus.expect(
            "headwater_alerts{alertname=\"error_rate\",alertstate=\"firing\",service_name=\"shop-payments\"}",
            1.0,
        );
    }
    // Twice the same durations have the same percentiles. A classic bucket is an octave, a native one 2.2 %.
    let p95_s = edge.duration_ns.quantile(0.95) / 1e9;
    text.expect("headwater_edge_duration_seconds_count", 2000.0);
    text.expect("headwater_edge_duration_seconds_sum", 2.0 * edge.duration_ns.sum() as f64 / 1e9);
    let classic = text.value("histogram_quantile(0.95, headwater_edge_duration_seconds_bucket)").unwrap();
    assert!((0.5..2.0).contains(&(classic / p95_s)), "{classic} for {p95_s}");
    native.expect("histogram_count(headwater_edge_duration_seconds)", 2000.0);
    native.expect("histogram_sum(headwater_edge_duration_seconds)", 2.0 * edge.duration_ns.sum() as f64 / 1e9);
    let found = native.value("histogram_quantile(0.95, headwater_edge_duration_seconds)").unwrap();
    assert!((found / p95_s - 1.0).abs() < 0.03, "{found} for {p95_s}");
    assert_eq!(native.value("headwater_edge_duration_seconds_count"), None, "it took the native form");

    writer.alert(&Alert { state: AlertState::Resolved, ..firing(start_us) });
    writer.flush();
    text.expect("headwater_alerts_firing", 0.0);
    lint(&format!("{}/metrics", console.url));
}

/// Prometheus's own complaints about names, units and help.
fn lint(url: &str) {
    let text = ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics");
    std::fs::write(&path, &text).unwrap();
    let file = std::fs::File::open(Path::new(&path)).unwrap();
    let output = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::from(file)).output();
    let output = output.expect("run promtool: it comes with prometheus");
    let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.trim().is_empty(), "{told}\n{text}");
}
