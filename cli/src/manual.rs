//! `headwater completions` and `headwater man`: what a package or a person installs beside the program.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;

use crate::terminal::print;

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write the pages of all subcommands into this folder instead of printing the main one
    dir: Option<PathBuf>,
}

/// Prints a script that the shell reads.
pub fn completions(args: &CompletionsArgs, mut command: Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "headwater", &mut script);
    print(&String::from_utf8(script).context("write the completions")?)
}

/// Prints or writes manual pages in the form that `man` reads.
pub fn man(args: &ManArgs, command: Command) -> Result<()> {
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).with_context(|| format!("make the folder {}", dir.display()))?;
        return clap_mangen::generate_to(command, dir).with_context(|| format!("write into {}", dir.display()));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).context("write the manual page")?;
    print(&String::from_utf8(page).context("write the manual page")?)
}
