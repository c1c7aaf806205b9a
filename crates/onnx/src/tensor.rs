//! `TensorProto` from and to host tensors.

use prost::{Message, bytes::Bytes};
use tilewright_graph::Weight;
use tilewright_graph::attrs::{dtype_code, dtype_from_code};
use tilewright_tensor::{DType, HostTensor, Shape, bf16, f16};

use crate::{
    Error, ExternalData, NoExternalData, Result,
    proto::{TensorProto, tensor_proto},
    source::{Origin, Raw},
};

/// Reads a tensor from `raw_data`, from the typed field of its element type, or from where its external data lies.
///
/// The declared extents are checked against the data before anything of their size is allocated.
///
/// # Errors
/// [`Error::ElementType`], [`Error::Tensor`] for impossible extents, [`Error::Data`] for data that does not fit them,
/// [`Error::External`].
pub fn read_tensor(proto: &TensorProto, external: &dyn ExternalData) -> Result<HostTensor> {
    let slot = Slot::new(proto)?;
    if is_external(proto) {
        let load = |location: &str, offset, length| external.load(location, offset, length);
        return slot.read_raw(&of_external(proto, slot.raw_bytes() as u64, load)?);
    }
    match raw_data(proto) {
        Some(raw) => slot.read_raw(raw),
        None => slot.read_typed(proto),
    }
}

/// [`read_tensor`] of a constant, which is left where it lies if it is large: in what `origin` knows, or outside.
pub(crate) fn read_weight(
    proto: &TensorProto,
    external: &dyn ExternalData,
    origin: &Origin,
) -> Result<Weight> {
    let slot = Slot::new(proto)?;
    let bytes = slot.elements.saturating_mul(slot.dtype.size_bytes());
    if !Weight::waits(slot.dtype, bytes as u64) {
        return Ok(read_tensor(proto, external)?.into());
    }
    let data = if is_external(proto) {
        let source = |location: &str, offset, length| external.source(location, offset, length);
        of_external(proto, slot.raw_bytes() as u64, source)?
    } else if let Some(raw) = raw_data(proto) {
        slot.check("bytes", slot.raw_bytes(), raw.len())?;
        origin.source(raw)
    } else {
        return Ok(slot.read_typed(proto)?.into());
    };
    let (dtype, shape) = (slot.dtype, slot.shape.clone());
    Ok(Weight::from_source(dtype, shape, Raw { slot, data })?)
}

fn is_external(proto: &TensorProto) -> bool {
    proto.data_location == Some(tensor_proto::DataLocation::External as i32)
}

/// Some writers set an empty `raw_data` beside a typed field.
fn raw_data(proto: &TensorProto) -> Option<&Bytes> {
    let raw = proto.raw_data.as_ref();
    raw.filter(|raw| !raw.is_empty() || !has_typed_data(proto))
}

/// Reads a `.pb` file that holds one tensor, such as the test data of ONNX's suites.
///
/// # Errors
/// [`Error::Decode`] and those of [`read_tensor`]; external data is not available.
pub fn load_tensor(file: &[u8]) -> Result<HostTensor> {
    let decoded = TensorProto::decode(file).map_err(|source| Error::Decode {
        message: "tensor",
        source,
    });
    read_tensor(&decoded?, &NoExternalData)
}

/// A tensor as a message with `raw_data`.
pub fn write_tensor(name: &str, tensor: &HostTensor) -> TensorProto {
    let raw = match tensor.dtype() {
        DType::I4 | DType::U4 | DType::I2 | DType::U2 => {
            pack(tensor.bytes(), tensor.dtype().bits()).into()
        }
        _ => Bytes::copy_from_slice(tensor.bytes()),
    };
    TensorProto {
        name: (!name.is_empty()).then(|| name.to_owned()),
        dims: tensor.shape().to_i64(),
        data_type: Some(dtype_code(tensor.dtype()) as i32),
        raw_data: Some(raw),
        ..TensorProto::default()
    }
}

/// The bytes of a `.pb` file that holds one tensor.
pub fn save_tensor(name: &str, tensor: &HostTensor) -> Vec<u8> {
    write_tensor(name, tensor).encode_to_vec()
}

/// The element type of a code of `TensorProto.DataType`; `name` is what to blame.
pub(crate) fn read_dtype(name: &str, code: i32) -> Result<DType> {
    dtype_from_code(code.into()).ok_or_else(|| Error::ElementType {
        name: name.to_owned(),
        dtype: match tensor_proto::DataType::try_from(code) {
            Ok(known) => known.as_str_name().to_lowercase(),
            Err(_) => format!("number {code}"),
        },
    })
}

fn data_error(name: &str, what: impl Into<String>) -> Error {
    Error::Data {
        name: name.to_owned(),
        what: what.into(),
    }
}

fn has_typed_data(proto: &TensorProto) -> bool {
    !(proto.float_data.is_empty()
        && proto.double_data.is_empty()
        && proto.int32_data.is_empty()
        && proto.int64_data.is_empty()
        && proto.uint64_data.is_empty())
}

/// What `get` finds at location, offset and length of a tensor whose `external_data` says where its `length` bytes lie.
fn of_external<T>(
    proto: &TensorProto,
    length: u64,
    get: impl FnOnce(&str, u64, u64) -> std::io::Result<T>,
) -> Result<T> {
    let name = proto.name();
    let entry = |key: &str| {
        let mut entries = proto.external_data.iter();
        entries.find(|e| e.key() == key).map(|e| e.value())
    };
    let number = |key: &str| match entry(key).map(str::parse::<u64>) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => {
            let what = format!("the {key} of the external data is no number");
            Err(data_error(name, what))
        }
    };
    let Some(location) = entry("location") else {
        return Err(data_error(name, "the external data has no location"));
    };
    let offset = number("offset")?.unwrap_or(0);
    if let Some(declared) = number("length")?
        && declared != length
    {
        let what = format!("the external data has {declared} bytes, the extents need {length}");
        return Err(data_error(name, what));
    }
    let in_tensor = |source| Error::External {
        name: name.to_owned(),
        location: location.to_owned(),
        source,
    };
    get(location, offset, length).map_err(in_tensor)
}

/// A tensor that is still to get its data.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) name: String,
    dtype: DType,
    shape: Shape,
    elements: usize,
}

impl Slot {
    /// The declared type and extents, checked.
    fn new(proto: &TensorProto) -> Result<Slot> {
        let name = proto.name();
        let dtype = read_dtype(name, proto.data_type.unwrap_or_default())?;
        let in_tensor = |source| Error::Tensor {
            name: name.to_owned(),
            source,
        };
        let shape = Shape::from_i64(&proto.dims).map_err(in_tensor)?;
        let elements = shape.elements().map_err(in_tensor)?;
        if proto.segment.is_some() {
            return Err(data_error(name, "tensors in segments are not supported"));
        }
        Ok(Slot {
            name: name.to_owned(),
            dtype,
            shape,
            elements,
        })
    }

    /// The bytes of the packed data. Saturates, and then no data fits.
    fn raw_bytes(&self) -> usize {
        match self.dtype {
            DType::I4 | DType::U4 => self.elements.div_ceil(2),
            DType::I2 | DType::U2 => self.elements.div_ceil(4),
            _ => self.elements.saturating_mul(self.dtype.size_bytes()),
        }
    }

    fn check(&self, unit: &str, expected: usize, got: usize) -> Result<()> {
        if expected == got {
            return Ok(());
        }
        let (dtype, shape) = (self.dtype, &self.shape);
        let what = format!("{dtype}{shape} needs {expected} {unit}, got {got}");
        Err(data_error(&self.name, what))
    }

    fn made(&self, tensor: tilewright_tensor::Result<HostTensor>) -> Result<HostTensor> {
        tensor.map_err(|source| Error::Tensor {
            name: self.name.clone(),
            source,
        })
    }

    /// From `raw_data`: little endian, the sub-byte types packed from the low bits on.
    pub(crate) fn read_raw(&self, raw: &[u8]) -> Result<HostTensor> {
        self.check("bytes", self.raw_bytes(), raw.len())?;
        match self.dtype {
            DType::I4 | DType::U4 | DType::I2 | DType::U2 => {
                let unpacked = unpack(raw, self.dtype, self.elements);
                self.made(HostTensor::from_bytes(self.dtype, &self.shape, &unpacked))
            }
            _ => self.made(HostTensor::from_bytes(self.dtype, &self.shape, raw)),
        }
    }

    /// From the field that onnx.proto names for the element type.
    fn read_typed(&self, proto: &TensorProto) -> Result<HostTensor> {
        match self.dtype {
            DType::F32 => self.read_values(&proto.float_data),
            DType::F64 => self.read_values(&proto.double_data),
            DType::I64 => self.read_values(&proto.int64_data),
            DType::U64 => self.read_values(&proto.uint64_data),
            DType::U32 => self.read_integers(&proto.uint64_data, |v| v.into()),
            DType::F16 => {
                let bits: Vec<f16> = self.narrow(&proto.int32_data, f16::from_bits)?;
                self.read_values(&bits)
            }
            DType::BF16 => {
                let bits: Vec<bf16> = self.narrow(&proto.int32_data, bf16::from_bits)?;
                self.read_values(&bits)
            }
            DType::I4 | DType::U4 | DType::I2 | DType::U2 => {
                // Each entry is one byte of the packed form.
                let bytes = self.narrow(&proto.int32_data, |byte: u8| byte)?;
                self.read_raw(&bytes)
            }
            DType::I32 => self.read_values(&proto.int32_data),
            DType::I8 | DType::I16 | DType::U8 | DType::U16 | DType::Bool => {
                self.read_integers(&proto.int32_data, |v| v.into())
            }
        }
    }

    fn read_values<T: tilewright_tensor::Element>(&self, values: &[T]) -> Result<HostTensor> {
        self.check("elements", self.elements, values.len())?;
        self.made(HostTensor::from_slice(&self.shape, values))
    }

    /// Integers from a wider field; those outside the element type's range are errors.
    fn read_integers<T: Copy>(&self, values: &[T], widen: fn(T) -> i128) -> Result<HostTensor> {
        self.check("elements", self.elements, values.len())?;
        let (low, high) = self.dtype.int_range().unwrap_or((0, 0));
        let mut integers = Vec::with_capacity(values.len());
        for (index, &value) in values.iter().enumerate() {
            let value = widen(value);
            if !(low..=high).contains(&value) {
                let dtype = self.dtype;
                let what = format!("element {index} is {value}, outside the range of {dtype}");
                return Err(data_error(&self.name, what));
            }
            integers.push(value as i64);
        }
        self.made(HostTensor::from_i64(self.dtype, &self.shape, integers))
    }

    /// The low bits of `int32_data` entries, which must not have others.
    fn narrow<N: TryFrom<i32>, T>(&self, values: &[i32], make: fn(N) -> T) -> Result<Vec<T>> {
        let narrow = |(index, &value): (usize, &i32)| match N::try_from(value) {
            Ok(bits) => Ok(make(bits)),
            Err(_) => {
                let what = format!("entry {index} of int32_data is {value}, too wide");
                Err(data_error(&self.name, what))
            }
        };
        values.iter().enumerate().map(narrow).collect()
    }
}

/// One byte an element from several elements a byte, the first in the lowest bits.
fn unpack(raw: &[u8], dtype: DType, elements: usize) -> Vec<u8> {
    let bits = dtype.bits();
    let shift = 8 - bits as u32;
    let element = |i: usize| {
        // The element's bits at the top of the byte, shifted down with or without the sign.
        let top = raw[i * bits / 8] << (shift - (i * bits % 8) as u32);
        if dtype.is_signed() {
            (top as i8 >> shift) as u8
        } else {
            top >> shift
        }
    };
    (0..elements).map(element).collect()
}

/// The inverse of [`unpack`]; the last byte is filled up with zeros.
fn pack(bytes: &[u8], bits: usize) -> Vec<u8> {
    let mask = (1u8 << bits) - 1;
    let byte = |elements: &[u8]| {
        let elements = elements.iter().enumerate();
        elements.fold(0, |byte, (i, e)| byte | (e & mask) << (i * bits))
    };
    bytes.chunks(8 / bits).map(byte).collect()
}

#[cfg(test)]
mod tests;
