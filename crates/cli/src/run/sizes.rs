//! The symbolic sizes of a model's inputs, and who said what they are.

use crate::Failure;
use std::collections::HashMap;
use tilewright::Graph;
use tilewright::graph::{Bindings, Symbol};
use tilewright::tensor::Shape;

/// Sizes so far. Everybody has to agree on them.
#[derive(Default)]
pub(super) struct Sizes {
    bindings: Bindings,
    /// Whose words the bindings are, for messages.
    said: HashMap<Symbol, String>,
}

impl Sizes {
    /// What `--size NAME=N` says.
    pub(super) fn given(graph: &Graph, given: &[String]) -> Result<Sizes, Failure> {
        let (symbols, mut sizes) = (graph.symbols(), Sizes::default());
        for size in given {
            let split = size.split_once('=');
            let (name, n) = split.ok_or_else(|| format!("--size {size}: write NAME=N"))?;
            let Some(symbol) = symbols.iter().find(|s| s.name() == name) else {
                let names: Vec<String> =
                    symbols.iter().map(|s| format!("`{}`", s.name())).collect();
                let has = if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                };
                return Err(format!("--size {size}: the model's symbolic sizes are {has}").into());
            };
            let n = n.parse().ok().filter(|&n: &i64| n >= 0);
            let n = n.ok_or_else(|| format!("--size {size}: not a whole number"))?;
            sizes.learn(symbol, n, format!("--size {size}"))?;
        }
        Ok(sizes)
    }

    /// The size, where it was said.
    pub(super) fn get(&self, symbol: &Symbol) -> Option<i64> {
        self.bindings.get(symbol)
    }

    /// Notes that `by` has this size; an error where another has a different one.
    pub(super) fn learn(&mut self, symbol: &Symbol, n: i64, by: String) -> Result<(), Failure> {
        let name = symbol.name();
        if n < symbol.least() {
            let text = format!(
                "size `{name}` is {n} by {by}; models are read for sizes of at least 1 unless told: add --size {name}=0"
            );
            return Err(text.into());
        }
        match self.get(symbol) {
            Some(before) if before != n => {
                let other = self.said.get(symbol).map_or("others", |s| s.as_str());
                Err(format!("size `{name}` is {before} by {other}, and {n} by {by}").into())
            }
            Some(_) => Ok(()),
            None => {
                self.bindings.set(symbol.clone(), n);
                self.said.insert(symbol.clone(), by);
                Ok(())
            }
        }
    }

    /// The sizes, with 1 for those that nobody said.
    pub(super) fn bindings(&self, graph: &Graph) -> Bindings {
        let mut bindings = Bindings::default();
        for symbol in graph.symbols() {
            let n = self.get(&symbol).unwrap_or(1);
            bindings.set(symbol, n);
        }
        bindings
    }
}

/// What inputs may take together.
pub(super) struct Budget {
    /// Bytes.
    pub(super) limit: u64,
    /// Bytes taken.
    pub(super) used: u64,
}

impl Budget {
    /// Takes the bytes of a tensor; an error where they are more than the limit or than the system has.
    pub(super) fn take(&mut self, shape: &[usize], element: usize) -> Result<(), Failure> {
        let elements = Shape::from(shape).elements()? as u64;
        let bytes = elements.saturating_mul(element as u64);
        self.used = self.used.saturating_add(bytes);
        if self.used > self.limit {
            let (used, limit) = (self.used, self.limit);
            let text = format!("{used} bytes of inputs are over the limit of {limit} bytes");
            return Err(text.into());
        }
        // Asked for in a way that may fail, since the real allocation ends the process where it fails.
        let mut probe: Vec<u8> = vec![];
        let enough = usize::try_from(bytes).is_ok_and(|n| probe.try_reserve_exact(n).is_ok());
        if !enough {
            return Err(format!("no memory for a tensor of {bytes} bytes").into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_to_agree() {
        let (n, mut sizes) = (Symbol::new("n"), Sizes::default());
        sizes.learn(&n, 4, "--size n=4".into()).unwrap();
        sizes.learn(&n, 4, "a.npy".into()).unwrap();
        let error = sizes.learn(&n, 2, "b.npy".into()).unwrap_err().to_string();
        assert_eq!(error, "size `n` is 4 by --size n=4, and 2 by b.npy");
        let error = sizes.learn(&n, 0, "c.npy".into()).unwrap_err().to_string();
        assert!(error.ends_with("add --size n=0"), "{error}");
    }

    #[test]
    fn too_much_is_an_error() {
        let mut budget = Budget {
            limit: 100,
            used: 0,
        };
        budget.take(&[5, 5], 4).unwrap();
        assert!(budget.take(&[1], 1).is_err());
        let mut budget = Budget {
            limit: u64::MAX,
            used: 0,
        };
        assert!(budget.take(&[1 << 30, 1 << 30], 4).is_err());
        assert!(budget.take(&[usize::MAX, 2], 4).is_err());
    }
}
