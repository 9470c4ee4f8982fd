//! Names as small numbers, so that a record needs no string of its own.
//!
//! Bounded by what refers to them: names that nothing refers to any more are forgotten at a sweep, and their numbers used again.
//! The numbers mean nothing outside of one processor and never decide an order.

use std::sync::Arc;

use headwater_schemas::records::{UNKNOWN, Workload, push_key};
use rustc_hash::FxHashMap;

/// A name, as its number in [`Symbols`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Symbol(u32);

impl Symbol {
    pub const UNKNOWN: Symbol = Symbol(0);
    pub const EMPTY: Symbol = Symbol(1);

    /// Whether it says who or what something is.
    pub fn is_known(self) -> bool {
        self != Symbol::UNKNOWN && self != Symbol::EMPTY
    }
}

/// Sweeping starts to pay above this many names.
const SWEEP_FROM: usize = 4096;

/// All names that are in use.
pub struct Symbols {
    numbers: FxHashMap<Arc<str>, Symbol>,
    texts: Vec<Arc<str>>,
    free: Vec<Symbol>,
    sweep_at: usize,
    /// Where keys are put together.
    scratch: String,
}

impl Default for Symbols {
    fn default() -> Self {
        let mut symbols = Symbols {
            numbers: FxHashMap::default(),
            texts: Vec::new(),
            free: Vec::new(),
            sweep_at: SWEEP_FROM,
            scratch: String::new(),
        };
        symbols.intern("unknown");
        symbols.intern("");
        symbols
    }
}

impl Symbols {
    /// The number of a name.
    pub fn intern(&mut self, text: &str) -> Symbol {
        if let Some(&symbol) = self.numbers.get(text) {
            return symbol;
        }
        let text: Arc<str> = text.into();
        let symbol = match self.free.pop() {
            Some(symbol) => {
                self.texts[symbol.0 as usize] = text.clone();
                symbol
            }
            None => {
                self.texts.push(text.clone());
                Symbol((self.texts.len() - 1) as u32)
            }
        };
        self.numbers.insert(text, symbol);
        symbol
    }

    /// The number of a workload: its key stands for it.
    pub fn intern_workload(&mut self, [cluster, namespace, kind, name]: [&str; 4]) -> Symbol {
        if kind == UNKNOWN || name.is_empty() {
            return Symbol::UNKNOWN;
        }
        let mut key = std::mem::take(&mut self.scratch);
        key.clear();
        push_key(&mut key, [cluster, namespace, kind, name]);
        let symbol = self.intern(&key);
        self.scratch = key;
        symbol
    }

    /// The workload whose number this is.
    pub fn workload(&self, symbol: Symbol) -> Workload {
        Workload::from_key(self.text(symbol)).unwrap_or_else(Workload::unknown)
    }

    pub fn text(&self, symbol: Symbol) -> &str {
        &self.texts[symbol.0 as usize]
    }

    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether so many names came since the last sweep that another one pays.
    pub fn wants_sweep(&self) -> bool {
        self.numbers.len() >= self.sweep_at
    }

    /// Forgets every name that is not among the ones in use.
    pub fn sweep(&mut self, in_use: impl Iterator<Item = Symbol>) {
        let mut used = vec![false; self.texts.len()];
        used[Symbol::UNKNOWN.0 as usize] = true;
        used[Symbol::EMPTY.0 as usize] = true;
        in_use.for_each(|symbol| used[symbol.0 as usize] = true);
        self.numbers.retain(|_, symbol| used[symbol.0 as usize]);
        self.free.clear();
        for (number, _) in used.iter().enumerate().filter(|(_, used)| !**used) {
            self.texts[number] = Arc::from("");
            self.free.push(Symbol(number as u32));
        }
        self.sweep_at = SWEEP_FROM.max(2 * self.numbers.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_forgets_only_what_nothing_refers_to() {
        let mut symbols = Symbols::default();
        let (kept, dropped) = (symbols.intern("kept"), symbols.intern("dropped"));
        symbols.sweep([kept].into_iter());
        assert_eq!(symbols.text(kept), "kept");
        assert_eq!(symbols.text(Symbol::UNKNOWN), "unknown");
        assert_eq!(symbols.intern("new"), dropped, "its number is used again");
        assert_eq!(symbols.intern("kept"), kept);
        assert_eq!(symbols.len(), 4);
    }
}
