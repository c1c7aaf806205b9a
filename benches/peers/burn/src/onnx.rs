//! The fields of an ONNX file that image classifiers use. Tags are those of onnx.proto3.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub struct Model {
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Node {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, tag = "2")]
    pub f: f32,
    #[prost(int64, tag = "3")]
    pub i: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub s: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    pub t: Option<Tensor>,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
    /// 1: the data lies in another file.
    #[prost(int32, tag = "14")]
    pub data_location: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct ValueInfo {
    #[prost(string, tag = "1")]
    pub name: String,
}

/// TensorProto.DataType.FLOAT.
const FLOAT: i32 = 1;

impl Tensor {
    /// The shape, and the elements where the tensor is f32 and lies in the file.
    pub fn read(&self) -> Result<(Vec<usize>, Vec<f32>), String> {
        let shape: Vec<usize> = self.dims.iter().map(|&dim| dim.max(0) as usize).collect();
        if self.data_type != FLOAT || self.data_location != 0 {
            return Err(format!("{}: not f32 data in the file itself", self.name));
        }
        let values = if self.raw_data.is_empty() {
            self.float_data.clone()
        } else {
            let words = self.raw_data.chunks_exact(4);
            words
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect()
        };
        if values.len() != shape.iter().product::<usize>() {
            return Err(format!(
                "{}: {} values for {shape:?}",
                self.name,
                values.len()
            ));
        }
        Ok((shape, values))
    }
}

impl Node {
    fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attribute.iter().find(|found| found.name == name)
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |found| found.i)
    }

    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |found| found.f)
    }

    pub fn text(&self, name: &str) -> &[u8] {
        self.attribute(name).map_or(b"", |found| &found.s)
    }

    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.attribute(name)?.t.as_ref()
    }

    /// `N` integers, or `default` in each place where the attribute is absent.
    pub fn ints<const N: usize>(&self, name: &str, default: usize) -> Result<[usize; N], String> {
        let Some(found) = self.attribute(name) else {
            return Ok([default; N]);
        };
        let values: Option<Vec<usize>> = found.ints.iter().map(|&i| i.try_into().ok()).collect();
        let values = values.and_then(|values| values.try_into().ok());
        values.ok_or_else(|| format!("{}: {name} is not {N} counts", self.op_type))
    }
}
