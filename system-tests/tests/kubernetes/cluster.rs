//! A cluster of a test's own, through `cargo xtask cluster`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headwater_process::program;
use headwater_system_tests::lab::wait_up_to;

const NODE: &str = "node1";
/// Where pods leave their reports, on the node.
const REPORTS: &str = "var/oracle";
const IMAGE: &str = "oracle:dev";

/// Ends with the test, however the test ends.
pub struct Cluster {
    name: String,
}

impl Cluster {
    /// Starts one of one node, which has the image of the oracle's pods.
    pub fn up(role: &str) -> Result<Cluster> {
        let cluster = Cluster { name: format!("{role}-{}", std::process::id()) };
        cluster.xtask(&["up", "--yes"])?;
        cluster.load_oracle()?;
        Ok(cluster)
    }

    pub fn xtask(&self, line: &[&str]) -> Result<String> {
        let mut command = Command::new(program("xtask")?);
        // The words behind `--` are the image's.
        let split = line.iter().position(|word| *word == "--").unwrap_or(line.len());
        command.arg("cluster").args(&line[..split]).args(["--name", &self.name]).args(&line[split..]);
        output(&mut command)
    }

    pub fn state(&self) -> PathBuf {
        Path::new("/var/lib/headwater-clusters").join(&self.name)
    }

    /// The cgroup below which the pods of the node are, in the file system.
    pub fn node_cgroup(&self) -> Result<PathBuf> {
        let script = fs::read_to_string(self.state().join("parts/node1-kubelet.sh"))?;
        let file =
            script.lines().find_map(|line| line.strip_prefix("echo $$ > ")).context("no cgroup of the kubelet")?;
        let name = format!("headwater-cluster-{}", self.name);
        let top = Path::new(file).ancestors().find(|folder| folder.ends_with(&name)).context("no cgroup")?;
        Ok(top.join(NODE))
    }

    pub fn kubectl(&self, line: &[&str]) -> Result<String> {
        output(Command::new(self.state().join("kubectl")).args(line))
    }

    pub fn apply(&self, manifest: &str) -> Result<()> {
        let path = self.state().join("test.yaml");
        fs::write(&path, manifest)?;
        self.kubectl(&["apply", "--filename", &path.to_string_lossy()]).map(drop)
    }

    pub fn is_ready(&self) -> bool {
        self.kubectl(&["get", "--raw", "/readyz"]).is_ok()
    }

    /// Starts the API server that was stopped.
    pub fn start_api(&self) -> Result<()> {
        self.xtask(&["start", "kube-apiserver"])?;
        wait_up_to(Duration::from_secs(120), "the API server", || Ok(self.is_ready()))
    }

    pub fn wait_ready(&self, what: &str) -> Result<()> {
        self.kubectl(&["wait", "--for=condition=Ready", what, "--timeout=120s"]).map(drop)
    }

    /// All that the pods wrote of requests that were answered.
    pub fn reports(&self) -> Result<Vec<String>> {
        let folder = self.state().join(NODE).join(REPORTS);
        let mut paths = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let text = fs::read_to_string(entry?.path())?;
            // A pod that was killed may have left half a line.
            paths.extend(text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned));
        }
        Ok(paths)
    }

    /// The next pod gets the lowest address that is free, so the one that was given up last, instead of one that was never used.
    pub fn forget_last_address(&self) -> Result<()> {
        let file = self.state().join(NODE).join("var/lib/cni/networks/pods/last_reserved_ip.0");
        fs::remove_file(&file).or_else(|error| if file.exists() { Err(error) } else { Ok(()) })?;
        Ok(())
    }

    fn load_oracle(&self) -> Result<()> {
        let oracle = PathBuf::from(env!("CARGO_BIN_EXE_oracle-pod"));
        let root = self.state().join("oracle-root");
        for folder in ["bin", "etc", "tmp", "proc"] {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::copy(&oracle, root.join("bin/oracle-pod"))?;
        let listed = output(Command::new("ldd").arg(&oracle))?;
        for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
            let to = root.join(library.trim_start_matches('/'));
            fs::create_dir_all(to.parent().context("no folder")?)?;
            fs::copy(library, &to).with_context(|| format!("copy {library}"))?;
        }
        self.xtask(&["image", IMAGE, &root.to_string_lossy(), "--", "/bin/oracle-pod"]).map(drop)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::env::var_os("HEADWATER_KEEP_CLUSTER").is_none() {
            let _ = self.xtask(&["down"]);
        }
    }
}

/// A pod's template, in one line of YAML: it serves on port 80 and, if there is a service, asks it all the time.
pub fn pod_spec(asks: Option<&str>, pause_ms: u32) -> String {
    let asks = asks.map_or(String::new(), |service| format!(r#", "{service}", "{pause_ms}""#));
    format!(
        r#"{{terminationGracePeriodSeconds: 0, enableServiceLinks: false, automountServiceAccountToken: false, containers: [{{name: oracle, image: "{IMAGE}", imagePullPolicy: IfNotPresent, command: [/bin/oracle-pod, "80", /reports{asks}], volumeMounts: [{{name: reports, mountPath: /reports}}]}}], volumes: [{{name: reports, hostPath: {{path: /{REPORTS}, type: DirectoryOrCreate}}}}]}}"#
    )
}

/// A pod by itself.
pub fn bare_pod(name: &str, app: &str, asks: Option<&str>, pause_ms: u32) -> String {
    let spec = pod_spec(asks, pause_ms);
    format!("---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {app}}}}}, spec: {spec}}}\n")
}

/// Pods of a Deployment, called as it is; `round` is an annotation, which when it changes replaces all of them.
pub fn deployment(name: &str, replicas: u32, asks: Option<&str>, pause_ms: u32, round: u32) -> String {
    let spec = pod_spec(asks, pause_ms);
    format!(
        "---\n{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{replicas: {replicas}, selector: {{matchLabels: {{app: {name}}}}}, \
         template: {{metadata: {{labels: {{app: {name}}}, annotations: {{round: \"{round}\"}}}}, spec: {spec}}}}}}}\n"
    )
}

/// A Service in front of all pods of this label.
pub fn service(name: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}}}\n"
    )
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{command:?}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}
