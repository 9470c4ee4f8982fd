//! The dashboards are what Grafana's own schema asks for: no field that it does not know, none that it misses.
//!
//! No Grafana runs here. What the panels ask is answered by a real Prometheus in system-tests (`metrics` and `containers`). Units are not
//! checked: the schema takes any text.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Command;

use headwater_manifests::folder;
use serde_json::{Value, json};

/// What is said of dashboards; nothing if all is well. The Go module's `go.sum` holds the checksum of the schema.
fn complaints(files: &[PathBuf]) -> String {
    let mut command = Command::new("go");
    command.current_dir(folder().join("tests/grafana-schema")).env("CGO_ENABLED", "0");
    let output = command.args(["run", "-mod=readonly", "."]).args(files).output().expect("start go: is Go installed?");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn dashboards() -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder().join("components/dashboards")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

#[test]
fn grafanas_schema_has_no_complaint() {
    let files = dashboards();
    assert!(files.len() >= 4, "{files:?}");
    assert_eq!(complaints(&files), "");
}

#[test]
fn what_grafana_would_pass_over_is_noticed() {
    let whole: Value = serde_json::from_str(&std::fs::read_to_string(&dashboards()[0]).unwrap()).unwrap();
    let places = [
        ("", "titel"),
        ("/panels/0", "descriptoin"),
        ("/panels/0/targets/0", "exprr"),
        ("/panels/0/fieldConfig/defaults/custom", "lineWith"),
        ("/templating/list/0", "quer"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, dashboard: &Value| {
        let file = folder.path().join(name);
        std::fs::write(&file, dashboard.to_string()).unwrap();
        complaints(&[file])
    };
    for (place, field) in places {
        let mut broken = whole.clone();
        broken["panels"][0]["type"] = json!("timeseries");
        broken["panels"][0]["fieldConfig"]["defaults"]["custom"] = json!({});
        broken.pointer_mut(place).unwrap()[field] = json!("x");
        let said = refused("field.json", &broken);
        assert!(said.contains(&format!("unexpected field '{field}'")), "{place} {field}: {said}");
    }
    let mut broken = whole;
    broken["panels"][0]["type"] = json!("timeserie");
    assert!(refused("type.json", &broken).contains("there is no type"), "a panel of a type that is not there");
}
