//! What workloads are called in a table: namespace and name, and as much more as tells them apart.

use std::collections::{BTreeMap, BTreeSet};

use headwater_schemas::records::Workload;

/// The names of some workloads, as a table shows them.
pub struct Names {
    has_clusters: bool,
    /// Namespaces and names that workloads of several kinds have.
    ambiguous: BTreeSet<String>,
}

impl Names {
    pub fn of<'a>(workloads: impl Iterator<Item = &'a Workload>) -> Names {
        let mut clusters = BTreeSet::new();
        let mut kinds: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
        for workload in workloads {
            if !workload.namespace.is_empty() {
                clusters.insert(&workload.cluster);
            }
            kinds.entry((&workload.cluster, workload.to_string())).or_default().insert(&workload.kind);
        }
        let ambiguous = kinds.into_iter().filter(|(_, kinds)| kinds.len() > 1).map(|((_, name), _)| name).collect();
        Names { has_clusters: clusters.len() > 1, ambiguous }
    }

    pub fn text(&self, workload: &Workload) -> String {
        let mut text = workload.to_string();
        if self.ambiguous.contains(&text) {
            text = format!("{text} ({})", workload.kind);
        }
        if self.has_clusters && !workload.namespace.is_empty() {
            text = format!("{}/{text}", workload.cluster);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(cluster: &str, namespace: &str, kind: &str) -> Workload {
        let [cluster, namespace, kind] = [cluster, namespace, kind].map(str::to_owned);
        Workload { cluster, namespace, kind, name: "web".to_owned() }
    }

    fn texts(workloads: &[Workload]) -> Vec<String> {
        let names = Names::of(workloads.iter());
        workloads.iter().map(|workload| names.text(workload)).collect()
    }

    #[test]
    fn different_workloads_are_never_called_the_same() {
        let (here, there) = (pod("a", "shop", "Deployment"), pod("a", "blog", "Deployment"));
        let plain = Workload::local("unit", "web");
        assert_eq!(texts(&[here.clone(), there, plain]), ["shop/web", "blog/web", "web"]);
        assert_eq!(
            texts(&[here.clone(), pod("a", "shop", "CronJob")]),
            ["shop/web (Deployment)", "shop/web (CronJob)"]
        );
        assert_eq!(texts(&[here, pod("b", "shop", "Deployment")]), ["a/shop/web", "b/shop/web"]);
    }
}
