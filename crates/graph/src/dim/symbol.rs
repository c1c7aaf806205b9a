//! Names of unknown sizes, and what they are in a run.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The name of an unknown size, and the least that it can be. Equal names are equal symbols; a graph must not have both
/// kinds of one name.
#[derive(Clone)]
pub struct Symbol {
    name: Arc<str>,
    least: i64,
}

impl Symbol {
    /// A size of at least 1. A run with 0 is refused, since what was simplified need not hold for it.
    pub fn new(name: &str) -> Symbol {
        let name = name.into();
        Symbol { name, least: 1 }
    }

    /// A size that may be 0, as the length of a cache in the first step.
    pub fn maybe_empty(name: &str) -> Symbol {
        let name = name.into();
        Symbol { name, least: 0 }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The least that the size can be: 0 or 1.
    pub fn least(&self) -> i64 {
        self.least
    }
}

impl PartialEq for Symbol {
    fn eq(&self, other: &Symbol) -> bool {
        self.name == other.name
    }
}

impl Eq for Symbol {}

impl Hash for Symbol {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl PartialOrd for Symbol {
    fn partial_cmp(&self, other: &Symbol) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Symbol {
    fn cmp(&self, other: &Symbol) -> Ordering {
        self.name.cmp(&other.name)
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Values of symbols, as found when a graph is bound to real sizes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bindings(BTreeMap<Symbol, i64>);

impl Bindings {
    /// The value of `symbol`, if bound.
    pub fn get(&self, symbol: &Symbol) -> Option<i64> {
        self.0.get(symbol).copied()
    }

    /// Binds `symbol`; returns the earlier value if there was one.
    pub fn set(&mut self, symbol: Symbol, value: i64) -> Option<i64> {
        self.0.insert(symbol, value)
    }

    /// All bound symbols in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&Symbol, i64)> {
        self.0.iter().map(|(s, v)| (s, *v))
    }
}
