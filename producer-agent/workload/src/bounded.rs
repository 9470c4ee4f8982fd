//! A map with a bound that forgets what was not asked for in a long time.
//!
//! Two generations: when the young one is full, the old one is forgotten and the young one becomes old. What is found in the old one
//! becomes young again. So at most twice `half_max` entries, and constant time.

use std::hash::Hash;

use rustc_hash::FxHashMap;

/// See the module.
pub struct Bounded<K, V> {
    young: FxHashMap<K, V>,
    old: FxHashMap<K, V>,
    half_max: usize,
    forgotten: u64,
}

impl<K: Hash + Eq + Clone, V> Bounded<K, V> {
    pub fn new(half_max: usize) -> Bounded<K, V> {
        Bounded { young: FxHashMap::default(), old: FxHashMap::default(), half_max: half_max.max(1), forgotten: 0 }
    }

    pub fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half_max && !self.young.contains_key(&key) {
            self.forgotten += self.old.len() as u64;
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// The value, which counts as asked for.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
        self.young.get(key)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.get(key)?;
        self.young.get_mut(key)
    }

    /// All entries, in no order; none counts as asked for.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.young.iter().chain(&self.old)
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries were forgotten for the bound.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten_and_counted() {
        let mut map = Bounded::new(4);
        for i in 0..100 {
            map.insert(i, i);
            assert_eq!(map.get(&0), Some(&0));
        }
        assert!(map.len() <= 8 && map.get(&1).is_none());
        assert_eq!(map.len() as u64 + map.forgotten(), 100);
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_its_bound_nor_a_wrong_value(keys: Vec<u8>) {
            let mut map = Bounded::new(8);
            for (i, key) in keys.iter().enumerate() {
                map.insert(*key, i);
                prop_assert_eq!(map.get(key), Some(&i));
                prop_assert!(map.len() <= 16);
            }
        }
    }
}
