//! Holds the names in the records against those in the paths: `/SERVER/CLIENT/RUN/N` says who must have made and answered a request.

use std::collections::{BTreeMap, BTreeSet};

use headwater_schemas::records::Side;
use headwater_system_tests::topics::SeenRequest;

/// Records by what became of their name, and requests without a record.
#[derive(Debug, Default)]
pub struct Verdict {
    pub right: usize,
    pub unknown: usize,
    pub doubled: usize,
    /// Each with what it says.
    pub wrong: Vec<String>,
    pub missing_client: Vec<String>,
    pub missing_server: Vec<String>,
}

impl Verdict {
    pub fn of(requests: &[SeenRequest], reports: &[String]) -> Verdict {
        let mut verdict = Verdict::default();
        let mut seen: BTreeMap<(&str, bool), usize> = BTreeMap::new();
        for request in requests {
            let mut words = request.path.split('/').skip(1);
            // The kubelet asks the name server whether it is ready.
            let (Some(server), Some(client)) = (words.next(), words.next()) else { continue };
            let is_client = request.side == Side::Client;
            // Who answers that question is what it asks.
            if server != "who" {
                *seen.entry((&request.path, is_client)).or_default() += 1;
            } else if !is_client {
                continue;
            }
            let pod = if is_client { client } else { server };
            if !is_client && request.status == 421 {
                // The one who answers is anybody else.
                if request.pod == server {
                    verdict.wrong.push(format!("{}: refused by {}", request.path, request.pod));
                }
            } else if request.workload == "unknown" {
                verdict.unknown += 1;
            } else if request.pod == pod && is_workload_of(&request.workload, pod) && request.namespace == "default" {
                verdict.right += 1;
            } else {
                let SeenRequest { namespace, workload, pod, .. } = request;
                verdict.wrong.push(format!("{} {:?}: {namespace}/{workload} {pod}", request.path, request.side));
            }
        }
        verdict.doubled = seen.values().filter(|&&count| count > 1).count();
        for path in reports.iter().collect::<BTreeSet<_>>() {
            for (is_client, missing) in [(true, &mut verdict.missing_client), (false, &mut verdict.missing_server)] {
                if !seen.contains_key(&(path.as_str(), is_client)) {
                    missing.push(path.clone());
                }
            }
        }
        verdict
    }

    pub fn missing(&self) -> usize {
        self.missing_client.len() + self.missing_server.len()
    }

    /// The numbers in one line, and the first of what is not right.
    pub fn words(&self) -> String {
        let first = |all: &[String]| all.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        format!(
            "right {}, unknown {}, doubled {}, wrong {} ({}), missing {} of clients ({}) and {} of servers ({})",
            self.right,
            self.unknown,
            self.doubled,
            self.wrong.len(),
            first(&self.wrong),
            self.missing_client.len(),
            first(&self.missing_client),
            self.missing_server.len(),
            first(&self.missing_server),
        )
    }
}

/// A pod by itself is its own workload; one of a Deployment is called `NAME-HASH-RANDOM`.
fn is_workload_of(workload: &str, pod: &str) -> bool {
    pod == workload || pod.rsplitn(3, '-').nth(2) == Some(workload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(path: &str, side: Side, workload: &str, pod: &str) -> SeenRequest {
        SeenRequest {
            connection_id: String::new(),
            side,
            position: 0,
            method: "GET".into(),
            path: path.into(),
            status: 200,
            request_bytes: 0,
            response_bytes: 0,
            duration_ns: 0,
            completed_at_us: 0,
            failure: None,
            namespace: "default".into(),
            workload: workload.into(),
            pod: pod.into(),
            local: String::new(),
            remote: String::new(),
        }
    }

    #[test]
    fn every_kind_of_fault_is_told_apart() {
        let path = "/web-1a-x/asks/7/1";
        let right = [seen(path, Side::Client, "asks", "asks"), seen(path, Side::Server, "web", "web-1a-x")];
        let verdict = Verdict::of(&right, &[path.to_owned()]);
        assert_eq!((verdict.right, verdict.wrong.len(), verdict.missing(), verdict.doubled), (2, 0, 0, 0));

        let faulty = [
            seen(path, Side::Client, "unknown", ""),
            seen(path, Side::Server, "web", "web-1a-y"),
            seen(path, Side::Server, "web-1a", "web-1a-x"),
            seen("/who/asks", Side::Client, "other", "other"),
        ];
        let verdict = Verdict::of(&faulty, &[path.to_owned(), "/web-1a-x/asks/7/2".to_owned()]);
        assert_eq!((verdict.right, verdict.unknown, verdict.wrong.len()), (0, 1, 3));
        assert_eq!((verdict.missing(), verdict.doubled), (2, 1));
        let refused = SeenRequest { status: 421, ..seen(path, Side::Server, "web", "web-1a-x") };
        assert_eq!(Verdict::of(&[refused], &[]).wrong.len(), 1);
    }
}
