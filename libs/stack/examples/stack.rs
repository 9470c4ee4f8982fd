//! Runs a Kafka and a registry until a line or the end of standard input comes, and prints where they are.

use headwater_stack::{Stack, StackOptions};

fn main() -> Result<(), headwater_stack::StackError> {
    let stack = Stack::start(StackOptions::default())?;
    println!("{} {}", stack.bootstrap(), stack.registry().url());
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    Ok(())
}
