//! Where the lines go that tell a waiting person what is being done.

use std::sync::Arc;

/// Takes one line for each slow step; by default the line becomes a log event.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(&str) + Send + Sync>);

impl Progress {
    /// Hands each line to a function.
    pub fn new(take_line: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take_line))
    }

    pub(crate) fn say(&self, line: impl AsRef<str>) {
        (self.0)(line.as_ref());
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new(|line| tracing::info!("{line}"))
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}
