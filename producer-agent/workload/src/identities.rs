//! Who owns which address from when to when, as far as this node's agent knows.
//!
//! In: the living pods, at an interval. Out: a [`Claim`] for each address, again at each look as long as it holds, and once more when it ended.
//! Promise: a claim covers only time in which the pod was seen with the address, so that two claims of one address never overlap;
//! what lies between them is unknown. Bounded: [`ADDRESSES_MAX`]. Pure.

use std::collections::BTreeMap;

use crate::pods::Pod;

/// Addresses at a time: two for each pod of a crowded node, many times over.
pub const ADDRESSES_MAX: usize = 16 * 1024;

/// An address and its owner, from when to when. Times are microseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub address: String,
    pub pod: Pod,
    pub from_us: i64,
    pub until_us: i64,
    /// It was given up, or taken over by another pod, after `until_us`.
    pub ended: bool,
}

/// The claims that hold.
#[derive(Default)]
pub struct Identities {
    held: BTreeMap<String, Claim>,
}

impl Identities {
    /// What the claims are now.
    pub fn look<'a>(&mut self, living: impl Iterator<Item = &'a Pod>, now_us: i64) -> Vec<Claim> {
        let mut seen: BTreeMap<&str, Option<&Pod>> = BTreeMap::new();
        for pod in living {
            for address in pod.addresses.iter().take(16) {
                // Two pods with one address: one of them has lost it, and it is not known which.
                seen.entry(address).and_modify(|owner| *owner = None).or_insert(Some(pod));
            }
        }
        let mut claims = Vec::new();
        self.held.retain(|address, claim| {
            let holds = matches!(seen.get(address.as_str()), Some(Some(pod)) if pod.uid == claim.pod.uid);
            if !holds {
                claims.push(Claim { ended: true, ..claim.clone() });
            }
            holds
        });
        for (address, pod) in seen {
            let Some(pod) = pod else { continue };
            if self.held.len() >= ADDRESSES_MAX && !self.held.contains_key(address) {
                continue;
            }
            let claim = self.held.entry(address.to_owned()).or_insert_with(|| Claim {
                address: address.to_owned(),
                pod: pod.clone(),
                from_us: now_us,
                until_us: now_us,
                ended: false,
            });
            // The clock may be set back: a claim never shrinks.
            claim.until_us = claim.until_us.max(now_us);
            // Unlike owner and name, labels change while a pod lives.
            claim.pod.labels.clone_from(&pod.labels);
            claims.push(claim.clone());
        }
        claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pod(uid: &str, addresses: &[&str]) -> Pod {
        let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        Pod { uid: uid.into(), name: uid.into(), addresses, ..Pod::default() }
    }

    fn words(claims: &[Claim]) -> Vec<String> {
        let word = |claim: &Claim| {
            let end = if claim.ended { " ended" } else { "" };
            format!("{} {} {}-{}{end}", claim.address, claim.pod.uid, claim.from_us, claim.until_us)
        };
        claims.iter().map(word).collect()
    }

    #[test]
    fn a_claim_grows_until_its_pod_is_gone_and_covers_no_time_of_another() {
        let mut identities = Identities::default();
        let (a, b) = (pod("a", &["10.0.0.7"]), pod("b", &["10.0.0.7"]));
        assert_eq!(words(&identities.look([&a].into_iter(), 10)), ["10.0.0.7 a 10-10"]);
        assert_eq!(words(&identities.look([&a].into_iter(), 20)), ["10.0.0.7 a 10-20"]);
        // The new pod has the address before the old one is known to be gone.
        assert_eq!(words(&identities.look([&a, &b].into_iter(), 30)), ["10.0.0.7 a 10-20 ended"]);
        assert_eq!(words(&identities.look([&b].into_iter(), 40)), ["10.0.0.7 b 40-40"]);
        assert_eq!(words(&identities.look([].into_iter(), 50)), ["10.0.0.7 b 40-40 ended"]);
        assert!(identities.look([].into_iter(), 60).is_empty());
    }

    #[test]
    fn a_label_that_changes_is_told_anew() {
        let mut identities = Identities::default();
        let labelled = |version: &str| Pod {
            labels: BTreeMap::from([("version".to_owned(), version.to_owned())]),
            ..pod("a", &["10.0.0.7"])
        };
        let (old, new) = (labelled("1"), labelled("2"));
        assert_eq!(identities.look([&old].into_iter(), 10)[0].pod.labels, old.labels);
        let claims = identities.look([&new].into_iter(), 20);
        assert_eq!((words(&claims), &claims[0].pod.labels), (vec!["10.0.0.7 a 10-20".to_owned()], &new.labels));
    }

    proptest! {
        /// Addresses are used again by other pods at any time: no two claims of one address overlap.
        #[test]
        fn claims_of_one_address_never_overlap(looks in prop::collection::vec(prop::collection::vec(0..3_usize, 0..3), 1..40)) {
            let pods = [pod("a", &["x"]), pod("b", &["x", "y"]), pod("c", &["y"])];
            let mut identities = Identities::default();
            let mut ranges: BTreeMap<(String, String, i64), i64> = BTreeMap::new();
            for (now, look) in looks.iter().enumerate() {
                for claim in identities.look(look.iter().map(|i| &pods[*i]), now as i64) {
                    ranges.insert((claim.address, claim.pod.uid, claim.from_us), claim.until_us);
                }
            }
            let all: Vec<_> = ranges.iter().collect();
            for (i, ((address, _, from), until)) in all.iter().enumerate() {
                for ((other, _, other_from), other_until) in &all[i + 1..] {
                    prop_assert!(address != other || *until < other_from || *other_until < from);
                }
            }
        }
    }
}
