//! What a caller can say about the reading of a model.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tilewright_graph::{Attrs, CustomOp};

use crate::normal_domain;
use crate::proto::NodeProto;

/// Makes a custom operator from a node's attributes.
pub type MakeCustom = dyn Fn(&Attrs) -> tilewright_graph::Result<Arc<dyn CustomOp>>;

/// Operators from outside, by (domain, name).
#[derive(Default)]
pub struct Registry {
    custom: HashMap<(String, String), Box<MakeCustom>>,
}

impl Registry {
    /// Registers an operator; it takes precedence over one of the engine's own.
    pub fn insert(&mut self, domain: &str, name: &str, make: Box<MakeCustom>) {
        let key = (normal_domain(domain).to_owned(), name.to_owned());
        self.custom.insert(key, make);
    }

    pub(crate) fn get(&self, node: &NodeProto) -> Option<&MakeCustom> {
        let key = (
            normal_domain(node.domain()).to_owned(),
            node.op_type().to_owned(),
        );
        self.custom.get(&key).map(|make| &**make)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.custom.keys()).finish()
    }
}

/// How to read a model.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Operators from outside.
    pub registry: Registry,
    /// Symbolic sizes that may be 0 in a run, by name: the length of a cache in the first step. Others are taken to be at
    /// least 1, for simpler expressions. An unnamed size of an input is called `input.axis`.
    pub maybe_empty: HashSet<String>,
    /// Inputs to be given in every run although the model has an initialiser for them. Other inputs with an initialiser
    /// are constants: exporters used to list every weight among the inputs.
    pub overridden: HashSet<String>,
}

impl ReadOptions {
    /// No operators from outside; every symbolic size is at least 1.
    pub fn new() -> ReadOptions {
        ReadOptions::default()
    }

    /// With operators from outside.
    pub fn registry(mut self, registry: Registry) -> ReadOptions {
        self.registry = registry;
        self
    }

    /// With a symbolic size that may be 0.
    pub fn maybe_empty(mut self, symbol: &str) -> ReadOptions {
        self.maybe_empty.insert(symbol.to_owned());
        self
    }

    /// With an input that is given in every run instead of taking its initialiser.
    pub fn overridden(mut self, input: &str) -> ReadOptions {
        self.overridden.insert(input.to_owned());
        self
    }
}
