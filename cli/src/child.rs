//! One of our own programs as a child.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use headwater_process::Launch;
use headwater_settings::VARIABLE_PREFIX;

/// What to run.
#[derive(Debug, Clone)]
pub struct Program {
    pub name: &'static str,
    pub path: PathBuf,
    pub args: Vec<OsString>,
    /// Settings; those of our own environment are not handed on, for each program refuses the keys of others.
    pub variables: Vec<(String, String)>,
    pub log: PathBuf,
}

impl Program {
    /// It ends softly, for it has records to deliver or programs of its own to stop.
    pub fn launch(&self) -> Launch {
        let mut command = Command::new(&self.path);
        for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with(VARIABLE_PREFIX)) {
            command.env_remove(variable);
        }
        // Its output is a file.
        command.env("NO_COLOR", "1");
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).args(&self.args);
        Launch::new(self.name, command, &self.log).ending_softly()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_program_gets_its_own_settings_and_its_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let program = Program {
            name: "test",
            path: "/bin/sh".into(),
            args: vec!["-c".into(), "env | grep -E '^(HEADWATER|NO_COLOR)'; echo $0".into(), "it".into()],
            variables: vec![("HEADWATER_X".into(), "handed on".into())],
            log: folder.path().join("test.log"),
        };
        let mut child = program.launch().spawn().unwrap();
        child.await_success(Duration::from_secs(20)).unwrap();
        let text = child.log_text();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["HEADWATER_X=handed on", "NO_COLOR=1", "it"]);
    }
}
