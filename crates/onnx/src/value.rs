//! Types and shapes of a graph's inputs, outputs and values.

use std::fmt;

use tilewright_tensor::DType;

use crate::{
    Error, Result,
    proto::{ValueInfoProto, tensor_shape_proto::dimension, type_proto},
    tensor::read_dtype,
};

/// One extent as a model declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Size {
    /// A number.
    Known(usize),
    /// A name (`dim_param`); the same name is the same size throughout a graph.
    Named(String),
    /// Nothing is said.
    Unknown,
}

/// `12`, `batch`, or `?`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Known(size) => write!(f, "{size}"),
            Size::Named(name) => f.write_str(name),
            Size::Unknown => f.write_str("?"),
        }
    }
}

/// What a model declares about a tensor value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueInfo {
    /// The value's name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its extents; `None` where not even the rank is declared.
    pub sizes: Option<Vec<Size>>,
}

/// Reads a declaration. `None` where it has no type or no element type, as `value_info` entries may.
///
/// # Errors
/// [`Error::ElementType`]; [`Error::ValueType`] for sequences, maps, optionals and sparse tensors; [`Error::Data`] for a negative
/// extent.
pub fn read_value_info(proto: &ValueInfoProto) -> Result<Option<ValueInfo>> {
    let name = proto.name();
    let Some(value) = proto.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Ok(None);
    };
    let tensor = match value {
        type_proto::Value::TensorType(tensor) => tensor,
        other => {
            return Err(Error::ValueType {
                name: name.to_owned(),
                kind: kind(other),
            });
        }
    };
    let code = tensor.elem_type.unwrap_or_default();
    if code == 0 {
        return Ok(None);
    }
    let size = |proto: &crate::proto::tensor_shape_proto::Dimension| match &proto.value {
        Some(dimension::Value::DimValue(size)) => match usize::try_from(*size) {
            Ok(size) => Ok(Size::Known(size)),
            Err(_) => Err(Error::Data {
                name: name.to_owned(),
                what: format!("invalid extent {size}"),
            }),
        },
        Some(dimension::Value::DimParam(param)) if !param.is_empty() => {
            Ok(Size::Named(param.clone()))
        }
        _ => Ok(Size::Unknown),
    };
    let sizes = match &tensor.shape {
        Some(shape) => Some(shape.dim.iter().map(size).collect::<Result<_>>()?),
        None => None,
    };
    Ok(Some(ValueInfo {
        name: name.to_owned(),
        dtype: read_dtype(name, code)?,
        sizes,
    }))
}

fn kind(value: &type_proto::Value) -> &'static str {
    match value {
        type_proto::Value::TensorType(_) => "a tensor",
        type_proto::Value::SequenceType(_) => "a sequence",
        type_proto::Value::MapType(_) => "a map",
        type_proto::Value::OptionalType(_) => "an optional",
        type_proto::Value::SparseTensorType(_) => "a sparse tensor",
        type_proto::Value::OpaqueType(_) => "an opaque value",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{TensorShapeProto, TypeProto, tensor_shape_proto::Dimension};

    fn value(elem_type: i32, dims: Option<Vec<dimension::Value>>) -> ValueInfoProto {
        let dim = |value| Dimension {
            value: Some(value),
            ..Dimension::default()
        };
        let shape = dims.map(|dims| TensorShapeProto {
            dim: dims.into_iter().map(dim).collect(),
        });
        let tensor = type_proto::Tensor {
            elem_type: Some(elem_type),
            shape,
        };
        typed(type_proto::Value::TensorType(tensor))
    }

    fn typed(value: type_proto::Value) -> ValueInfoProto {
        ValueInfoProto {
            name: Some("x".to_owned()),
            r#type: Some(TypeProto {
                value: Some(value),
                ..TypeProto::default()
            }),
            ..ValueInfoProto::default()
        }
    }

    #[test]
    fn keeps_names_of_sizes() {
        use dimension::Value::{DimParam, DimValue};
        let dims = vec![
            DimParam("batch".to_owned()),
            DimValue(3),
            DimParam(String::new()),
        ];
        let info = read_value_info(&value(1, Some(dims))).unwrap().unwrap();
        assert_eq!(info.dtype, DType::F32);
        let sizes: Vec<String> = info.sizes.unwrap().iter().map(Size::to_string).collect();
        assert_eq!(sizes, ["batch", "3", "?"]);
        let scalar = read_value_info(&value(7, Some(vec![]))).unwrap().unwrap();
        assert_eq!(scalar.sizes, Some(vec![]));
        let any = read_value_info(&value(7, None)).unwrap().unwrap();
        assert_eq!(any.sizes, None);
    }

    #[test]
    fn errors_name_the_value() {
        let negative = value(1, Some(vec![dimension::Value::DimValue(-1)]));
        let error = read_value_info(&negative).unwrap_err();
        assert_eq!(error.to_string(), "tensor `x`: invalid extent -1");
        let string = read_value_info(&value(8, None)).unwrap_err();
        assert!(string.to_string().contains("string"));
        let sequence = typed(type_proto::Value::SequenceType(Default::default()));
        let error = read_value_info(&sequence).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`x` is a sequence, which is not supported"
        );
        assert_eq!(read_value_info(&value(0, None)).unwrap(), None);
        assert_eq!(read_value_info(&ValueInfoProto::default()).unwrap(), None);
    }
}
