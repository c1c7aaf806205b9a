//! Attributes: the one serialised face of an operator. They print, hash, compare, save, and carry ONNX attributes.

use crate::{Error, Graph, Result, Weight};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use tilewright_tensor::{DType, HostTensor};

/// One attribute value.
#[derive(Clone, Debug)]
pub enum Attr {
    /// A 64-bit integer (also booleans as 0 and 1, and data types by their ONNX code).
    Int(i64),
    /// A 32-bit float.
    Float(f32),
    /// Text.
    Str(Arc<str>),
    /// Integers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// Texts.
    Strs(Vec<Arc<str>>),
    /// A tensor; equal only to itself or, where it is in host memory, to one of the same bytes.
    Tensor(Weight),
    /// A subgraph; equal only to itself.
    Graph(Arc<Graph>),
}

impl PartialEq for Attr {
    fn eq(&self, other: &Attr) -> bool {
        match (self, other) {
            (Attr::Int(a), Attr::Int(b)) => a == b,
            (Attr::Float(a), Attr::Float(b)) => a.to_bits() == b.to_bits(),
            (Attr::Str(a), Attr::Str(b)) => a == b,
            (Attr::Ints(a), Attr::Ints(b)) => a == b,
            (Attr::Floats(a), Attr::Floats(b)) => a
                .iter()
                .map(|x| x.to_bits())
                .eq(b.iter().map(|x| x.to_bits())),
            (Attr::Strs(a), Attr::Strs(b)) => a == b,
            (Attr::Tensor(a), Attr::Tensor(b)) => a == b,
            (Attr::Graph(a), Attr::Graph(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl Eq for Attr {}

impl Hash for Attr {
    fn hash<H: Hasher>(&self, h: &mut H) {
        std::mem::discriminant(self).hash(h);
        match self {
            Attr::Int(a) => a.hash(h),
            Attr::Float(a) => a.to_bits().hash(h),
            Attr::Str(a) => a.hash(h),
            Attr::Ints(a) => a.hash(h),
            Attr::Floats(a) => a.iter().for_each(|x| x.to_bits().hash(h)),
            Attr::Strs(a) => a.hash(h),
            Attr::Tensor(a) => a.hash(h),
            Attr::Graph(a) => Arc::as_ptr(a).hash(h),
        }
    }
}

/// Attributes by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attrs {
    op: Arc<str>,
    map: BTreeMap<Arc<str>, Attr>,
}

/// A type that an attribute can be read as and made from.
pub trait AttrValue: Sized {
    /// What to call it in an error.
    const KIND: &'static str;
    /// The value, if the attribute has this type.
    fn read(a: &Attr) -> Option<Self>;
    /// The attribute of a value.
    fn write(self) -> Attr;
}

macro_rules! attr_value {
    ($t:ty, $kind:literal, $read:pat => $value:expr, $x:ident => $write:expr) => {
        impl AttrValue for $t {
            const KIND: &'static str = $kind;
            fn read(a: &Attr) -> Option<Self> {
                match a {
                    $read => $value,
                    _ => None,
                }
            }
            fn write(self) -> Attr {
                let $x = self;
                $write
            }
        }
    };
}

attr_value!(i64, "an integer", Attr::Int(a) => Some(*a), x => Attr::Int(x));
attr_value!(bool, "an integer", Attr::Int(a) => Some(*a != 0), x => Attr::Int(x.into()));
attr_value!(f32, "a float", Attr::Float(a) => Some(*a), x => Attr::Float(x));
attr_value!(String, "a text", Attr::Str(a) => Some(a.to_string()), x => Attr::Str(x.into()));
attr_value!(Vec<i64>, "integers", Attr::Ints(a) => Some(a.clone()), x => Attr::Ints(x));
attr_value!(Vec<f32>, "floats", Attr::Floats(a) => Some(a.clone()), x => Attr::Floats(x));
attr_value!(Vec<String>, "texts", Attr::Strs(a) => Some(a.iter().map(|s| s.to_string()).collect()),
    x => Attr::Strs(x.into_iter().map(Into::into).collect()));
attr_value!(Weight, "a tensor", Attr::Tensor(a) => Some(a.clone()), x => Attr::Tensor(x));
attr_value!(HostTensor, "a tensor in host memory", Attr::Tensor(a) => a.held().cloned(), x => Attr::Tensor(x.into()));
attr_value!(Arc<Graph>, "a graph", Attr::Graph(a) => Some(a.clone()), x => Attr::Graph(x));
attr_value!(DType, "an ONNX data type code", Attr::Int(a) => dtype_from_code(*a), x => Attr::Int(dtype_code(x)));

impl Attrs {
    /// No attributes yet, for the operator `op` (named in errors).
    pub fn new(op: &str) -> Attrs {
        Attrs {
            op: op.into(),
            map: BTreeMap::new(),
        }
    }

    /// Adds or replaces `name`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AttrValue) -> Attrs {
        self.map.insert(name.into(), value.write());
        self
    }

    /// Adds `name` if there is a value.
    #[must_use]
    pub fn with_opt(self, name: &str, value: Option<impl AttrValue>) -> Attrs {
        match value {
            Some(v) => self.with(name, v),
            None => self,
        }
    }

    /// Adds or replaces `name` in place.
    pub fn set(&mut self, name: &str, value: Attr) {
        self.map.insert(name.into(), value);
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) -> Option<Attr> {
        self.map.remove(name)
    }

    /// The raw attribute.
    pub fn raw(&self, name: &str) -> Option<&Attr> {
        self.map.get(name)
    }

    /// The attribute if it is there; an error if it has another type.
    pub fn opt<T: AttrValue>(&self, name: &str) -> Result<Option<T>> {
        let Some(a) = self.map.get(name) else {
            return Ok(None);
        };
        match T::read(a) {
            Some(v) => Ok(Some(v)),
            None => Err(Error::op(
                &self.op,
                format!("attribute `{name}` must be {}, got {a}", T::KIND),
            )),
        }
    }

    /// The attribute, or `default` if it is absent.
    pub fn or<T: AttrValue>(&self, name: &str, default: T) -> Result<T> {
        Ok(self.opt(name)?.unwrap_or(default))
    }

    /// The attribute; an error if it is absent.
    pub fn need<T: AttrValue>(&self, name: &str) -> Result<T> {
        self.opt(name)?
            .ok_or_else(|| Error::op(&self.op, format!("attribute `{name}` is missing")))
    }

    /// Names and values in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attr)> {
        self.map.iter().map(|(k, v)| (&**k, v))
    }

    /// The operator these are for.
    pub fn op(&self) -> &str {
        &self.op
    }
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attr::Int(a) => write!(f, "{a}"),
            Attr::Float(a) => write!(f, "{a:?}"),
            Attr::Str(a) => write!(f, "{a:?}"),
            Attr::Ints(a) => write!(f, "{a:?}"),
            Attr::Floats(a) => write!(f, "{a:?}"),
            Attr::Strs(a) => write!(f, "{a:?}"),
            Attr::Tensor(a) => write!(f, "{}{:?}", a.dtype(), &a.shape()[..]),
            Attr::Graph(g) => write!(f, "graph({} nodes)", g.len()),
        }
    }
}

impl fmt::Display for Attrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (k, v)) in self.map.iter().enumerate() {
            write!(f, "{}{k}={v}", if i > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

/// Data types and their codes in ONNX's `TensorProto.DataType`.
const CODES: [(DType, i64); 17] = [
    (DType::F32, 1),
    (DType::U8, 2),
    (DType::I8, 3),
    (DType::U16, 4),
    (DType::I16, 5),
    (DType::I32, 6),
    (DType::I64, 7),
    (DType::Bool, 9),
    (DType::F16, 10),
    (DType::F64, 11),
    (DType::U32, 12),
    (DType::U64, 13),
    (DType::BF16, 16),
    (DType::U4, 21),
    (DType::I4, 22),
    (DType::U2, 25),
    (DType::I2, 26),
];

/// The ONNX code of a data type.
pub fn dtype_code(dtype: DType) -> i64 {
    CODES
        .iter()
        .find(|(d, _)| *d == dtype)
        .map_or(0, |(_, c)| *c)
}

/// The data type of an ONNX code, if this engine has it.
pub fn dtype_from_code(code: i64) -> Option<DType> {
    CODES.iter().find(|(_, c)| *c == code).map(|(d, _)| *d)
}
