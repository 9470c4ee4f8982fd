//! `cargo xtask cluster`: a real Kubernetes cluster on this machine, for tests.
//!
//! In: the name of a cluster and how many nodes it has. Out: the path of a kubeconfig. The control plane and each node
//! live in network namespaces of their own, a node in mount and host-name namespaces too, and everything that is ever
//! started below them in one cgroup. So whatever they leave on a machine (routes, bridges, tables of kube-proxy, mounts
//! of pods) ends with their processes, and those end together. Bound: 16 clusters of 2 nodes a machine.

mod build;
mod cache;
mod cgroups;
mod control_plane;
mod files;
mod images;
mod names;
mod network;
mod node;
mod operators;
mod own_images;
mod part;
mod pki;
mod plan;
mod start;
mod stop;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::run;

pub use cache::root as cache_root;
pub use images::has_static_busybox;
pub use node::CNI_FOLDERS;

#[derive(Args)]
pub struct Cluster {
    /// Clusters with different names run side by side
    #[arg(long, global = true, default_value = "headwater", value_parser = plan::parse_name)]
    name: String,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build what is missing, start the cluster, and print the path of its kubeconfig
    Up {
        /// How many nodes; each has namespaces, a kubelet and a containerd of its own
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(plan::NODES_MAX)))]
        nodes: u8,
        /// Install what is missing without asking (also with CI=true)
        #[arg(long)]
        yes: bool,
    },
    /// End the cluster and remove everything of it, also after an `up` that was killed
    Down,
    /// Load an image into every node: an archive as `docker save` writes it, or a folder that becomes the root of one
    Image {
        /// For example shop:dev
        image: String,
        source: PathBuf,
        /// The words of the command that the image runs; only for a folder
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Build this repository's programs and load them, Kafka and the sample as headwater:dev, headwater-kafka:dev and headwater-sample:dev
    Images,
    /// Have the API server know the objects of KEDA, of the Prometheus operator and of Strimzi; the operators do not run
    Operators {
        /// Install what is missing without asking (also with CI=true)
        #[arg(long)]
        yes: bool,
    },
    /// End one part of the control plane or of a node, for example kube-apiserver or node1-kubelet
    Stop { part: String },
    /// Start a part again that was stopped
    Start { part: String },
}

pub fn run(cluster: Cluster) -> Result<()> {
    if !run::is_root() {
        bail!("a cluster makes namespaces and cgroups, so it needs root: run the same with sudo");
    }
    let name = &cluster.name;
    match cluster.action {
        Action::Up { nodes, yes } => start::up(name, nodes, yes),
        Action::Down => stop::down(name),
        Action::Image { image, source, command } => images::load_source(name, &image, &source, &command),
        Action::Operators { yes } => operators::define(name, yes),
        Action::Images => own_images::load(name),
        Action::Stop { part } => part::stop(&plan::Plan::load(name)?, &part),
        Action::Start { part } => part::start_again(&plan::Plan::load(name)?, &part),
    }
}
