use std::collections::HashMap;

use super::*;
use crate::proto::StringStringEntryProto;

fn proto(dtype: DType, dims: &[i64]) -> TensorProto {
    TensorProto {
        name: Some("w".to_owned()),
        dims: dims.to_vec(),
        data_type: Some(dtype_code(dtype) as i32),
        ..TensorProto::default()
    }
}

fn read(proto: &TensorProto) -> Result<HostTensor> {
    read_tensor(proto, &NoExternalData)
}

fn fails(proto: &TensorProto) -> String {
    read(proto).unwrap_err().to_string()
}

#[test]
fn round_trips_every_type() {
    for dtype in DType::ALL {
        for shape in [Shape::scalar(), Shape::from([0, 3]), Shape::from([3, 3])] {
            let count = shape.elements().unwrap() as i64;
            let values = (0..count).map(|v| v - 4).collect();
            let tensor = HostTensor::from_i64(dtype, shape, values).unwrap();
            let file = save_tensor("w", &tensor);
            assert_eq!(load_tensor(&file).unwrap(), tensor);
        }
    }
}

#[test]
fn reads_typed_fields() {
    let ints = |dtype, data: &[i32]| {
        let proto = TensorProto {
            int32_data: data.to_vec(),
            ..proto(dtype, &[data.len() as i64])
        };
        read(&proto).unwrap().to_f64()
    };
    assert_eq!(ints(DType::I8, &[-128, 127]), [-128.0, 127.0]);
    assert_eq!(ints(DType::U16, &[65535]), [65535.0]);
    assert_eq!(ints(DType::Bool, &[0, 1]), [0.0, 1.0]);
    assert_eq!(ints(DType::F16, &[0x3c00, 0xc000]), [1.0, -2.0]);
    assert_eq!(ints(DType::BF16, &[0x3f80, 0xc000]), [1.0, -2.0]);
    let float = TensorProto {
        float_data: vec![1.5],
        ..proto(DType::F32, &[])
    };
    assert_eq!(read(&float).unwrap(), HostTensor::scalar(1.5f32));
    let double = TensorProto {
        double_data: vec![-0.1],
        // Set beside the typed field by some writers.
        raw_data: Some(Bytes::new()),
        ..proto(DType::F64, &[])
    };
    assert_eq!(read(&double).unwrap(), HostTensor::scalar(-0.1f64));
    let wide = |dtype| {
        let proto = TensorProto {
            uint64_data: vec![4_000_000_000],
            ..proto(dtype, &[1])
        };
        read(&proto).unwrap().to_i64().unwrap()
    };
    assert_eq!(wide(DType::U32), [4_000_000_000]);
    assert_eq!(wide(DType::U64), [4_000_000_000]);
}

#[test]
fn narrow_types_are_packed_from_the_low_bits() {
    let packed = |dtype, raw: &[u8], count| {
        let raw_form = TensorProto {
            raw_data: Some(raw.to_vec().into()),
            ..proto(dtype, &[count])
        };
        let typed_form = TensorProto {
            int32_data: raw.iter().map(|&b| b.into()).collect(),
            ..proto(dtype, &[count])
        };
        let tensor = read(&raw_form).unwrap();
        assert_eq!(tensor, read(&typed_form).unwrap());
        assert_eq!(write_tensor("", &tensor).raw_data.unwrap(), raw);
        tensor.to_i64().unwrap()
    };
    assert_eq!(packed(DType::I4, &[0x8f, 0x07], 3), [-1, -8, 7]);
    assert_eq!(packed(DType::U4, &[0x8f, 0x07], 3), [15, 8, 7]);
    assert_eq!(packed(DType::I2, &[0b10_11_00_01], 4), [1, 0, -1, -2]);
    assert_eq!(packed(DType::U2, &[0b10_11_00_01, 2], 5), [1, 0, 3, 2, 2]);
}

#[test]
fn data_must_fit_the_extents() {
    let raw = |dtype, dims: &[i64], bytes: usize| TensorProto {
        raw_data: Some(vec![0; bytes].into()),
        ..proto(dtype, dims)
    };
    assert_eq!(
        fails(&raw(DType::F32, &[2, 3], 20)),
        "tensor `w`: f32[2, 3] needs 24 bytes, got 20"
    );
    assert!(fails(&raw(DType::F32, &[0], 4)).contains("needs 0 bytes"));
    assert!(fails(&raw(DType::I4, &[3], 3)).contains("needs 2 bytes"));
    assert!(fails(&raw(DType::F32, &[-1], 4)).contains("invalid extents [-1]"));
    assert!(fails(&raw(DType::F32, &[i64::MAX], 4)).contains("got 4"));
    assert!(fails(&raw(DType::F32, &[i64::MAX, 2], 4)).contains("too many elements"));
    assert!(fails(&proto(DType::F32, &[1])).contains("needs 1 elements, got 0"));
    assert!(fails(&proto(DType::U2, &[1 << 40])).contains("got 0"));
    assert_eq!(read(&proto(DType::F32, &[0, 9])).unwrap().len(), 0);
}

#[test]
fn values_must_fit_the_type() {
    let ints = |dtype, value| {
        fails(&TensorProto {
            int32_data: vec![value],
            ..proto(dtype, &[1])
        })
    };
    assert!(ints(DType::U8, 256).contains("element 0 is 256, outside the range of u8"));
    assert!(ints(DType::Bool, 2).contains("outside the range of bool"));
    assert!(ints(DType::F16, -1).contains("too wide"));
    assert!(ints(DType::U4, 256).contains("too wide"));
    let wide = TensorProto {
        uint64_data: vec![1 << 32],
        ..proto(DType::U32, &[1])
    };
    assert!(fails(&wide).contains("outside the range of u32"));
    let bool_bytes = TensorProto {
        raw_data: Some(vec![2].into()),
        ..proto(DType::Bool, &[1])
    };
    assert!(fails(&bool_bytes).contains("outside the range of bool"));
}

#[test]
fn other_element_types_are_named() {
    let code = |code| {
        fails(&TensorProto {
            data_type: Some(code),
            ..proto(DType::F32, &[1])
        })
    };
    assert_eq!(
        code(8),
        "`w` has elements of type string, which is not supported"
    );
    assert!(code(17).contains("float8e4m3fn"));
    assert!(code(0).contains("undefined"));
    assert!(code(-7).contains("number -7"));
}

#[test]
fn external_data_is_bounded_by_the_extents() {
    let files = HashMap::from([("w.bin".to_owned(), Bytes::from_static(&[9, 1, 0, 2, 0]))]);
    let external = |entries: &[(&str, &str)]| {
        let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
        };
        let proto = TensorProto {
            data_location: Some(tensor_proto::DataLocation::External as i32),
            external_data: entries.iter().map(entry).collect(),
            ..proto(DType::I16, &[2])
        };
        read_tensor(&proto, &files)
    };
    let fails = |entries: &[(&str, &str)]| external(entries).unwrap_err().to_string();
    let at = ("location", "w.bin");
    let tensor = external(&[at, ("offset", "1"), ("length", "4")]).unwrap();
    assert_eq!(tensor.as_slice::<i16>().unwrap(), [1, 2]);
    assert!(external(&[at, ("checksum", "x")]).is_ok());
    assert!(fails(&[at, ("offset", "2")]).contains("are not in a file of 5"));
    assert!(fails(&[at, ("length", "5")]).contains("the extents need 4"));
    assert!(fails(&[at, ("offset", "-1")]).contains("is no number"));
    assert!(fails(&[("offset", "1")]).contains("no location"));
    assert!(fails(&[("location", "v.bin")]).contains("tensor `w`: external data at `v.bin`"));
}

#[test]
fn truncated_files_are_typed_errors() {
    let tensor = HostTensor::from_vec([4], vec![1f32, 2.0, 3.0, 4.0]).unwrap();
    let file = save_tensor("w", &tensor);
    for keep in 0..file.len() {
        // Cut between two fields, a message is whole but lacks its data or its type.
        assert!(load_tensor(&file[..keep]).is_err(), "{keep}");
    }
    assert!(matches!(
        load_tensor(&[0xff; 12]),
        Err(Error::Decode { .. })
    ));
    let segment = TensorProto {
        segment: Some(tensor_proto::Segment::default()),
        ..write_tensor("w", &tensor)
    };
    assert!(fails(&segment).contains("segments"));
}
