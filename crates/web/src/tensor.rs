//! Tensors between JavaScript and the engine: plain objects, so that a page has nothing to free.

use crate::glue::{error, object};
use js_sys::{Array, ArrayBuffer, Object, Reflect, Uint8Array};
use tilewright::{DType, HostTensor};
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** `dtype` is needed only where the array leaves it open: "bool" for Uint8Array, "f16" and "bf16" for Uint16Array. */
export interface Tensor {
    data: Float32Array | Float64Array | Int8Array | Int16Array | Int32Array | BigInt64Array
        | Uint8Array | Uint16Array | Uint32Array | BigUint64Array;
    shape: number[];
    dtype?: string;
}
"#;

/// Reads `{data, shape, dtype?}`; `name` is for the errors.
pub(crate) fn read(name: &str, value: &JsValue) -> Result<HostTensor, JsValue> {
    let field = |key: &str| Reflect::get(value, &key.into());
    let data = field("data")?;
    if !ArrayBuffer::is_view(&data) {
        return Err(error(format_args!("{name}: data is not a typed array")));
    }
    let dtype = match field("dtype")?.as_string() {
        Some(given) => given.parse().map_err(error)?,
        None => dtype_of(&data)
            .ok_or_else(|| error(format_args!("{name}: this array needs a dtype beside it")))?,
    };
    let shape = Array::from(&field("shape")?)
        .iter()
        .map(|size| {
            size.as_f64()
                .filter(|size| *size >= 0.0 && size.fract() == 0.0)
        })
        .map(|size| size.map(|size| size as usize))
        .collect::<Option<Vec<usize>>>()
        .ok_or_else(|| error(format_args!("{name}: shape is not a list of sizes")))?;
    HostTensor::from_bytes(dtype, shape, &bytes_of(&data)?)
        .map_err(|why| error(format_args!("{name}: {why}")))
}

/// Writes `{data, shape, dtype}`.
pub(crate) fn write(tensor: &HostTensor) -> Result<Object, JsValue> {
    let shape: Array = tensor
        .shape()
        .iter()
        .map(|&size| JsValue::from(size as f64))
        .collect();
    object([
        ("data", array(tensor.dtype(), tensor.bytes())),
        ("shape", shape.into()),
        ("dtype", tensor.dtype().name().into()),
    ])
}

/// The bytes behind any typed array.
fn bytes_of(view: &JsValue) -> Result<Vec<u8>, JsValue> {
    let field = |key: &str| Reflect::get(view, &key.into());
    let number = |key: &str| Ok::<u32, JsValue>(field(key)?.as_f64().unwrap_or(0.0) as u32);
    let buffer = field("buffer")?;
    Ok(Uint8Array::new_with_byte_offset_and_length(
        &buffer,
        number("byteOffset")?,
        number("byteLength")?,
    )
    .to_vec())
}

/// The type that an array's class says.
fn dtype_of(view: &JsValue) -> Option<DType> {
    let class = Reflect::get(view, &"constructor".into()).ok()?;
    let name = Reflect::get(&class, &"name".into()).ok()?.as_string()?;
    Some(match name.as_str() {
        "Float32Array" => DType::F32,
        "Float64Array" => DType::F64,
        "Float16Array" => DType::F16,
        "Int8Array" => DType::I8,
        "Int16Array" => DType::I16,
        "Int32Array" => DType::I32,
        "BigInt64Array" => DType::I64,
        "Uint8Array" | "Uint8ClampedArray" => DType::U8,
        "Uint16Array" => DType::U16,
        "Uint32Array" => DType::U32,
        "BigUint64Array" => DType::U64,
        _ => return None,
    })
}

/// The typed array for a type; where JavaScript has none, its bits as unsigned integers.
fn array(dtype: DType, bytes: &[u8]) -> JsValue {
    let buffer = Uint8Array::from(bytes).buffer();
    match dtype {
        DType::F32 => js_sys::Float32Array::new(&buffer).into(),
        DType::F64 => js_sys::Float64Array::new(&buffer).into(),
        DType::I8 | DType::I4 | DType::I2 => js_sys::Int8Array::new(&buffer).into(),
        DType::I16 => js_sys::Int16Array::new(&buffer).into(),
        DType::I32 => js_sys::Int32Array::new(&buffer).into(),
        DType::I64 => js_sys::BigInt64Array::new(&buffer).into(),
        DType::F16 | DType::BF16 | DType::U16 => js_sys::Uint16Array::new(&buffer).into(),
        DType::U32 => js_sys::Uint32Array::new(&buffer).into(),
        DType::U64 => js_sys::BigUint64Array::new(&buffer).into(),
        DType::U8 | DType::Bool | DType::U4 | DType::U2 => Uint8Array::new(&buffer).into(),
    }
}
