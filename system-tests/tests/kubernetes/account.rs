//! The agent's service account with the rights that the manifests give it, tokens for it, and what it asked.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::cluster::Cluster;

const RIGHTS: &str = include_str!("../../../k8s/base/agent-rights.yaml");
const ACCOUNT: &str = "headwater-agent";

/// See the module.
pub struct Account<'a> {
    cluster: &'a Cluster,
}

/// A request as the API server's audit tells of it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub verb: String,
    pub resource: String,
    pub uri: String,
    pub code: i64,
    pub stage: String,
    /// When it came, to the second.
    pub second: String,
}

impl Asked {
    /// Each request once: a watch when it begins, all others when they were answered.
    fn counts(&self) -> bool {
        let once = if self.verb == "watch" && self.code == 200 { "ResponseStarted" } else { "ResponseComplete" };
        self.stage == once
    }
}

impl<'a> Account<'a> {
    pub fn make(cluster: &'a Cluster) -> Result<Account<'a>> {
        // The base sets the namespace of the account.
        let rights =
            RIGHTS.replace("  name: headwater-agent\n---", "  name: headwater-agent\n  namespace: headwater\n---");
        cluster.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: headwater\n---\n{rights}"))?;
        Ok(Account::of(cluster))
    }

    /// The account that was made.
    pub fn of(cluster: &'a Cluster) -> Account<'a> {
        Account { cluster }
    }

    /// A token as a kubelet asks for it.
    pub fn token(&self) -> Result<String> {
        let token = self.cluster.kubectl(&["create", "token", ACCOUNT, "--namespace=headwater", "--duration=2h"])?;
        Ok(token.trim().to_owned())
    }

    /// The same that is valid until some seconds from now. The API server gives none for less than ten minutes, so it is signed here with
    /// the server's own key.
    pub fn token_until_s(&self, seconds: u64) -> Result<String> {
        let uid = self.cluster.kubectl(&[
            "get",
            "serviceaccount",
            ACCOUNT,
            "--namespace=headwater",
            "--output=jsonpath={.metadata.uid}",
        ])?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let issuer = "https://kubernetes.default.svc";
        let claims = json!({
            "iss": issuer, "aud": [issuer], "sub": format!("system:serviceaccount:headwater:{ACCOUNT}"),
            "iat": now, "nbf": now, "exp": now + seconds,
            "kubernetes.io": {"namespace": "headwater", "serviceaccount": {"name": ACCOUNT, "uid": uid}}
        });
        // The server finds the key by itself: it has one.
        let script = r#"enc() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
            signed="$(printf '{"alg":"RS256","typ":"JWT"}' | enc).$(printf %s "$1" | enc)"
            printf '%s.%s' "$signed" "$(printf %s "$signed" | openssl dgst -sha256 -sign "$2" -binary | enc)""#;
        let key = self.cluster.state().join("pki/sa.key");
        let output = Command::new("sh").args(["-c", script, "sh", &claims.to_string()]).arg(key).output()?;
        if !output.status.success() {
            bail!("openssl: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Whether the API server takes this token.
    pub fn takes(&self, token: &str) -> bool {
        self.kubectl_with(token, &["auth", "whoami"]).is_ok()
    }

    /// kubectl as whom the token names, and nobody else.
    pub fn kubectl_with(&self, token: &str, line: &[&str]) -> Result<String> {
        let server = self.cluster.kubectl(&["config", "view", "--output=jsonpath={.clusters[0].cluster.server}"])?;
        let (server, token) = (format!("--server={server}"), format!("--token={token}"));
        let whom = ["--kubeconfig=/dev/null", "--insecure-skip-tls-verify", &server, &token];
        self.cluster.kubectl(&[&whom[..], line].concat())
    }

    /// A kubeconfig for the agent: the server at this address, the token in a file.
    pub fn kubeconfig(&self, server: &str, token: &str) -> Result<(PathBuf, PathBuf)> {
        let (config, file) = (self.cluster.state().join("agent.kubeconfig"), self.cluster.state().join("agent.token"));
        replace(&file, token)?;
        let authority = self.cluster.state().join("pki/ca.crt");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": format!("https://{server}"), "certificate-authority": authority}}],
            "users": [{"name": "u", "user": {"tokenFile": file}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]
        });
        fs::write(&config, text.to_string())?;
        Ok((config, file))
    }

    /// Everything that the account asked so far.
    pub fn asked(&self) -> Result<Vec<Asked>> {
        let text = fs::read_to_string(self.cluster.state().join("log/audit")).context("read the audit")?;
        let mut asked = Vec::new();
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).context("a line of the audit")?;
            let word = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            if word("/user/username") == format!("system:serviceaccount:headwater:{ACCOUNT}") {
                asked.push(Asked {
                    verb: word("/verb"),
                    resource: word("/objectRef/resource"),
                    uri: word("/requestURI"),
                    code: event.pointer("/responseStatus/code").and_then(Value::as_i64).unwrap_or_default(),
                    stage: word("/stage"),
                    second: word("/requestReceivedTimestamp").chars().take(19).collect(),
                });
            }
        }
        Ok(asked)
    }

    /// How many of each kind: a list when it was answered, a watch when it began.
    pub fn counts(&self) -> Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for asked in self.asked()?.iter().filter(|asked| asked.counts()) {
            *counts.entry(format!("{} {} {}", asked.verb, asked.resource, asked.code)).or_default() += 1;
        }
        Ok(counts)
    }

    /// The most requests that came within one second, leaving out the first `skipped`.
    pub fn busiest_second(&self, skipped: usize) -> Result<usize> {
        let mut counts = BTreeMap::<String, usize>::new();
        for asked in self.asked()?.into_iter().filter(Asked::counts).skip(skipped) {
            *counts.entry(asked.second).or_default() += 1;
        }
        Ok(counts.into_values().max().unwrap_or(0))
    }
}

/// Replaces a file in one step, as a kubelet does.
pub fn replace(file: &std::path::Path, text: &str) -> Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, file)?;
    Ok(())
}
