//! The file of objectives, looked at again and again, so that a change counts without a restart.
//!
//! In: a path. Out: [`Rules`], and news of them. A file that cannot be read or is none leaves the rules of before, and is told once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tracing::{info, warn};

use super::rules::{FILE_BYTES_MAX, Rules};
use crate::metrics;

const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// A file, and the rules that hold.
pub struct RulesFile {
    path: PathBuf,
    rules: Arc<Rules>,
    /// What stood in it when it was looked at last, or why it could not be read.
    seen: Result<String, String>,
    looked_at: Instant,
}

impl RulesFile {
    /// # Errors
    /// If it cannot be read, or is none.
    pub fn open(path: &Path) -> Result<RulesFile> {
        let text = read(path)?;
        let rules = Rules::parse(&text).with_context(|| format!("objectives in {}", path.display()))?;
        Ok(RulesFile { path: path.to_owned(), rules: Arc::new(rules), seen: Ok(text), looked_at: Instant::now() })
    }

    /// The same if that was not done before: a file that is broken by now leaves the rules that hold.
    ///
    /// # Errors
    /// If it was not, and cannot be.
    pub fn open_once(opened: &mut Option<RulesFile>, path: &Path) -> Result<()> {
        if opened.is_none() {
            *opened = Some(RulesFile::open(path)?);
        }
        Ok(())
    }

    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// The rules, if they are others now.
    pub fn look(&mut self) -> Option<&Arc<Rules>> {
        if self.looked_at.elapsed() < LOOK_INTERVAL {
            return None;
        }
        self.look_now()
    }

    fn look_now(&mut self) -> Option<&Arc<Rules>> {
        self.looked_at = Instant::now();
        let read = read(&self.path).map_err(|error| format!("{error:#}"));
        if read == self.seen {
            return None;
        }
        self.seen = read;
        let path = self.path.display();
        match self.seen.as_ref().map_err(String::clone).and_then(|text| Rules::parse(text).map_err(|error| error.0)) {
            Ok(rules) => {
                info!(%path, objectives = rules.objectives.len(), "objectives were changed");
                metrics::OBJECTIVES_RELOADS.add(&["taken"], 1);
                self.rules = Arc::new(rules);
                Some(&self.rules)
            }
            Err(error) => {
                warn!(%path, error, "the objectives of before stay, for the file is none: headwater rules check says more");
                metrics::OBJECTIVES_RELOADS.add(&["refused"], 1);
                None
            }
        }
    }
}

/// # Errors
/// If it cannot be read, is too large or no text.
pub fn read(path: &Path) -> Result<String> {
    let doing = || format!("read the objectives in {}", path.display());
    let bytes = std::fs::metadata(path).with_context(doing)?.len();
    if bytes > FILE_BYTES_MAX as u64 {
        bail!("{}: it has {bytes} bytes, more than {FILE_BYTES_MAX}", doing());
    }
    std::fs::read_to_string(path).with_context(doing)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_change_counts_and_a_broken_one_leaves_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("objectives.yaml");
        assert!(RulesFile::open(&path).is_err());
        let of = |names: &[&str]| {
            let objective = |name: &&str| format!("- {{name: {name}, service: {{name: b}}, target: 99}}\n");
            format!("objectives:\n{}", names.iter().map(objective).collect::<String>())
        };
        std::fs::write(&path, of(&["a"])).unwrap();
        let mut opened = None;
        RulesFile::open_once(&mut opened, &path).unwrap();
        // Whoever starts again goes on with what held.
        std::fs::write(&path, "none").unwrap();
        assert!(RulesFile::open_once(&mut None, &path).is_err());
        RulesFile::open_once(&mut opened, &path).unwrap();
        let mut file = opened.unwrap();
        assert_eq!(file.rules().objectives.len(), 1);
        std::fs::write(&path, of(&["a"])).unwrap();
        assert!(file.look_now().is_none());
        std::fs::write(&path, of(&["a", "a"])).unwrap();
        assert!(file.look_now().is_none());
        assert_eq!(file.rules().objectives.len(), 1);
        std::fs::remove_file(&path).unwrap();
        assert!(file.look_now().is_none());
        std::fs::write(&path, of(&["a", "b"])).unwrap();
        assert_eq!(file.look_now().unwrap().objectives.len(), 2);
        assert!(file.look_now().is_none());
    }
}
