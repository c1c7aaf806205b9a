//! Where values come from: inputs and constants of the graph.

use crate::fact::{Facts, Tensors};
use crate::lower::{Place, Placing};
use crate::op::Operator;
use crate::{Attrs, Error, Fact, Result, Weight};
use std::sync::Arc;
use tilewright_tensor::HostTensor;

/// An input of the graph; made by [`crate::Graph::input`].
#[derive(Clone, Debug)]
pub struct Input {
    /// Its name.
    pub name: Arc<str>,
}

impl Operator for Input {
    const NAMES: &'static [&'static str] = &["Input"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Input").with("name", self.name.to_string())
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Input {
            name: attrs.need::<String>("name")?.into(),
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        Err(inputs.error(format!(
            "`{}` must be declared with Graph::input",
            self.name
        )))
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        Err(inputs.error(format!("`{}` has no value", self.name)))
    }

    fn folds(&self) -> bool {
        false
    }
}

/// A state of the graph; made by [`crate::Graph::state`].
#[derive(Clone, Debug)]
pub struct State {
    /// Its name.
    pub name: Arc<str>,
}

impl Operator for State {
    const NAMES: &'static [&'static str] = &["State"];

    fn attrs(&self) -> Attrs {
        Attrs::new("State").with("name", self.name.to_string())
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(State {
            name: attrs.need::<String>("name")?.into(),
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        Err(inputs.error(format!(
            "`{}` must be declared with Graph::state",
            self.name
        )))
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        Err(inputs.error(format!("`{}` has no value", self.name)))
    }

    fn folds(&self) -> bool {
        false
    }
}

/// A constant of the graph: a weight, an axis, a shape. ONNX: Constant, initializers.
#[derive(Clone, Debug)]
pub struct Constant {
    /// Its value.
    pub tensor: Weight,
}

impl Operator for Constant {
    const NAMES: &'static [&'static str] = &["Constant"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Constant").with("value", self.tensor.clone())
    }

    /// One of ONNX's `value`, `value_int`, `value_ints`, `value_float`, `value_floats`.
    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        if let Some(tensor) = attrs.opt::<Weight>("value")? {
            return Ok(Constant { tensor });
        }
        let tensor = if let Some(v) = attrs.opt::<i64>("value_int")? {
            HostTensor::scalar(v)
        } else if let Some(v) = attrs.opt::<Vec<i64>>("value_ints")? {
            HostTensor::from_vec([v.len()], v)?
        } else if let Some(v) = attrs.opt::<f32>("value_float")? {
            HostTensor::scalar(v)
        } else if let Some(v) = attrs.opt::<Vec<f32>>("value_floats")? {
            HostTensor::from_vec([v.len()], v)?
        } else {
            return Err(Error::op("Constant", "has no numeric value"));
        };
        Ok(Constant {
            tensor: tensor.into(),
        })
    }

    fn infer(&self, _: Facts<'_>) -> Result<Vec<Fact>> {
        Ok(vec![Fact::of(self.tensor.clone())])
    }

    fn reference(&self, _: Tensors<'_>) -> Result<Vec<HostTensor>> {
        Ok(vec![self.tensor.load()?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        cx.by_storage()
    }
}

/// Integers that follow from the sizes of the graph's inputs; they are known when these are. Made by [`crate::passes::sizes`].
#[derive(Clone, Debug)]
pub struct Sizes {
    text: String,
}

impl Sizes {
    /// The source of a value that `fact` knows.
    pub(crate) fn of(fact: &Fact) -> Sizes {
        Sizes {
            text: format!("{:?}", fact.dims().unwrap_or_default()),
        }
    }
}

impl Operator for Sizes {
    const NAMES: &'static [&'static str] = &["Sizes"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Sizes").with("value", self.text.clone())
    }

    fn from_attrs(name: &str, _: &Attrs) -> Result<Self> {
        Err(Error::op(name, "is made by a pass, not read"))
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        Err(inputs.error("stands in a graph with its value"))
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        Err(inputs.error("has a value only where a graph is bound"))
    }

    fn folds(&self) -> bool {
        false
    }
}
