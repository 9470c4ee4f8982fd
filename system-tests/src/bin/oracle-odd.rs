//! `oracle-odd CONVERSATION`: plays one of the conversations in `odd`, which is legal and odd. Prints `ready`, waits for a line, and
//! prints `done` at the end.

use anyhow::{Context, Result};
use headwater_system_tests::odd;

fn main() -> Result<()> {
    let name = std::env::args().nth(1).context("usage: oracle-odd CONVERSATION")?;
    odd::play(&name).with_context(|| format!("the conversation `{name}`"))?;
    odd::say("done")
}
