//! The file of `--ready-file`: everything that another program needs to know of a running `up`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::running::Access;

#[derive(Debug, Serialize)]
pub struct Ready {
    pub console_url: String,
    pub brokers: String,
    pub registry_url: String,
    pub prefix: String,
    /// Who is let into that Kafka and registry.
    pub access: Option<Access>,
    /// Logs of all children; gone at the end unless --data-dir was given.
    pub log_dir: PathBuf,
    /// By program; `headwater` is this one.
    pub pids: BTreeMap<String, u32>,
    pub demo: Option<DemoReady>,
}

#[derive(Debug, Serialize)]
pub struct DemoReady {
    pub cgroup: PathBuf,
    pub fault_command: Vec<String>,
    pub clear_command: Vec<String>,
}

impl Ready {
    /// Whoever waits for the file finds it whole.
    pub fn write(&self, path: &Path) -> Result<()> {
        let doing = || format!("write the ready file {}", path.display());
        let text = serde_json::to_string_pretty(self).with_context(doing)?;
        let unfinished = path.with_extension("unfinished");
        fs::write(&unfinished, text + "\n").with_context(doing)?;
        fs::rename(&unfinished, path).with_context(doing)
    }
}
