//! The service graph reaches a real collector of OpenTelemetry, which the test builds once and keeps in the user's cache.

use std::path::Path;
use std::process::Command;

use headwater_console::otlp::OtlpSettings;
use headwater_console::server::ServerSettings;
use headwater_process::{Launch, Port};
use headwater_schemas::records::Workload;

use crate::common::{Console, WINDOW_US, Writer, eventually, http, latency, named, newest_window_us, settings, tcp};

/// The Go module whose `go.sum` holds the checksums of all that the collector is built from.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/otel-collector");

/// What the collector printed last of a metric's points, each with its lines.
fn points(log: &Path, metric: &str) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap();
    let of_metric = text.split("Metric #").filter(|part| part.contains(&format!("-> Name: {metric}\n")));
    let points = of_metric.last().unwrap_or_default().split("DataPoints #");
    points.skip(1).map(str::to_owned).collect()
}

#[test]
fn a_real_collector_takes_the_service_graph() {
    let settings = settings("otlp");
    let writer = Writer::start(&settings);
    let folder = tempfile::tempdir().unwrap();
    let (config, log) = (folder.path().join("collector.yml"), folder.path().join("log"));
    let port = Port::free().unwrap();
    let address = port.address();
    let text = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{address}\"}}}}}}}}\n\
         exporters: {{debug: {{verbosity: detailed}}}}\n\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines: {{metrics: {{receivers: [otlp], exporters: [debug]}}}}\n"
    );
    std::fs::write(&config, text).unwrap();
    // Built by the first run, which takes some minutes.
    let mut command = Command::new(headwater_testing::go_program("otel-collector", Path::new(MODULE)).unwrap());
    command.arg("--config").arg(&config);
    let _collector = Launch::new("collector", command, log.clone()).spawn().unwrap();

    let otlp = OtlpSettings {
        endpoint: Some(format!("http://{address}").into()),
        interval: std::time::Duration::from_secs(1),
        ..OtlpSettings::default()
    };
    let console = Console::serve(&settings, ServerSettings { otlp, ..ServerSettings::default() });
    eventually("the console has read what was there", || {
        (crate::api::get(&format!("{}/readyz", console.url)).0 == 200).then_some(())
    });
    eventually("latencies are read as well", || {
        let (_, text) = crate::api::get(&format!("{}/metrics", console.url));
        text.as_str()?.contains("headwater_map_windows_total{topic=\"latencies\"} 0\n").then_some(())
    });
    let start_us = newest_window_us() - WINDOW_US;
    let in_namespace = |namespace: &str| Workload { namespace: namespace.to_owned(), ..named("b") };
    let mut sum_s = 0.0;
    for window_us in [start_us, start_us + WINDOW_US] {
        for (namespace, requests, errors) in [("east", 1000, 70), ("west", 500, 0)] {
            let mut edge = http(window_us, "a", "b", requests, errors, 4_000.0);
            edge.server = in_namespace(namespace);
            writer.edge(&edge);
            writer.latency(&latency(&edge, "GET /", "2xx", requests - errors, 4_000.0));
            if errors > 0 {
                writer.latency(&latency(&edge, "GET /", "5xx", errors, 4_000.0));
                sum_s += edge.duration_ns.sum() as f64 / 1e9;
            }
        }
        writer.edge(&tcp(window_us, "a", "redis", 1000, 20.0));
        writer.close(window_us);
    }

    let find = |metric: &str, wanted: &dyn Fn(&str) -> bool| {
        eventually(metric, || {
            let points = points(&log, metric);
            let of_east = points.iter().find(|point| point.contains("-> server: Str(east/b)"))?;
            (points.len() == 2 && wanted(of_east)).then(|| of_east.clone())
        })
    };
    let has_line = |point: &str, line: &str| point.lines().any(|found| found.trim() == line);
    let total = find("traces_service_graph_request_total", &|point| has_line(point, "Value: 2000"));
    assert!(has_line(&total, "-> client: Str(a)") && has_line(&total, "-> server_namespace: Str(east)"), "{total}");
    find("traces_service_graph_request_failed_total", &|point| has_line(point, "Value: 140"));
    let client = find("traces_service_graph_request_client", &|point| has_line(point, "Count: 2000"));
    let told = client.lines().find_map(|line| line.trim().strip_prefix("Sum: ")).unwrap();
    assert!((told.parse::<f64>().unwrap() / sum_s - 1.0).abs() < 1e-6, "{told} for {sum_s}");
    find("traces_service_graph_request_server", &|point| has_line(point, "Count: 2000"));
    let text = std::fs::read_to_string(&log).unwrap();
    for line in [
        "-> IsMonotonic: true",
        "-> AggregationTemporality: Cumulative",
        "-> DataType: ExponentialHistogram",
        "-> Unit: s",
    ] {
        assert!(text.contains(line), "{line}");
    }
}
