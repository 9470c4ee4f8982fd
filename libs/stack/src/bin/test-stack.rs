//! Runs a Kafka and a registry for many tests until standard input ends, and prints where they are: the brokers, their
//! listener that asks for a password, the registry. Their logs go to the folder that is its argument, if it has one. See
//! `headwater_stack::shared`.
#![allow(clippy::print_stdout, reason = "its report is its standard output")]

use std::path::PathBuf;

use headwater_stack::{Stack, StackError, StackOptions, shared};

fn main() -> Result<(), StackError> {
    let log_dir = std::env::args_os().nth(1).map(PathBuf::from);
    let stack = Stack::start(StackOptions { log_dir, ..shared::options() })?;
    let sasl = stack.kafka().sasl_bootstrap().unwrap_or_default();
    println!("{} {sasl} {}", stack.bootstrap(), stack.registry().url());
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    Ok(())
}
