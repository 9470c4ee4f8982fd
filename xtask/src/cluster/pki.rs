//! Keys, certificates, tokens and kubeconfigs of one cluster. They live for 30 days and end with its state folder.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::files;
use super::plan::Plan;

const DAYS: &str = "30";

/// Who talks to the API server: file name, user, groups.
fn users(plan: &Plan) -> Vec<(String, String, &'static str)> {
    let mut users: Vec<(String, String, &str)> = [
        ("admin", "admin", "system:masters"),
        ("controller-manager", "system:kube-controller-manager", ""),
        ("scheduler", "system:kube-scheduler", ""),
        ("proxy", "system:kube-proxy", ""),
    ]
    .map(|(file, user, groups)| (file.to_owned(), user.to_owned(), groups))
    .to_vec();
    users.extend(plan.nodes().map(|node| (node.name(), format!("system:node:{}", node.name()), "system:nodes")));
    users
}

pub fn make(plan: &Plan) -> Result<()> {
    let folder = plan.state().join("pki");
    files::make_folder(&folder)?;
    let openssl = |line: &str| {
        // A certificate's subject is one word here, so splitting at spaces is safe.
        files::output_of(Command::new("openssl").current_dir(&folder).args(line.split(' ')))
    };
    openssl(&format!(
        "req -x509 -newkey rsa:2048 -nodes -days {DAYS} -subj /CN=headwater-cluster -keyout ca.key -out ca.crt"
    ))?;
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let names = names.map(|name| format!("DNS:{name}"));
    let addresses = ["127.0.0.1".to_owned(), plan.control_address(), plan.api_service()].map(|ip| format!("IP:{ip}"));
    let alternatives = [names.as_slice(), addresses.as_slice()].concat().join(",");
    let certificates = [
        ("api", "/CN=kube-apiserver", format!("subjectAltName={alternatives}")),
        ("kubelet-client", "/O=system:masters/CN=api-to-kubelet", "extendedKeyUsage=clientAuth".to_owned()),
    ];
    for (name, subject, extension) in certificates {
        files::write(&folder.join(format!("{name}.ext")), &extension)?;
        openssl(&format!("req -newkey rsa:2048 -nodes -subj {subject} -keyout {name}.key -out {name}.csr"))?;
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days {DAYS} -extfile {name}.ext -out {name}.crt"
        ))?;
    }
    openssl("genrsa -out sa.key 2048")?;
    openssl("rsa -in sa.key -pubout -out sa.pub")?;

    let mut table = String::new();
    for (file, user, groups) in users(plan) {
        let token = openssl("rand -hex 16")?.trim().to_owned();
        table.push_str(&format!("{token},{user},{file},\"{groups}\"\n"));
        files::write_private(&plan.state().join(format!("{file}.kubeconfig")), &kubeconfig(plan, &token)?)?;
    }
    files::write_private(&folder.join("tokens.csv"), &table)
}

/// Carries the authority's certificate with it, so that it can be read from within a node as well.
fn kubeconfig(plan: &Plan, token: &str) -> Result<String> {
    let authority = base64(&plan.state().join("pki/ca.crt"))?;
    let (server, name) = (plan.api_url(), &plan.name);
    Ok(format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: {name}, cluster: {{server: \"{server}\", certificate-authority-data: {authority}}}}}]
users: [{{name: {name}, user: {{token: {token}}}}}]
contexts: [{{name: {name}, context: {{cluster: {name}, user: {name}}}}}]
current-context: {name}
"
    ))
}

fn base64(file: &Path) -> Result<String> {
    let text = files::output_of(Command::new("base64").arg("--wrap=0").arg(file));
    Ok(text.with_context(|| format!("encode {}", file.display()))?.trim().to_owned())
}
