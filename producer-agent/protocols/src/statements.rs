//! What the names of prepared statements stand for.
//!
//! In: names as the server takes them over. Out: the operation of a name, if it is known for certain.
//!
//! Bound: so many names; the one used longest ago makes room, and is unknown from then on.

use std::collections::HashMap;
use std::sync::Arc;

/// PostgreSQL looks at no more of a name.
const NAME_BYTES_MAX: usize = 63;

/// A name of a statement or portal; the unnamed one is empty.
pub(crate) type Name = Box<[u8]>;

/// The operation of a statement; None if it is not known.
pub(crate) type Operation = Option<Arc<str>>;

pub(crate) fn name_of(bytes: &[u8]) -> Name {
    bytes[..bytes.len().min(NAME_BYTES_MAX)].into()
}

#[derive(Debug)]
pub(crate) struct Names {
    max: usize,
    known: HashMap<Name, Entry>,
    /// Counts uses.
    clock: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    operation: Arc<str>,
    used: u64,
}

impl Names {
    pub fn new(max: u32) -> Self {
        Self { max: max as usize, known: HashMap::new(), clock: 0, bytes: 0 }
    }

    /// From now on the name stands for this.
    pub fn insert(&mut self, name: &Name, operation: Operation) {
        let Some(operation) = operation else { return self.remove(name) };
        self.clock += 1;
        if let Some(entry) = self.known.get_mut(name) {
            self.bytes = self.bytes - entry.operation.len() + operation.len();
            *entry = Entry { operation, used: self.clock };
            return;
        }
        if self.known.len() >= self.max {
            let oldest = self.known.iter().min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone());
            match oldest {
                Some(oldest) => self.remove(&oldest),
                None => return,
            }
        }
        self.bytes += entry_bytes(name, &operation);
        self.known.insert(name.clone(), Entry { operation, used: self.clock });
    }

    pub fn get(&mut self, name: &[u8]) -> Operation {
        self.clock += 1;
        let entry = self.known.get_mut(name)?;
        entry.used = self.clock;
        Some(Arc::clone(&entry.operation))
    }

    pub fn remove(&mut self, name: &[u8]) {
        if let Some((name, entry)) = self.known.remove_entry(name) {
            self.bytes -= entry_bytes(&name, &entry.operation);
        }
    }

    pub fn clear(&mut self) {
        if !self.known.is_empty() {
            self.known = HashMap::new();
            self.bytes = 0;
        }
    }

    pub fn heap_bytes(&self) -> usize {
        self.known.capacity() * (size_of::<(Name, Entry)>() + 1) + self.bytes
    }
}

/// The operation may be shared with a portal or a step: then it is counted more than once.
fn entry_bytes(name: &Name, operation: &Arc<str>) -> usize {
    name.len() + operation.len() + 2 * size_of::<usize>()
}
