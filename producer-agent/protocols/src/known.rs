//! What the connections of one workload have told each other: names that stand for the same on each of them.
//!
//! In: an id with its name, where a connection learns it. Out: the name, on any connection that shares this. Only ids that nobody gives twice may stand
//! here, so that a name that is known is never wrong: topics of Kafka have a UUID, also one that is made anew under the same name, and ids of Cassandra's
//! statements are checksums of them.
//!
//! Bound: twice [`NAMES_HALF_MAX`] names; those that were not asked for in the longest time are forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Half of the names that are kept.
const NAMES_HALF_MAX: usize = 128;

/// What has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Id {
    /// A topic of Kafka.
    Topic([u8; 16]),
    /// A prepared statement of Cassandra.
    Statement([u8; 16]),
}

/// Names that several connections share; by default, one that shares nothing.
#[derive(Clone, Debug, Default)]
pub struct Known(Option<Arc<Mutex<Names>>>);

impl Known {
    /// Nothing is known yet, and whoever has a clone of this learns it.
    pub fn shared() -> Self {
        Self(Some(Arc::default()))
    }

    pub(crate) fn learn(&self, id: Id, name: &str) {
        self.with(|names| names.insert(id, name));
    }

    pub(crate) fn get(&self, id: Id) -> Option<Arc<str>> {
        self.with(|names| names.get(id))?
    }

    /// What is allocated for all that share it.
    pub fn heap_bytes(&self) -> usize {
        self.with(|names| names.heap_bytes()).unwrap_or_default()
    }

    fn with<T>(&self, use_names: impl FnOnce(&mut Names) -> T) -> Option<T> {
        // What panicked has left whole names.
        Some(use_names(&mut self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Two generations: when the young one is full, the old one is forgotten and the young one becomes old.
#[derive(Debug, Default)]
struct Names {
    young: HashMap<Id, Arc<str>>,
    old: HashMap<Id, Arc<str>>,
}

impl Names {
    fn insert(&mut self, id: Id, name: &str) {
        if self.get(id).is_none_or(|known| *known != *name) {
            self.put(id, name.into());
        }
    }

    fn get(&mut self, id: Id) -> Option<Arc<str>> {
        if let Some(name) = self.old.remove(&id) {
            self.put(id, name);
        }
        self.young.get(&id).cloned()
    }

    fn put(&mut self, id: Id, name: Arc<str>) {
        if self.young.len() >= NAMES_HALF_MAX && !self.young.contains_key(&id) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, name);
    }

    fn heap_bytes(&self) -> usize {
        let names = self.young.values().chain(self.old.values());
        let text: usize = names.map(|name| name.len() + 2 * size_of::<usize>()).sum();
        (self.young.capacity() + self.old.capacity()) * (size_of::<(Id, Arc<str>)>() + 1) + text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_learns_the_others_know_and_nobody_else() {
        let (known, nothing) = (Known::shared(), Known::default());
        known.clone().learn(Id::Topic([1; 16]), "orders");
        assert_eq!(known.get(Id::Topic([1; 16])).as_deref(), Some("orders"));
        assert_eq!(known.get(Id::Statement([1; 16])), None);
        assert_eq!(Known::shared().get(Id::Topic([1; 16])), None);
        nothing.learn(Id::Topic([1; 16]), "orders");
        assert_eq!((nothing.get(Id::Topic([1; 16])), nothing.heap_bytes()), (None, 0));
    }

    #[test]
    fn what_is_kept_has_a_bound_and_what_is_asked_for_stays() {
        let known = Known::shared();
        let id = |number: u128| Id::Topic(number.to_be_bytes());
        for number in 0..100 * NAMES_HALF_MAX as u128 {
            known.learn(id(number), &"x".repeat(249));
            assert!(known.get(id(0)).is_some());
        }
        assert!(known.heap_bytes() < 2 * NAMES_HALF_MAX * 400, "{}", known.heap_bytes());
        assert_eq!(known.get(id(1)), None);
    }
}
