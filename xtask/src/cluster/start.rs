//! `cargo xtask cluster up`, wired in one function.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::control_plane::kubectl;
use super::plan::Plan;
use super::{build, cgroups, control_plane, images, names, node, part, pki};
use crate::needs::Purpose;
use crate::setup;

const READY_WAIT: Duration = Duration::from_secs(120);

pub fn up(name: &str, nodes: u8, yes: bool) -> Result<()> {
    setup::ensure(&[Purpose::Cluster], yes)?;
    let programs = build::ensure()?;
    let start = Instant::now();
    let plan = Plan::claim(name, nodes)?;
    up_planned(&plan, &programs).with_context(|| {
        format!("the cluster did not come up; its logs are in {}/log, and `cargo xtask cluster down --name {name}` removes what there is", plan.state().display())
    })?;
    println!(
        "Cluster: {name} is up after {:.1} s; its kubectl is {}",
        start.elapsed().as_secs_f64(),
        plan.kubectl().display()
    );
    println!("export KUBECONFIG={}", plan.kubeconfig().display());
    Ok(())
}

fn up_planned(plan: &Plan, programs: &Path) -> Result<()> {
    say("keys and certificates");
    control_plane::write_kubectl(plan, programs)?;
    pki::make(plan)?;
    cgroups::make(plan)?;
    say("etcd and the API server");
    control_plane::start(plan, programs)?;
    let control = control_plane::holder(plan).context("the control plane's namespace is not recorded")?;
    for node in plan.nodes() {
        say(&node.name());
        node::start(node, control, programs)?;
    }
    say("images");
    images::load_basic(plan)?;
    names::apply(plan)?;
    say("waiting until nodes and names are ready");
    wait_until_ready(plan)
}

fn wait_until_ready(plan: &Plan) -> Result<()> {
    let parts = node::parts(plan);
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    for node in plan.nodes() {
        let jsonpath = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        let is_ready =
            || kubectl(plan, &["get", "node", &node.name(), "--output", jsonpath]).is_ok_and(|text| text == "True");
        part::wait_for(plan, &format!("{} to be ready", node.name()), &parts, READY_WAIT, is_ready)?;
    }
    let is_named = || {
        let line =
            ["get", "deployment", "coredns", "--namespace=kube-system", "--output=jsonpath={.status.readyReplicas}"];
        kubectl(plan, &line).is_ok_and(|text| text == "1")
    };
    part::wait_for(plan, "CoreDNS to be ready", &parts, READY_WAIT, is_named)?;
    // Pods cannot be made before their namespace has its account.
    let has_account = || kubectl(plan, &["get", "serviceaccount", "default"]).is_ok();
    part::wait_for(plan, "the default service account", &["kube-controller-manager"], READY_WAIT, has_account)
}

fn say(what: &str) {
    println!("Cluster: {what}");
}
