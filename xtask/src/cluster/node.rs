//! One node: containerd, kubelet and kube-proxy in network, mount and host-name namespaces of their own.
//!
//! A node has its own /var and /run, so that everything is where it is on a real node and nothing of it is on the
//! machine: its containerd knows nothing of another one that runs here. Settings of the kernel that hold for the whole
//! machine are read-only within; those of the network are the node's own. Processes are the machine's: a node has no
//! process namespace, as a real one has none.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::images::SANDBOX;
use super::network::{self, ORPHAN_RETRIES};
use super::part::{self, Part};
use super::plan::{Node, Plan};
use super::{cgroups, files};

const NAMESPACES: &[&str] = &["--net", "--mount", "--uts"];
const READY_WAIT: Duration = Duration::from_secs(60);
/// Where the node's own files are, seen from within.
const FILES: &str = "/var/lib/headwater";
const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// Debian's folder, and the one that most others use.
pub const CNI_FOLDERS: &[&str] = &["/usr/lib/cni", "/opt/cni/bin"];
/// Settings of the whole machine with the values that the kubelet insists on. It is shown these, so that it sets none.
const KUBELET_SETTINGS: [(&str, u32); 6] = [
    ("kernel/keys/root_maxbytes", 25_000_000),
    ("kernel/keys/root_maxkeys", 1_000_000),
    ("kernel/panic", 10),
    ("kernel/panic_on_oops", 1),
    ("vm/overcommit_memory", 1),
    ("vm/panic_on_oom", 0),
];

/// Starts the node's parts; returns before the node is ready, which needs the sandbox's image.
pub fn start(node: Node<'_>, control: u32, programs: &Path) -> Result<()> {
    let (plan, name) = (node.plan, node.name());
    write_files(node, programs)?;
    let holder_name = format!("{name}-namespaces");
    let cgroup = cgroups::of_node_system(plan, &name)?;
    let unshare = ["unshare", "--net", "--mount", "--uts", "--propagation=private", "sh"].map(str::to_owned);
    let script = plan.state().join(&name).join("namespaces.sh").to_string_lossy().into_owned();
    let line = unshare.into_iter().chain([script]).collect();
    let holder = part::start(plan, &Part { name: holder_name.clone(), cgroup: cgroup.clone(), within: None, line })?;
    let is_made = || nsenter(holder).args(["test", "-e", "/run/is-made"]).output().is_ok_and(|o| o.status.success());
    part::wait_for(plan, "the namespaces of a node", &[&holder_name], READY_WAIT, is_made)?;
    network::join_node(node, control, holder)?;

    let start = |part: &str, line: &[String]| {
        let within = Some((holder, NAMESPACES));
        let part = Part { name: format!("{name}-{part}"), cgroup: cgroup.clone(), within, line: line.to_vec() };
        part::start(plan, &part)
    };
    start("containerd", &["containerd".to_owned(), "--config".to_owned(), format!("{FILES}/containerd.toml")])?;
    let answers = || {
        within(node).is_ok_and(|mut command| {
            command
                .args(["ctr", "--address", CONTAINERD, "version"])
                .output()
                .is_ok_and(|output| output.status.success())
        })
    };
    part::wait_for(plan, "containerd", &[&format!("{name}-containerd")], READY_WAIT, answers)?;
    start("kubelet", &kubelet_line(node))?;
    start("kube-proxy", &proxy_line(node))?;
    Ok(())
}

/// A command that runs in the node's namespaces.
pub fn within(node: Node<'_>) -> Result<Command> {
    let holder = part::pid_of(node.plan, &format!("{}-namespaces", node.name()));
    let holder = holder.with_context(|| format!("{} has not been started", node.name()))?;
    Ok(nsenter(holder))
}

/// The same for its containerd, in the namespace that the kubelet uses.
pub fn ctr(node: Node<'_>) -> Result<Command> {
    let mut command = within(node)?;
    command.args(["ctr", "--address", CONTAINERD, "--namespace", "k8s.io"]);
    Ok(command)
}

fn nsenter(holder: u32) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &holder.to_string()]).args(NAMESPACES).arg("--");
    command
}

fn write_files(node: Node<'_>, programs: &Path) -> Result<()> {
    let (plan, var, name) = (node.plan, node.var(), node.name());
    for folder in ["lib/headwater/bin", "lib/headwater/cni", "log", "tmp", "cache"] {
        files::make_folder(&var.join(folder))?;
    }
    symlink("/run", var.join("run")).with_context(|| format!("link {}/run", var.display()))?;
    let own = |file: &str| var.join("lib/headwater").join(file);
    let copy = |from: PathBuf, to: &str| {
        fs::copy(&from, own(to)).map(drop).with_context(|| format!("copy {} to {}", from.display(), own(to).display()))
    };
    copy(plan.state().join("pki/ca.crt"), "ca.crt")?;
    copy(plan.state().join(format!("{name}.kubeconfig")), "kubelet.kubeconfig")?;
    copy(plan.state().join("proxy.kubeconfig"), "kube-proxy.kubeconfig")?;
    files::write(&own("resolv.conf"), "# Pods that use the node's own names see none.\n")?;
    files::write(&own("containerd.toml"), &containerd_settings())?;
    files::write(&own("kubelet.yaml"), &kubelet_settings(node))?;
    files::write(&own("cni/10-pods.conflist"), &pod_network(node))?;
    files::write(&plan.state().join(&name).join("namespaces.sh"), &namespaces_script(node, programs))
}

/// Runs once inside the fresh namespaces, then holds them.
fn namespaces_script(node: Node<'_>, programs: &Path) -> String {
    let (name, var) = (node.name(), node.var());
    let (var, programs) = (var.display(), programs.display());
    let settings = KUBELET_SETTINGS.map(|(setting, value)| {
        let file = format!("/run/settings/{}", setting.replace('/', "."));
        format!("echo {value} > {file}; mount --bind {file} /proc/sys/{setting}")
    });
    let settings = settings.join("\n");
    format!(
        "set -eu
hostname {name}
mount --bind '{programs}' {var}/lib/headwater/bin
mount --rbind {var} /var
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,rw /proc/sys/net
mkdir /run/settings
{settings}
# Volumes of pods propagate within the node, and not to the machine.
mount --make-rshared /
echo 1 > /proc/sys/net/ipv4/ip_forward
echo {ORPHAN_RETRIES} > /proc/sys/net/ipv4/tcp_orphan_retries
touch /run/is-made
exec sleep infinity
"
    )
}

/// Every path that containerd would choose on its own is either the node's or set here.
fn containerd_settings() -> String {
    let cni = CNI_FOLDERS.iter().find(|folder| Path::new(folder).join("ptp").exists()).unwrap_or(&CNI_FOLDERS[0]);
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{SANDBOX}"
  # Without CAP_SYS_RESOURCE scores can only be raised.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{FILES}/cni"
"#
    )
}

/// Point to point, so that traffic between two pods of a node passes through its routing, where services are translated.
fn pod_network(node: Node<'_>) -> String {
    let pods = node.pods();
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {{"type": "ptp", "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{pods}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
]}}
"#
    )
}

/// KubeletInUserNamespace makes it go on where a setting of the kernel is refused.
fn kubelet_settings(node: Node<'_>) -> String {
    let (cgroup, names) = (node.cgroup(), node.plan.name_service());
    format!(
        "kind: KubeletConfiguration
apiVersion: kubelet.config.k8s.io/v1beta1
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {FILES}/ca.crt}}}}
authorization: {{mode: Webhook}}
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
clusterDNS: [{names}]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://{CONTAINERD}
enforceNodeAllocatable: []
evictionHard: {{imagefs.available: \"1%\", nodefs.available: \"1%\", memory.available: \"50Mi\"}}
failSwapOn: false
featureGates: {{KubeletInUserNamespace: true}}
# No registry could bring an image back.
imageGCHighThresholdPercent: 100
localStorageCapacityIsolation: false
resolvConf: {FILES}/resolv.conf
volumePluginDir: /var/lib/kubelet/volume-plugins
"
    )
}

fn kubelet_line(node: Node<'_>) -> Vec<String> {
    vec![
        format!("{FILES}/bin/kubelet"),
        format!("--config={FILES}/kubelet.yaml"),
        format!("--kubeconfig={FILES}/kubelet.kubeconfig"),
        format!("--hostname-override={}", node.name()),
        format!("--node-ip={}", node.address()),
    ]
}

/// Its limits of connection tracking hold for the whole machine, so they stay as they are.
fn proxy_line(node: Node<'_>) -> Vec<String> {
    vec![
        format!("{FILES}/bin/kube-proxy"),
        format!("--kubeconfig={FILES}/kube-proxy.kubeconfig"),
        format!("--cluster-cidr={}", node.plan.all_pods()),
        format!("--hostname-override={}", node.name()),
        "--proxy-mode=nftables".to_owned(),
        "--conntrack-max-per-core=0".to_owned(),
        "--conntrack-tcp-timeout-established=0s".to_owned(),
        "--conntrack-tcp-timeout-close-wait=0s".to_owned(),
    ]
}

/// Every part of the plan's nodes, as [`part::is_running`] knows them.
pub fn parts(plan: &Plan) -> Vec<String> {
    let names = ["namespaces", "containerd", "kubelet", "kube-proxy"];
    plan.nodes().flat_map(|node| names.map(|name| format!("{}-{name}", node.name()))).collect()
}
