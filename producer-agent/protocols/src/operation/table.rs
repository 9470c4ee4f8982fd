//! Which names of operations are published: a table for each service, so that no service uses up the names of another.
//!
//! Promises: a service has no more than [`Bounds::names_max`] names at a time. A name that is in use stays. Names that were never asked for
//! with success (what a scanner tries) take a quarter of the table and make room for any that was. Once the table is full, a name comes
//! in for one that has not been used for [`IDLE_NS`], the one of longest ago: so a minute sees twice the bound at most. All tables
//! together hold no more than [`Bounds::bytes_max`]; past that the largest one gives up names, and takes none itself.

use std::collections::HashMap;
use std::hash::Hash;

use super::{Asked, OTHER, Operation, template};

/// A name that was not used for so long makes room.
pub const IDLE_NS: u64 = 60_000_000_000;

/// What a name takes beside its letters: the entry of the map and the allocation.
const ENTRY_BYTES: usize = 64;

/// What a method takes with the space behind it; a longer one makes the name longer.
const METHOD_BYTES: usize = 16;

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Names of one service.
    pub names_max: usize,
    /// Services; past that the one that was asked longest ago is forgotten.
    pub tables_max: usize,
    /// Bytes of all names together.
    pub bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { names_max: 1000, tables_max: 256, bytes_max: 8 << 20 }
    }
}

/// How it went so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Names that are known now.
    pub known: u64,
    /// How often a name was not taken, and [`OTHER`] stood for it.
    pub other: u64,
    /// Names that made room, those of forgotten services included.
    pub evicted: u64,
}

/// The operations of all services, each named by a key.
#[derive(Debug)]
pub struct Operations<K> {
    bounds: Bounds,
    tables: HashMap<K, Table>,
    bytes: usize,
    counts: Counts,
    /// The name that is being looked up; kept for its room.
    name: String,
}

#[derive(Debug, Default)]
struct Table {
    names: HashMap<Box<str>, Use>,
    /// Of these, the ones that were never asked for with success.
    failed: usize,
    bytes: usize,
    used_ns: u64,
    /// No name is idle before: of all, and of those that were never asked for with success.
    idle_from_ns: [u64; 2],
}

#[derive(Debug)]
struct Use {
    used_ns: u64,
    has_succeeded: bool,
}

impl<K: Hash + Eq + Clone> Operations<K> {
    pub fn new(bounds: Bounds) -> Self {
        let name = String::with_capacity(METHOD_BYTES + template::TEMPLATE_BYTES_MAX);
        Self { bounds, tables: HashMap::new(), bytes: 0, counts: Counts::default(), name }
    }

    /// The operation that a request to the service of this key stands for.
    pub fn of(&mut self, key: &K, asked: &Asked<'_>) -> Operation<'_> {
        self.name.clear();
        self.name.push_str(asked.method);
        // Some protocols have no paths, and to some all methods are one.
        if !asked.method.is_empty() && !asked.path.is_empty() {
            self.name.push(' ');
        }
        let path_at = self.name.len();
        if !asked.path.is_empty() {
            template::push(&mut self.name, template::without_query(asked.path));
        }
        let path_end = self.name.len();
        if !asked.named.is_empty() {
            self.name.push(' ');
            self.name.push_str(asked.named);
        }
        let is_taken = self.admit(key, asked.succeeded, asked.at_ns);
        self.counts.other += u64::from(!is_taken);
        let name = if is_taken { &self.name } else { OTHER };
        Operation { name, path: &self.name[path_at..path_end] }
    }

    pub fn counts(&self) -> Counts {
        let known = self.tables.values().map(|table| table.names.len() as u64).sum();
        Counts { known, ..self.counts }
    }

    /// Whether the name is one of the known ones, or becomes one.
    fn admit(&mut self, key: &K, succeeded: bool, at_ns: u64) -> bool {
        if !self.tables.contains_key(key) {
            self.forget_a_service();
            self.tables.insert(key.clone(), Table::default());
        }
        // It was put there if it was not there.
        let Some(table) = self.tables.get_mut(key) else { return false };
        table.used_ns = at_ns;
        if table.touch(&self.name, succeeded, at_ns) {
            return true;
        }
        let bytes_before = table.bytes;
        let has_room = table.make_room(succeeded, self.bounds.names_max, at_ns, &mut self.counts.evicted);
        self.bytes -= bytes_before - table.bytes;
        if !has_room || !self.make_room_among_all(key, self.name.len() + ENTRY_BYTES) {
            return false;
        }
        let Some(table) = self.tables.get_mut(key) else { return false };
        self.bytes += table.insert(&self.name, succeeded, at_ns);
        true
    }

    /// Makes room for one more table.
    fn forget_a_service(&mut self) {
        if self.tables.len() < self.bounds.tables_max {
            return;
        }
        let oldest = self.tables.iter().min_by_key(|(_, table)| table.used_ns).map(|(key, _)| key.clone());
        if let Some(table) = oldest.and_then(|key| self.tables.remove(&key)) {
            self.bytes -= table.bytes;
            self.counts.evicted += table.names.len() as u64;
        }
    }

    /// Makes room for a name of this service. Says whether there is any.
    fn make_room_among_all(&mut self, key: &K, needed_bytes: usize) -> bool {
        while self.bytes + needed_bytes > self.bounds.bytes_max {
            let largest = self.tables.iter_mut().max_by_key(|(_, table)| table.bytes);
            let Some((_, table)) = largest.filter(|(largest, table)| *largest != key && table.bytes > 0) else {
                return false;
            };
            self.bytes -= table.evict(|_| true);
            self.counts.evicted += 1;
        }
        true
    }
}

impl Table {
    /// Notes that a name is used. Says whether it is known.
    fn touch(&mut self, name: &str, succeeded: bool, at_ns: u64) -> bool {
        let Some(used) = self.names.get_mut(name) else { return false };
        used.used_ns = at_ns;
        if succeeded && !used.has_succeeded {
            used.has_succeeded = true;
            self.failed -= 1;
        }
        true
    }

    /// Makes room for a new name. Says whether there is any.
    fn make_room(&mut self, succeeded: bool, names_max: usize, at_ns: u64, evicted: &mut u64) -> bool {
        let failed_are_full = !succeeded && self.failed >= (names_max / 4).max(1);
        if !failed_are_full && self.names.len() < names_max {
            return true;
        }
        // Whatever has never succeeded goes for what does. Everything else only goes if it is idle.
        let goes_at_once = succeeded && self.failed > 0;
        let among = usize::from(failed_are_full);
        if !goes_at_once && at_ns < self.idle_from_ns[among] {
            return false;
        }
        let only_failed = goes_at_once || failed_are_full;
        let is_candidate = |used: &Use| !(only_failed && used.has_succeeded);
        let oldest_ns = self.names.values().filter(|used| is_candidate(used)).map(|used| used.used_ns).min();
        let idle_from_ns = oldest_ns.unwrap_or(at_ns).saturating_add(IDLE_NS);
        if !goes_at_once && at_ns < idle_from_ns {
            self.idle_from_ns[among] = idle_from_ns;
            return false;
        }
        self.evict(is_candidate);
        *evicted += 1;
        true
    }

    /// Takes out the candidate that was used longest ago. Gives the bytes that it took.
    fn evict(&mut self, is_candidate: impl Fn(&Use) -> bool) -> usize {
        let candidates = self.names.iter().filter(|(_, used)| is_candidate(used));
        let oldest = candidates.min_by_key(|(_, used)| used.used_ns).map(|(name, _)| name.clone());
        let Some((name, used)) = oldest.and_then(|name| self.names.remove_entry(&name)) else { return 0 };
        self.failed -= usize::from(!used.has_succeeded);
        let bytes = name.len() + ENTRY_BYTES;
        self.bytes -= bytes;
        bytes
    }

    /// Gives the bytes that it takes.
    fn insert(&mut self, name: &str, succeeded: bool, at_ns: u64) -> usize {
        self.names.insert(name.into(), Use { used_ns: at_ns, has_succeeded: succeeded });
        self.failed += usize::from(!succeeded);
        let bytes = name.len() + ENTRY_BYTES;
        self.bytes += bytes;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn asked(path: &str, succeeded: bool, at_ns: u64) -> Asked<'_> {
        Asked { method: "GET", path, named: "", succeeded, at_ns }
    }

    /// Four letters that no rule takes for an identifier.
    fn word(number: usize) -> String {
        (0..4).map(|at| char::from(b'a' + (number / 26_usize.pow(at) % 26) as u8)).collect()
    }

    #[test]
    fn what_has_no_path_or_no_method_is_named_by_the_other() {
        let mut operations = Operations::new(Bounds::default());
        for (method, path, name, template) in [
            ("GET", "", "GET", ""),
            ("", "/shop.v1.Carts/Add", "/shop.v1.Carts/Add", "/shop.v1.Carts/Add"),
            ("GET", "unknown", "GET unknown", "unknown"),
            ("unknown", "/users/7", "unknown /users/{id}", "/users/{id}"),
        ] {
            let asked = Asked { method, path, named: "", succeeded: true, at_ns: 1 };
            assert_eq!(operations.of(&1, &asked), Operation { name, path: template });
        }
    }

    #[test]
    fn http_operations_scanner() {
        let mut operations = Operations::new(Bounds::default());
        for number in 0..1_200 {
            operations.of(&"scanned", &asked(&format!("/probe/{}", word(number)), false, number as u64));
        }
        assert_eq!(operations.counts().known, 250, "what never succeeds takes a quarter");
        for number in 0..1_000 {
            let path = format!("/orders/{number}");
            let operation = operations.of(&"shop", &asked(&path, true, number));
            assert_eq!(operation, Operation { name: "GET /orders/{id}", path: "/orders/{id}" });
        }
        // Nor does the one that is scanned lose the names of what it does.
        for number in 0..900 {
            let path = format!("/real-{}", word(number));
            assert_ne!(operations.of(&"scanned", &asked(&path, true, 2_000)).name, OTHER, "{path}");
        }
    }

    #[test]
    fn a_name_that_is_not_used_for_a_minute_makes_room_and_no_other_does() {
        let mut operations = Operations::new(Bounds { names_max: 2, ..Bounds::default() });
        let mut name = |path: &str, at_s: u64| operations.of(&0, &asked(path, true, at_s * SECOND_NS)).name.to_owned();
        assert_eq!(name("/a", 0), "GET /a");
        assert_eq!(name("/b", 1), "GET /b");
        assert_eq!(name("/a", 30), "GET /a");
        assert_eq!(name("/c", 60), OTHER);
        assert_eq!(name("/c", 61), "GET /c", "in the place of /b");
        assert_eq!(name("/b", 62), OTHER);
        assert_eq!(name("/a", 89), "GET /a");
        assert_eq!(name("/b", 120), OTHER);
        assert_eq!(name("/b", 121), "GET /b");
        assert_eq!(operations.counts(), Counts { known: 2, other: 3, evicted: 2 });
    }

    #[test]
    fn what_succeeds_comes_before_what_does_not() {
        let mut operations = Operations::new(Bounds { names_max: 4, ..Bounds::default() });
        let mut name = |path: &str, succeeded| operations.of(&0, &asked(path, succeeded, 1)).name.to_owned();
        assert_eq!(name("/wrong", false), "GET /wrong");
        assert_eq!(name("/wronger", false), OTHER, "a quarter of four");
        for path in ["/a", "/b", "/c", "/d"] {
            assert_ne!(name(path, true), OTHER);
        }
        assert_eq!(name("/wrong", false), OTHER, "it made room for /d");
        assert_eq!(name("/d", false), "GET /d", "a known one may fail");
        assert_eq!(name("/e", true), OTHER);
        assert_eq!(operations.counts(), Counts { known: 4, other: 3, evicted: 1 });
    }

    #[test]
    fn one_that_fails_first_and_then_succeeds_stays() {
        let mut operations = Operations::new(Bounds { names_max: 1, ..Bounds::default() });
        let mut name = |path: &str, succeeded| operations.of(&0, &asked(path, succeeded, 1)).name.to_owned();
        assert_eq!([name("/a", false), name("/a", true), name("/b", true)], ["GET /a", "GET /a", OTHER]);
    }

    #[test]
    fn all_tables_together_have_a_bound_and_the_largest_pays() {
        let bytes_max = 100 * (ENTRY_BYTES + "GET /xxxx".len());
        let mut operations = Operations::new(Bounds { names_max: 1000, tables_max: 3, bytes_max });
        for number in 0..150 {
            operations.of(&"loud", &asked(&format!("/{}", word(number)), true, number as u64));
        }
        assert_eq!(operations.counts(), Counts { known: 100, other: 50, evicted: 0 });
        for number in 0..30 {
            let path = format!("/{}", word(number));
            assert_ne!(operations.of(&"quiet", &asked(&path, true, 200)).name, OTHER, "{path}");
        }
        assert_eq!(operations.counts(), Counts { known: 100, other: 50, evicted: 30 });
        assert!(operations.bytes <= bytes_max);
        // A fourth service takes the place of the one that was asked longest ago.
        operations.of(&"third", &asked("/a", true, 300));
        operations.of(&"fourth", &asked("/a", true, 400));
        assert_eq!(operations.counts().known, 32);
        let sum: usize = operations.tables.values().map(|table| table.bytes).sum();
        assert_eq!((operations.tables.len(), operations.bytes), (3, sum));
    }
}
