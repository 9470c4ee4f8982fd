//! Before anything is compared: Kafka as it is after minutes of work. A Java machine that was just started interprets, counts what runs often and
//! translates it beside that, on the very processors that are measured; no node's broker is in its first minute.

use std::time::Duration;

use anyhow::Result;

use crate::ground::{Detail, Ground, until_at_rest};
use crate::paced;
use crate::servers::Nginx;

const RATE: u32 = 10_000;
const SPAN: Duration = Duration::from_secs(10);
/// It is warm once a run spares less than this part of the broker's time of the run before.
const SPARED: f64 = 0.1;
const RUNS_MAX: u32 = 8;

/// Publishes a record of each exchange until that costs the broker no less than before.
pub fn up(ground: &Ground, nginx: &Nginx) -> Result<()> {
    println!("Warming Kafka up: what a record of each side costs it, in microseconds a request");
    let mut before_us = f64::INFINITY;
    for number in 0..RUNS_MAX {
        let agent = ground.agent(ground.load_cgroup(), &format!("warm{number}."), Detail::Full)?;
        let began = ground.stack_cpu()?;
        let speed = paced::run(nginx.port(), RATE, SPAN, ground)?;
        until_at_rest(agent.process.pid())?;
        let us = (ground.stack_cpu()? - began).as_secs_f64() * 1e6 / speed.requests;
        println!("  {us:.2}");
        if us > before_us * (1.0 - SPARED) {
            break;
        }
        before_us = us;
    }
    Ok(())
}
