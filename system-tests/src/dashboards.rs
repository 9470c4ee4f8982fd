//! What the dashboards ask of Prometheus.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// One query of a panel.
pub struct Query {
    /// Of the dashboard and of the panel.
    pub title: String,
    /// With the variables of the dashboard filled in.
    pub text: String,
    /// Whether there may be nothing to show while all is well.
    pub may_be_empty: bool,
}

/// Panels that show troubles, or what only some services do.
const MAY_BE_EMPTY: [&str; 5] =
    ["Dropped by reason", "What happened", "What it calls", "Latency of what", "Alerts that fire"];

/// All queries, for a service by its name.
///
/// # Errors
/// If a dashboard is not as it should be.
pub fn queries(service: &str) -> Result<Vec<Query>> {
    let folder = root().join("k8s/components/dashboards");
    let mut queries = Vec::new();
    for file in std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        let path = file?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let dashboard: Value = serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
        for panel in dashboard["panels"].as_array().context("a dashboard without panels")? {
            for target in panel["targets"].as_array().context("a panel without queries")? {
                let title = format!("{} {}", dashboard["title"], panel["title"]);
                let text = target["expr"].as_str().context("a query without text")?;
                let text = text.replace("$service", service).replace("$namespace", ".*");
                let may_be_empty = MAY_BE_EMPTY.iter().any(|part| title.contains(part));
                queries.push(Query { title, text, may_be_empty });
            }
        }
    }
    ensure!(queries.len() > 30, "there are only {} queries", queries.len());
    Ok(queries)
}
