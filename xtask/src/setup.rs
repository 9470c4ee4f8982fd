//! Meets the needs: checks all, then installs what is missing or prints the exact commands.
//!
//! In: purposes, and whether it may install without asking. Out: nothing when every need is met, else an error that
//! lists the commands. Promise: without root, or without consent, nothing on the machine is changed.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Result, bail};

use crate::apt;
use crate::needs::{NEEDS, Need, Purpose};
use crate::run;

pub fn ensure(purposes: &[Purpose], yes: bool) -> Result<()> {
    let wanted: Vec<&Need> = NEEDS.iter().filter(|need| purposes.contains(&need.purpose)).collect();
    let missing: Vec<&Need> = wanted.iter().copied().filter(|need| !(need.is_met)()).collect();
    if missing.is_empty() {
        println!("Set-up: all {} needs are met", wanted.len());
        return Ok(());
    }
    for need in &missing {
        println!("Set-up: missing {}", need.what);
    }
    let may_change = may_install(yes)?;
    if may_change {
        apt::refresh_empty_lists()?;
    }
    let remedy = Remedy::for_needs(&missing, apt::offers, run::is_root());
    if !may_change {
        bail!("something is missing; run these commands, then the same again:\n{}", remedy.script(run::is_root()));
    }
    remedy.apply()?;
    let still: Vec<&Need> = missing.into_iter().filter(|need| !(need.is_met)()).collect();
    if !still.is_empty() {
        let lines: Vec<String> = still.iter().map(|need| format!("  {}: {}", need.what, need.hint)).collect();
        bail!("still missing after the set-up; do this by hand, then run the same again:\n{}", lines.join("\n"));
    }
    println!("Set-up: done");
    Ok(())
}

/// With root and apt: yes when told so, else as the person at the terminal says.
fn may_install(yes: bool) -> Result<bool> {
    if !run::is_root() || !run::is_installed("apt-get") {
        return Ok(false);
    }
    if yes || run::is_ci() {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    print!("Install what is missing? [Y/n] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "" | "y" | "Y" | "yes"))
}

/// What would meet a list of needs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Remedy {
    packages: Vec<&'static str>,
    commands: Vec<RemedyCommand>,
    hints: Vec<&'static str>,
}

#[derive(Debug, PartialEq, Eq)]
struct RemedyCommand {
    line: &'static [&'static str],
    needs_root: bool,
}

impl Remedy {
    /// `is_offered` tells whether apt can install a package here.
    fn for_needs(missing: &[&Need], is_offered: impl Fn(&str) -> bool, is_root: bool) -> Self {
        let mut remedy = Self::default();
        for need in missing {
            if !need.apt.is_empty() && need.apt.iter().all(|package| is_offered(package)) {
                remedy.packages.extend(need.apt);
            } else if !need.command.is_empty() {
                remedy
                    .commands
                    .push(RemedyCommand { line: need.command, needs_root: need.command_needs_root && !is_root });
            } else {
                remedy.hints.push(need.hint);
            }
        }
        remedy
    }

    /// The same as a list of lines to copy.
    fn script(&self, is_root: bool) -> String {
        let prefix = |needs_root| if needs_root { "sudo " } else { "" };
        let install = (!self.packages.is_empty()).then(|| {
            format!("  {}apt-get install --no-install-recommends {}", prefix(!is_root), self.packages.join(" "))
        });
        let commands =
            self.commands.iter().map(|command| format!("  {}{}", prefix(command.needs_root), command.line.join(" ")));
        let hints = self.hints.iter().map(|hint| format!("  # {hint}"));
        install.into_iter().chain(commands).chain(hints).collect::<Vec<_>>().join("\n")
    }

    fn apply(&self) -> Result<()> {
        if !self.packages.is_empty() {
            apt::install(&self.packages)?;
        }
        for command in &self.commands {
            println!("Set-up: {}", command.line.join(" "));
            run::checked(command.line)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn need(word: &str) -> &'static Need {
        NEEDS.iter().find(|need| need.what.contains(word)).unwrap()
    }

    #[test]
    fn packages_come_in_one_line_and_commands_after_it() {
        let missing = [need("OpenSSL"), need("bpf-linker"), need("tracefs"), need("Maven")];
        let script = Remedy::for_needs(&missing, |_| true, false).script(false);
        assert_eq!(
            script,
            "  sudo apt-get install --no-install-recommends pkg-config libssl-dev maven\n  \
             cargo install bpf-linker --version 0.10.1 --locked\n  \
             sudo mount -t tracefs tracefs /sys/kernel/tracing"
        );
    }

    #[test]
    fn root_needs_no_sudo() {
        let script = Remedy::for_needs(&[need("Maven"), need("bpffs")], |_| true, true).script(true);
        assert_eq!(script, "  apt-get install --no-install-recommends maven\n  mount -t bpf bpf /sys/fs/bpf");
    }

    #[test]
    fn where_apt_lacks_a_package_the_command_or_the_hint_takes_its_place() {
        let missing = [need("library's sources"), need("Chromium")];
        let remedy = Remedy::for_needs(&missing, |_| false, true);
        assert!(remedy.packages.is_empty());
        assert_eq!(remedy.script(true), "  rustup component add rust-src\n  # install chromium");
    }

    #[test]
    fn a_kernel_without_btf_is_explained() {
        let script = Remedy::for_needs(&[need("BTF")], |_| true, true).script(true);
        assert!(script.contains("CONFIG_DEBUG_INFO_BTF"), "{script}");
    }
}
