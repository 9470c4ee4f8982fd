//! `headwater rules check FILE`: whether a file of objectives is one, and what it says.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use headwater_processors::objectives::file;
use headwater_processors::objectives::rules::{Ends, Objective, Owner, Rules};

use crate::terminal::print;

#[derive(Debug, Args)]
pub struct RulesArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Says what a file of objectives means, or what is wrong with it
    Check {
        /// The file, as `objectives.file` of the processors names it
        file: PathBuf,
    },
}

pub fn run(args: &RulesArgs) -> Result<()> {
    let Verb::Check { file: path } = &args.verb;
    let rules = Rules::parse(&file::read(path)?).with_context(|| format!("objectives in {}", path.display()))?;
    print(&text(&rules))
}

fn text(rules: &Rules) -> String {
    let mut text = String::new();
    for objective in &rules.objectives {
        text.push_str(&format!("{}: {}\n", objective.name, promise(objective)));
        for burn_rate in &objective.burn_rates {
            let severity = if burn_rate.severity.is_empty() { "alert" } else { &burn_rate.severity };
            let bad_percent = 100.0 * objective.allowed() * burn_rate.rate;
            text.push_str(&format!(
                "  {severity} if {bad_percent:.3} % are bad over {} and over {} ({} times as fast as the target allows)\n",
                burn_rate.long, burn_rate.short, burn_rate.rate
            ));
        }
    }
    for Owner { service, owner, severity } in &rules.owners {
        let urgent = if severity.is_empty() { String::new() } else { format!(", as {severity}") };
        text.push_str(&format!("{owner} is told of {}{urgent}\n", ends(service)));
    }
    let count = |of: usize, what: &str| format!("{of} {what}{}", if of == 1 { "" } else { "s" });
    text + &format!("{}, {}\n", count(rules.objectives.len(), "objective"), count(rules.owners.len(), "owner"))
}

fn promise(objective: &Objective) -> String {
    let Objective { service, client, protocol, operation, target, within, failed_connections, owner, .. } = objective;
    let kind = protocol.as_deref().map(|protocol| format!("{protocol} ")).unwrap_or_default();
    let asked = operation.as_deref().map(|operation| format!(" {operation}")).unwrap_or_default();
    let from = client.as_ref().map(|clients| format!(" from {}", ends(clients))).unwrap_or_default();
    let quick = within.map(|within| format!(" within {within}")).unwrap_or_default();
    let failed = if *failed_connections { ", connections that fail counted" } else { "" };
    let owner = if owner.is_empty() { String::new() } else { format!("; {owner} is told") };
    format!(
        "{target} % of {kind}requests{asked}{from} to {} are answered without an error{quick}{failed}{owner}",
        ends(service)
    )
}

/// As `namespace/name`, with a star for what may be anything.
fn ends(Ends { cluster, namespace, kind, name }: &Ends) -> String {
    let [cluster, namespace, kind, name] = [cluster, namespace, kind, name].map(Option::as_deref);
    let kind = kind.map(|kind| format!("{kind} ")).unwrap_or_default();
    let cluster = cluster.map(|cluster| format!(" in {cluster}")).unwrap_or_default();
    format!("{kind}{}/{}{cluster}", namespace.unwrap_or("*"), name.unwrap_or("*"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_said_in_sentences() {
        let rules = Rules::parse(
            "objectives:
- {name: a, service: {namespace: shop, name: orders}, client: {name: web}, operation: POST /orders, within: 300ms, target: 99, owner: team, burn_rates: [{long: 1h, short: 5m, rate: 10, severity: page}]}
owners:
- {service: {namespace: shop}, owner: team-shop, severity: page}
- {owner: everybody}
",
        );
        assert_eq!(
            text(&rules.unwrap()),
            "a: 99 % of requests POST /orders from */web to shop/orders are answered without an error within 300ms; team is told
  page if 10.000 % are bad over 1h and over 5m (10 times as fast as the target allows)
team-shop is told of shop/*, as page
everybody is told of */*
1 objective, 2 owners
"
        );
    }
}
