//! Runs a Kafka and a registry for many tests until standard input ends, and prints where they are: the brokers, their
//! listener that asks for a password, the registry. See `headwater_stack::shared`.
#![allow(clippy::print_stdout, reason = "its report is its standard output")]

use headwater_stack::{Stack, StackError, shared};

fn main() -> Result<(), StackError> {
    let stack = Stack::start(shared::options())?;
    let sasl = stack.kafka().sasl_bootstrap().unwrap_or_default();
    println!("{} {sasl} {}", stack.bootstrap(), stack.registry().url());
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    Ok(())
}
