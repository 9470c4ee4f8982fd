//! `oracle-hostile KIND NUMBER`: see [`hostile`]. Bounded by its NUMBER (connections, or operations), and in time.

use anyhow::{Context, Result, bail};
use headwater_system_tests::hostile;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, number] = arguments.as_slice() else { bail!("usage: oracle-hostile KIND NUMBER") };
    hostile::run(kind, number.parse().context("NUMBER")?, false)
}
