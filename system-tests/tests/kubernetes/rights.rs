//! The rights that the manifests give are those that the agent needs, no more and no less.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use headwater_system_tests::lab::{stop, wait_up_to};

use crate::account::Account;
use crate::cluster::{bare_pod, service};
use crate::ground::{Ground, PATIENCE};

#[test]
fn the_rights_of_the_manifest_suffice_and_are_minimal() -> Result<()> {
    let ground = Ground::start("rights")?;
    let mut agent = ground.agent()?;
    ground.cluster.apply(&(service("self") + &bare_pod("first", "self", Some("self:80"), 300)))?;
    ground.cluster.wait_ready("pod/first")?;
    ground.wait_seen("first", true)?;
    stop(&mut agent)?;

    let asked = ground.account().asked()?;
    for request in &asked {
        let uri = &request.uri;
        ensure!(request.resource == "pods" && ["list", "watch"].contains(&request.verb.as_str()), "{request:?}");
        ensure!(uri.contains("fieldSelector=spec.nodeName%3Dnode1"), "it asks for other nodes' pods: {uri}");
        ensure!(request.verb == "watch" || uri.contains("resourceVersion=0"), "a list from etcd: {uri}");
        ensure!(request.verb == "list" || uri.contains("allowWatchBookmarks=true"), "without bookmarks: {uri}");
    }
    let verbs: BTreeSet<_> = asked.iter().map(|request| request.verb.as_str()).collect();
    ensure!(verbs == BTreeSet::from(["list", "watch"]), "it asked {verbs:?}");

    // What an account without any rights may do is what all may.
    let (own, nobody) = (may(&ground, "headwater-agent")?, may(&ground, "default")?);
    let beyond: Vec<&str> = own.difference(&nobody).map(String::as_str).collect();
    ensure!(beyond == ["pods [] [] [list watch]"], "it may {beyond:?}");

    let needs_both = "the agent's service account needs list and watch of pods";
    for (resource, verbs) in [("pods", r#"["list"]"#), ("pods", r#"["watch"]"#), ("services", r#"["list","watch"]"#)] {
        set_rights(&ground, resource, verbs)?;
        let before = ground.account().counts()?.values().sum::<usize>();
        let mut agent = ground.spawn_agent()?;
        wait_up_to(PATIENCE, &format!("the message about {verbs} of {resource}"), || {
            let log = agent.log_text();
            Ok(log.contains(needs_both) && log.contains("is forbidden"))
        })?;
        ensure!(agent.is_running(), "the agent ended: {}", agent.log_text());
        // It is said once, and asked again with longer and longer pauses.
        let said = agent.log_text().lines().filter(|line| line.contains(needs_both)).count();
        ensure!(said == 1, "said {said} times: {}", agent.log_text());
        stop(&mut agent)?;
        let requests = ground.account().counts()?.values().sum::<usize>() - before;
        ensure!(requests <= 12, "{requests} requests with {verbs} of {resource}");
    }

    // The rights come while it runs.
    let mut agent = ground.agent()?;
    set_rights(&ground, "pods", r#"["list","watch"]"#)?;
    ground.wait_connected(true)?;
    ground.wait_seen("first", true)?;
    stop(&mut agent)
}

fn set_rights(ground: &Ground, resource: &str, verbs: &str) -> Result<()> {
    let patch = format!(r#"{{"rules":[{{"apiGroups":[""],"resources":["{resource}"],"verbs":{verbs}}}]}}"#);
    ground.cluster.kubectl(&["patch", "clusterrole", "headwater-agent", "--patch", &patch]).map(drop)
}

/// The lines of `kubectl auth can-i --list` with the account's own token, without what pads them.
fn may(ground: &Ground, account: &str) -> Result<BTreeSet<String>> {
    let cluster = &ground.cluster;
    let token = cluster.kubectl(&["create", "token", account, "--namespace=headwater"])?;
    let listed = Account::of(cluster).kubectl_with(token.trim(), &["auth", "can-i", "--list"]).context("can-i")?;
    Ok(listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
}
