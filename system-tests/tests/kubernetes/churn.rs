//! Pods that come and go under traffic, with addresses that others had before them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use headwater_schemas::records::Identity;
use headwater_system_tests::lab::{stop, wait_up_to};
use headwater_system_tests::topics;

use crate::cluster::{bare_pod, deployment, service};
use crate::ground::Ground;

/// Pods that are replaced at a time, and addresses that are to be used again.
const AT_A_TIME: usize = 10;
const REUSES: usize = 100;
const ROUNDS_MAX: usize = 25;
/// Pods that are made and removed in a minute, at least.
const PER_MINUTE: f64 = 50.0;
const ROLLOUTS: u32 = 3;

#[test]
fn no_name_is_wrong_while_pods_come_and_go() -> Result<()> {
    let ground = Ground::start("churn")?;
    let mut agent = ground.agent()?;
    ground.wait_connected(true)?;
    let cluster = &ground.cluster;
    let asks = Some("all:80");
    cluster.apply(
        &(service("all")
            + &service("rolled")
            + &deployment("asker", 2, asks, 100, 0)
            + &bare_pod("steady", "all", Some("rolled:80"), 200)),
    )?;
    cluster.kubectl(&["rollout", "status", "deployment/asker", "--timeout=120s"])?;

    // Each of these serves, and asks the others.
    let (mut had, mut reuses, mut made) = (BTreeMap::<String, BTreeSet<String>>::new(), 0, 0);
    let began = Instant::now();
    for round in 0..ROUNDS_MAX {
        cluster.forget_last_address()?;
        let names: Vec<String> = (0..AT_A_TIME).map(|number| format!("round-{round}-{number}")).collect();
        cluster.apply(&names.iter().map(|name| bare_pod(name, "all", asks, 200)).collect::<String>())?;
        cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--selector=app=all", "--timeout=120s"])?;
        for (name, address) in addresses(&ground)? {
            let owners = had.entry(address).or_default();
            reuses += usize::from(!owners.is_empty() && !owners.contains(&name));
            owners.insert(name);
        }
        let gone: Vec<&str> = names.iter().map(String::as_str).collect();
        cluster.kubectl(&[&["delete", "pod"], &gone[..]].concat())?;
        made += AT_A_TIME;
        if reuses >= REUSES {
            break;
        }
    }
    let per_minute = made as f64 * 60.0 / began.elapsed().as_secs_f64();
    println!("{made} pods made and removed, {per_minute:.0} a minute; {reuses} addresses used again");
    ensure!(per_minute >= PER_MINUTE, "only {per_minute:.0} pods a minute");
    ensure!(reuses >= REUSES, "only {reuses} addresses were used again");

    for round in 0..ROLLOUTS {
        cluster.apply(&deployment("rolled", 4, asks, 200, round))?;
        cluster.kubectl(&["rollout", "status", "deployment/rolled", "--timeout=180s"])?;
    }
    let verdict = ground.settled()?;
    println!("{}", verdict.words());
    ensure!(verdict.wrong.is_empty() && verdict.doubled == 0 && verdict.missing() == 0, "{}", verdict.words());
    // All of them came while the agent was connected.
    ensure!(verdict.unknown == 0 && verdict.right > 1000, "{}", verdict.words());
    claims_do_not_overlap(&ground)?;
    stop(&mut agent)
}

/// Name and address of each pod.
fn addresses(ground: &Ground) -> Result<Vec<(String, String)>> {
    let format = "jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{\"\\n\"}{end}";
    let text = ground.cluster.kubectl(&["get", "pods", "--output", format])?;
    text.lines()
        .map(|line| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).context("no address"))
        .collect()
}

/// Who owned an address from when to when: never two at a time.
fn claims_do_not_overlap(ground: &Ground) -> Result<()> {
    let mut claims: BTreeMap<(String, i64, String), i64> = BTreeMap::new();
    let mut read = || -> Result<()> {
        topics::each(&ground.lab.settings, headwater_schemas::topics::Topic::Identities, |cache, value| {
            let (schema, datum) = cache.open(value)?;
            let identity: Identity = schema.decode(datum)?;
            let until = claims.entry((identity.address, identity.from_us, identity.pod)).or_default();
            *until = identity.until_us.max(*until);
            Ok(())
        })
    };
    wait_up_to(Duration::from_secs(60), "claims", || read().map(|()| true))?;
    ensure!(claims.len() >= AT_A_TIME, "only {} claims", claims.len());
    for (((address, _, pod), until_us), ((next_address, from_us, next), _)) in claims.iter().zip(claims.iter().skip(1))
    {
        ensure!(
            address != next_address || until_us < from_us,
            "{address} is {pod}'s until {until_us}, and {next}'s from {from_us}"
        );
    }
    println!("{} claims, none of which overlaps another", claims.len());
    Ok(())
}
