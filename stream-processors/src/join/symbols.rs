//! Names as small numbers, so that a record needs no string of its own.
//!
//! Bounded by what refers to them: names that nothing refers to any more are forgotten at a sweep, and their numbers used again.
//! The numbers mean nothing outside of one processor and never decide an order.

use std::sync::Arc;

use headwater_schemas::records::{UNKNOWN, Workload, push_key};
use rustc_hash::FxHashMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name, as its number in [`Symbols`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Symbol(u32);

impl Symbol {
    pub const UNKNOWN: Symbol = Symbol(0);
    pub const EMPTY: Symbol = Symbol(1);

    /// The ends of all numbers.
    pub const FIRST: Symbol = Symbol(0);
    pub const LAST: Symbol = Symbol(u32::MAX);

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

    /// How many bytes all names have.
    pub fn text_bytes(&self) -> usize {
        self.texts.iter().map(|text| text.len()).sum()
    }

    /// Whether this is the number of a name, or was.
    pub fn has(&self, symbol: Symbol) -> bool {
        (symbol.0 as usize) < self.texts.len()
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

/// A snapshot has the texts alone, each at the place that its number says.
impl Serialize for Symbols {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.texts.iter().map(|text| &**text))
    }
}

impl<'de> Deserialize<'de> for Symbols {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Symbols, D::Error> {
        let texts = Vec::<Box<str>>::deserialize(deserializer)?;
        let mut symbols = Symbols::default();
        let fixed = symbols.texts.len();
        let is_ours = texts.len() >= fixed && symbols.texts.iter().zip(&texts).all(|(known, text)| **known == **text);
        if !is_ours {
            return Err(D::Error::custom("the first names are not those that all tables begin with"));
        }
        for (number, text) in (0u32..).zip(texts).skip(fixed) {
            let text: Arc<str> = text.into();
            if text.is_empty() {
                symbols.free.push(Symbol(number));
            } else {
                symbols.numbers.insert(Arc::clone(&text), Symbol(number));
            }
            symbols.texts.push(text);
        }
        symbols.sweep_at = SWEEP_FROM.max(2 * symbols.numbers.len());
        Ok(symbols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_of_a_snapshot_has_the_same_numbers() {
        let mut symbols = Symbols::default();
        let (kept, dropped) = (symbols.intern("kept"), symbols.intern("dropped"));
        symbols.sweep([kept].into_iter());
        let bytes = postcard::to_stdvec(&symbols).expect("a list of texts can be written");
        let mut read: Symbols = postcard::from_bytes(&bytes).expect("and read");
        assert_eq!((read.text(kept), read.len()), ("kept", 3));
        assert_eq!(
            (read.intern("kept"), read.intern(""), read.intern("unknown")),
            (kept, Symbol::EMPTY, Symbol::UNKNOWN)
        );
        assert_eq!(read.intern("new"), dropped, "its number is used again");
        assert!(postcard::from_bytes::<Symbols>(&postcard::to_stdvec(&["one"]).unwrap_or_default()).is_err());
    }

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
