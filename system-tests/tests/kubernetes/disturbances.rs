//! Whatever happens between the agent and the API server, no name is wrong, what is not known is called so and counted, and the server
//! is not asked more than it can bear.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use headwater_system_tests::lab::{stop, wait_up_to};

use crate::account::replace;
use crate::cluster::{bare_pod, deployment, service};
use crate::ground::{Ground, PATIENCE};

/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(300);
/// How long a token lives that is to expire. The API server takes one for a minute more, and remembers for ten seconds that it did.
const TOKEN_S: u64 = 20;
const EXPIRED_AFTER: Duration = Duration::from_secs(150);

/// One cluster and one agent, and one thing after the other: each begins where the last one ended well.
#[test]
fn no_name_is_wrong_whatever_happens_to_the_api_server() -> Result<()> {
    let ground = Ground::start("harm")?;
    let mut agent = ground.agent()?;
    ground.wait_connected(true)?;
    let cluster = &ground.cluster;
    cluster.apply(
        &(service("web") + &deployment("web", 2, None, 0, 0) + &bare_pod("asks", "asks", Some("web:80"), 500)),
    )?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    cluster.wait_ready("pod/asks")?;
    ground.wait_seen("asks", true)?;
    expect(&ground, "before anything happened", |unknown| unknown == 0)?;

    a_watch_that_is_cut_goes_on_where_it_was(&ground)?;
    a_server_that_falls_silent_is_noticed(&ground)?;
    the_api_server_is_away(&ground)?;
    let unknown = what_was_missed_is_compacted(&ground)?;
    a_token_expires(&ground)?;
    expect(&ground, "before the agent was killed", |now| now == unknown)?;

    agent.kill();
    let before: BTreeSet<String> = cluster.reports()?.into_iter().collect();
    let mut agent = ground.agent()?;
    ground.wait_connected(true)?;
    // What is asked from here on is captured; a session that had begun is not whole.
    let skipped: BTreeSet<String> = cluster.reports()?.into_iter().collect();
    ground.wait_seen("asks", true)?;
    cluster.apply(&bare_pod("after", "asks", Some("web:80"), 500))?;
    cluster.wait_ready("pod/after")?;
    ground.wait_seen("after", true)?;
    let verdict = ground.settled()?;
    println!(
        "after the agent was killed: {}; {} requests while it was away",
        verdict.words(),
        skipped.len() - before.len()
    );
    ensure!(verdict.wrong.is_empty(), "after the agent was killed: {}", verdict.words());
    let lost = verdict.missing_client.iter().chain(&verdict.missing_server).filter(|path| !skipped.contains(*path));
    ensure!(lost.count() <= 8, "after the agent was killed: {}", verdict.words());
    println!("all that the agent asked: {:?}", ground.account().counts()?);
    stop(&mut agent)
}

fn a_watch_that_is_cut_goes_on_where_it_was(ground: &Ground) -> Result<()> {
    let before = ground.account().counts()?;
    for round in 0..3 {
        let attempts = ground.proxy.attempts();
        ground.proxy.cut();
        wait_up_to(PATIENCE, "the next watch", || Ok(ground.proxy.attempts() > attempts))?;
        let pod = format!("cut-{round}");
        ground.cluster.apply(&bare_pod(&pod, "asks", Some("web:80"), 500))?;
        ground.wait_seen(&pod, true)?;
    }
    let after = ground.account().counts()?;
    ensure!(after.get("list pods 200") == before.get("list pods 200"), "it listed anew: {before:?}, then {after:?}");
    let asked = |counts: &std::collections::BTreeMap<String, usize>| counts.values().sum::<usize>();
    ensure!(asked(&after) - asked(&before) <= 6, "three cuts: {before:?}, then {after:?}");
    expect(ground, "after three cuts", |unknown| unknown == 0)
}

/// The connection stays, but nobody is at its other end: the agent asks again by itself.
fn a_server_that_falls_silent_is_noticed(ground: &Ground) -> Result<()> {
    let (attempts, began) = (ground.proxy.attempts(), Instant::now());
    ground.proxy.fall_silent();
    // Nothing may have been to be said in the first four minutes.
    wait_up_to(Duration::from_secs(300), "a new connection", || Ok(ground.proxy.attempts() > attempts))?;
    println!("silence was noticed after {:?}", began.elapsed());
    ground.proxy.open();
    ground.proxy.cut();
    ground.cluster.apply(&bare_pod("silent", "asks", Some("web:80"), 500))?;
    ground.wait_seen("silent", true)?;
    // Whether a pod that comes now has its name in time depends on when the server is asked again.
    expect(ground, "after silence", |_| true)
}

fn the_api_server_is_away(ground: &Ground) -> Result<()> {
    let unknown = ground.settled()?.unknown;
    let attempts = ground.proxy.attempts();
    ground.cluster.xtask(&["stop", "kube-apiserver"])?;
    let began = Instant::now();
    ground.wait_connected(false)?;
    // The node starts it again by itself: another container of a pod that is known.
    let victim = oracle_process(ground, "cut-0")?;
    ensure!(Command::new("kill").args(["-KILL", &victim]).status()?.success(), "kill {victim}");
    let again = || Ok(oracle_process(ground, "cut-0").is_ok_and(|pid| pid != victim));
    wait_up_to(PATIENCE, "the container's second start", again)?;
    ground.wait_seen("cut-0", true)?;
    std::thread::sleep(AWAY.saturating_sub(began.elapsed()));
    let away = ground.proxy.attempts() - attempts;
    println!("{away} attempts in {:?}", began.elapsed());
    // 0.8 s, twice as long each time up to half a minute, and up to as long again by chance.
    ensure!((3..=6 + AWAY.as_secs() / 30).contains(&away), "{away} attempts in {AWAY:?}");
    ground.cluster.start_api()?;
    ground.wait_connected(true)?;
    ground.cluster.apply(&bare_pod("back", "asks", Some("web:80"), 500))?;
    ground.wait_seen("back", true)?;
    expect(ground, "after the API server was away", |now| now == unknown)
}

/// The agent alone is cut off while pods come and go, and what it would resume from is not there any more. Gives how many records said
/// `unknown`, as they had to.
fn what_was_missed_is_compacted(ground: &Ground) -> Result<usize> {
    let cluster = &ground.cluster;
    let (before, counted) = (ground.account().counts()?, ground.counter("names_unknown"));
    ground.proxy.close();
    ground.wait_connected(false)?;
    cluster.apply(&bare_pod("unseen", "asks", Some("web:80"), 500))?;
    cluster.wait_ready("pod/unseen")?;
    ground.wait_seen("unseen", false)?;
    // The kernel's numbers of the pod that goes may be used again by the one that comes.
    cluster.kubectl(&["delete", "pod", "silent", "cut-1"])?;
    cluster.apply(&bare_pod("unseen-too", "asks", Some("web:80"), 500))?;
    cluster.wait_ready("pod/unseen-too")?;
    cluster.xtask(&["stop", "kube-apiserver"])?;
    compact(ground)?;
    cluster.start_api()?;
    ground.proxy.open();
    for pod in ["unseen", "unseen-too"] {
        ground.wait_seen(pod, true)?;
    }
    let after = ground.account().counts()?;
    println!("compacted: {before:?}, then {after:?}");
    let lists = |counts: &std::collections::BTreeMap<String, usize>| counts.get("list pods 200").copied().unwrap_or(0);
    let new = lists(&after) - lists(&before);
    ensure!((1..=3).contains(&new), "{new} lists after 410 Gone: {before:?}, then {after:?}");
    ensure!(ground.counter("names_unknown") > counted, "unknown owners are not counted");
    let verdict = ground.settled()?;
    expect(ground, "after a compaction", |unknown| unknown > 0)?;
    Ok(verdict.unknown)
}

/// Forgets all of etcd's past.
fn compact(ground: &Ground) -> Result<()> {
    let holder = fs::read_to_string(ground.cluster.state().join("parts/control.pid"))?;
    let ask = |path: &str, body: &str| -> Result<String> {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", holder.trim(), "curl", "--silent", "--fail", "--data", body]);
        let output = command.arg(format!("http://127.0.0.1:2379/v3/{path}")).output()?;
        ensure!(output.status.success(), "etcd: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let status: serde_json::Value = serde_json::from_str(&ask("maintenance/status", "{}")?)?;
    let revision = status.pointer("/header/revision").and_then(|value| value.as_str()).context("no revision")?;
    ask("kv/compaction", &format!(r#"{{"revision": "{revision}", "physical": true}}"#)).map(drop)
}

fn a_token_expires(ground: &Ground) -> Result<()> {
    let account = ground.account();
    // A kubelet replaces a token long before its end: nothing happens.
    let errors = ground.counter("kubernetes_errors");
    replace(&ground.token, &account.token()?)?;
    ground.proxy.cut();
    ground.wait_connected(true)?;
    let with_new = ground.counter("kubernetes_errors") - errors;
    ensure!(with_new <= 2, "{with_new} errors with a token that was replaced in time");

    // This one is not replaced in time.
    let short = account.token_until_s(TOKEN_S)?;
    ensure!(account.takes(&short), "the API server does not take a token that is signed with its key");
    replace(&ground.token, &short)?;
    wait_up_to(EXPIRED_AFTER, "the token's end", || {
        std::thread::sleep(Duration::from_secs(2));
        Ok(!account.takes(&short))
    })?;
    let (attempts, began) = (ground.proxy.attempts(), Instant::now());
    ground.proxy.cut();
    ground.wait_connected(false)?;
    // What was known stays known.
    ground.wait_seen("asks", true)?;
    std::thread::sleep(Duration::from_secs(60).saturating_sub(began.elapsed()));
    let refused = ground.proxy.attempts() - attempts;
    println!("{refused} attempts with an expired token in {:?}", began.elapsed());
    ensure!(refused as f64 <= 8.0 + began.elapsed().as_secs_f64() / 30.0, "{refused} attempts with an expired token");
    replace(&ground.token, &account.token()?)?;
    ground.wait_connected(true)?;
    ground.cluster.apply(&bare_pod("token", "asks", Some("web:80"), 500))?;
    ground.wait_seen("token", true)
}

/// No name is wrong and no record is missing or doubled; the number of unknown ones is as it is to be.
fn expect(ground: &Ground, when: &str, unknown: impl Fn(usize) -> bool) -> Result<()> {
    let verdict = ground.settled()?;
    println!("{when}: {}", verdict.words());
    let complete = verdict.missing() == 0 && verdict.doubled == 0;
    ensure!(verdict.wrong.is_empty() && complete && unknown(verdict.unknown), "{when}: {}", verdict.words());
    Ok(())
}

/// The id of the oracle's program in this pod, on this machine.
fn oracle_process(ground: &Ground, pod: &str) -> Result<String> {
    let mut open = vec![ground.cluster.node_cgroup()?];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
        }
        for pid in fs::read_to_string(folder.join("cgroup.procs"))?.lines() {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let is_oracle = words.starts_with(b"/bin/oracle-pod");
            let host = || {
                Command::new("nsenter").args(["--uts", "--target", pid, "cat", "/proc/sys/kernel/hostname"]).output()
            };
            if is_oracle && String::from_utf8_lossy(&host()?.stdout).trim() == pod {
                return Ok(pid.to_owned());
            }
        }
    }
    anyhow::bail!("no process of {pod} runs")
}
