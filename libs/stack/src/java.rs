//! Finds the Java that Kafka and the registry run on.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::StackError;

const OLDEST_MAJOR_VERSION: u32 = 17;

/// The program to run: that of JAVA_HOME, else the one on the PATH; refused when it is older than Java 17.
pub fn find() -> Result<PathBuf, StackError> {
    let java = match env::var_os("JAVA_HOME").filter(|home| !home.is_empty()) {
        Some(home) => PathBuf::from(home).join("bin/java"),
        None => PathBuf::from("java"),
    };
    let output = Command::new(&java).arg("-version").stdin(Stdio::null()).output();
    let output =
        output.map_err(|error| StackError::NoJava { found: format!("{} cannot be run: {error}", java.display()) })?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    match major_version(&text) {
        Some(major) if major >= OLDEST_MAJOR_VERSION => Ok(java),
        Some(major) => Err(StackError::NoJava { found: format!("{} is Java {major}", java.display()) }),
        None => {
            Err(StackError::NoJava { found: format!("{} does not tell its version: {}", java.display(), text.trim()) })
        }
    }
}

/// Reads `openjdk version "17.0.15" 2025-04-15`; versions before 9 call themselves `1.8`.
fn major_version(text: &str) -> Option<u32> {
    let quoted = text.lines().find(|line| line.contains("version \""))?.split('"').nth(1)?;
    let mut numbers = quoted.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    match numbers.next()? {
        1 => numbers.next(),
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_all_ages_are_read() {
        assert_eq!(major_version("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime"), Some(17));
        assert_eq!(major_version("Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(major_version("java version \"1.8.0_401\""), Some(8));
        assert_eq!(major_version("openjdk version \"25-ea\""), Some(25));
        assert_eq!(major_version("command not found"), None);
    }
}
