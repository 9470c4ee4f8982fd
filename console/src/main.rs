//! `headwater`: the command for people. All of it is in `headwater_console::command`.

use std::process::ExitCode;

fn main() -> ExitCode {
    headwater_console::command::run(std::env::args_os(), std::env::vars().collect())
}
