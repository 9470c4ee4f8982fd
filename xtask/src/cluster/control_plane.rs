//! etcd, the API server, the controllers and the scheduler, in a network namespace of their own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::network::ORPHAN_RETRIES;
use super::part::{self, Part};
use super::plan::Plan;
use super::{cgroups, files, network};

const NETWORK: &[&str] = &["--net"];
const HOLDER: &str = "control";
/// What the agent and the processors ask of the API is in the file `log/audit`, one line a request, so that a test can count it. What a
/// kubelet or a controller asks is not.
const AUDIT_POLICY: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, userGroups: ["system:serviceaccounts:headwater"]}
  - {level: None}
"#;
const READY_WAIT: Duration = Duration::from_secs(120);

/// Starts all of it and waits until the API answers.
pub fn start(plan: &Plan, programs: &Path) -> Result<()> {
    let cgroup = cgroups::of_control(plan)?;
    let script = format!("echo {ORPHAN_RETRIES} > /proc/sys/net/ipv4/tcp_orphan_retries; exec sleep infinity");
    let holder = part::start(
        plan,
        &Part {
            name: HOLDER.to_owned(),
            cgroup: cgroup.clone(),
            within: None,
            line: ["unshare", "--net", "sh", "-c", &script].map(str::to_owned).to_vec(),
        },
    )?;
    part::wait_for(plan, "a network namespace", &[HOLDER], READY_WAIT, || {
        namespace_of(holder).is_some_and(|namespace| Some(namespace) != namespace_of(std::process::id()))
    })?;
    network::join_control(plan, holder)?;
    let start = |name: &str, line: Vec<String>| {
        let within = Some((holder, NETWORK));
        part::start(plan, &Part { name: name.to_owned(), cgroup: cgroup.clone(), within, line })
    };
    files::write(&plan.state().join("audit.yaml"), AUDIT_POLICY)?;
    start("etcd", etcd(plan))?;
    start("kube-apiserver", api_server(plan, programs))?;
    let parts = ["etcd", "kube-apiserver"];
    part::wait_for(plan, "an API server that is ready", &parts, READY_WAIT, || {
        kubectl(plan, &["get", "--raw", "/readyz"]).is_ok()
    })?;
    start("kube-controller-manager", controllers(plan, programs))?;
    start("kube-scheduler", scheduler(plan, programs))?;
    Ok(())
}

/// The process that holds the control plane's network namespace.
pub fn holder(plan: &Plan) -> Option<u32> {
    part::pid_of(plan, HOLDER)
}

pub fn kubectl(plan: &Plan, line: &[&str]) -> Result<String> {
    files::output_of(Command::new(plan.kubectl()).args(line))
}

/// One that speaks to this cluster, and keeps what it learns of it with the cluster instead of in a home folder.
pub fn write_kubectl(plan: &Plan, programs: &Path) -> Result<()> {
    let (state, kubeconfig) = (plan.state(), plan.kubeconfig());
    let script = format!(
        "#!/bin/sh\nKUBECONFIG={} exec {} --cache-dir={}/kubectl-cache \"$@\"\n",
        kubeconfig.display(),
        part::quote(&programs.join("kubectl").to_string_lossy()),
        state.display()
    );
    files::write(&plan.kubectl(), &script)?;
    let executable = Permissions::from_mode(0o755);
    fs::set_permissions(plan.kubectl(), executable)
        .with_context(|| format!("make {} executable", plan.kubectl().display()))
}

fn namespace_of(pid: u32) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

/// Bound to the namespace's own loopback, which nobody else reaches.
fn etcd(plan: &Plan) -> Vec<String> {
    let data = plan.state().join("etcd");
    line(
        Path::new("etcd"),
        &[
            "--name=control --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=control=http://127.0.0.1:2380",
            &format!("--data-dir={}", data.display()),
        ],
    )
}

fn api_server(plan: &Plan, programs: &Path) -> Vec<String> {
    let pki = plan.state().join("pki");
    let (pki, state) = (pki.display(), plan.state());
    let (address, services) = (plan.control_address(), plan.services());
    line(
        &programs.join("kube-apiserver"),
        &[
            "--etcd-servers=http://127.0.0.1:2379 --secure-port=6443",
            &format!("--advertise-address={address} --service-cluster-ip-range={services}"),
            &format!(
                "--tls-cert-file={pki}/api.crt --tls-private-key-file={pki}/api.key --client-ca-file={pki}/ca.crt"
            ),
            &format!("--service-account-key-file={pki}/sa.pub --service-account-signing-key-file={pki}/sa.key"),
            "--service-account-issuer=https://kubernetes.default.svc --authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction --allow-privileged=true",
            &format!("--token-auth-file={pki}/tokens.csv --kubelet-preferred-address-types=InternalIP"),
            &format!("--audit-policy-file={0}/audit.yaml --audit-log-path={0}/log/audit", state.display()),
            &format!(
                "--kubelet-client-certificate={pki}/kubelet-client.crt --kubelet-client-key={pki}/kubelet-client.key"
            ),
        ],
    )
}

fn controllers(plan: &Plan, programs: &Path) -> Vec<String> {
    let state = plan.state();
    let (state, pods) = (state.display(), plan.all_pods());
    line(
        &programs.join("kube-controller-manager"),
        &[
            &as_user(plan, "controller-manager"),
            &format!("--service-account-private-key-file={state}/pki/sa.key --root-ca-file={state}/pki/ca.crt"),
            // The plan says which pods a node has, not a controller.
            &format!(
                "--cluster-cidr={pods} --allocate-node-cidrs=false --use-service-account-credentials --leader-elect=false"
            ),
            "--bind-address=127.0.0.1",
        ],
    )
}

fn scheduler(plan: &Plan, programs: &Path) -> Vec<String> {
    line(
        &programs.join("kube-scheduler"),
        &[&as_user(plan, "scheduler"), "--leader-elect=false --bind-address=127.0.0.1"],
    )
}

fn as_user(plan: &Plan, user: &str) -> String {
    let file = plan.state().join(format!("{user}.kubeconfig"));
    let file = file.display();
    format!("--kubeconfig={file} --authentication-kubeconfig={file} --authorization-kubeconfig={file}")
}

/// The arguments hold no space within a word: they are made of addresses and of paths below the state folder.
fn line(program: &Path, arguments: &[&str]) -> Vec<String> {
    let arguments = arguments.iter().flat_map(|line| line.split(' ')).map(str::to_owned);
    std::iter::once(program.to_string_lossy().into_owned()).chain(arguments).collect()
}
