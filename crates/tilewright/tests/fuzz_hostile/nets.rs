//! Models that join many operators, each sound as it is.

use prost::Message;
use tilewright::graph::Attr;
use tilewright::{DType, HostTensor};

use crate::bases::Base;
use crate::build::{Net, ints, ramp};
use crate::flow;

/// All of them.
pub(crate) fn nets() -> Vec<Base> {
    vec![
        convolutions(),
        shape_arithmetic(),
        attention(),
        late_shapes(),
        flow::loop_with_scan_output(),
        flow::endless_loop(),
        flow::branches(),
        flow::scan(),
        flow::functions(),
        quantised(),
        recurrent(),
        old_operators(),
    ]
}

fn convolutions() -> Base {
    let net = Net::new()
        .input("x", DType::F32, &["n", "3", "h", "w"])
        .init("w1", &ramp(&[4, 3, 3, 3]))
        .init("b1", &ramp(&[4]))
        .init("s", &ramp(&[4]))
        .init("w2", &ramp(&[4, 1, 3, 3]))
        .init("fc", &ramp(&[2, 5]))
        .node(
            "Conv",
            &["x", "w1", "b1"],
            &["c"],
            &[("pads", ints(&[1, 1, 1, 1])), ("strides", ints(&[2, 2]))],
        )
        .node(
            "BatchNormalization",
            &["c", "s", "b1", "b1", "s"],
            &["bn"],
            &[],
        )
        .node("Relu", &["bn"], &["r"], &[])
        .node(
            "Conv",
            &["r", "w2"],
            &["d"],
            &[
                ("group", Attr::Int(4)),
                ("dilations", ints(&[1, 1])),
                ("auto_pad", Attr::Str("SAME_UPPER".into())),
            ],
        );
    let net = decoder(net)
        .node("GlobalAveragePool", &["a"], &["g"], &[])
        .node("Flatten", &["g"], &["f"], &[])
        .node("Gemm", &["f", "fc"], &["y"], &[("alpha", Attr::Float(0.5))])
        .node("Softmax", &["y"], &["z"], &[("axis", Attr::Int(-1))])
        .output("z");
    Base::new("net convolutions", net, &[("x", ramp(&[1, 3, 9, 8]))])
}

/// From `d` down and up again to `a`.
fn decoder(net: Net) -> Net {
    net.init("w3", &ramp(&[4, 2, 2, 2]))
        .node(
            "MaxPool",
            &["d"],
            &["p"],
            &[("kernel_shape", ints(&[2, 2])), ("ceil_mode", Attr::Int(1))],
        )
        .node(
            "ConvTranspose",
            &["p", "w3"],
            &["t"],
            &[
                ("strides", ints(&[2, 2])),
                ("output_padding", ints(&[1, 1])),
            ],
        )
        .node(
            "AveragePool",
            &["t"],
            &["a"],
            &[
                ("kernel_shape", ints(&[2, 1])),
                ("count_include_pad", Attr::Int(1)),
            ],
        )
}

fn shape_arithmetic() -> Base {
    let net = Net::new()
        .input("x", DType::F32, &["batch", "seq", "6"])
        .ints("two", &[2])
        .ints("zero", &[0])
        .ints("axis", &[1])
        .ints("minus", &[-1])
        .node("Shape", &["x"], &["s"], &[])
        .node(
            "Gather",
            &["s", "axis"],
            &["seq"],
            &[("axis", Attr::Int(0))],
        )
        .node("Mul", &["seq", "two"], &["twice"], &[])
        .node("Div", &["twice", "two"], &["half"], &[])
        .node(
            "Concat",
            &["zero", "half", "two", "minus"],
            &["to"],
            &[("axis", Attr::Int(0))],
        )
        .node("Reshape", &["x", "to"], &["r"], &[])
        .node(
            "Transpose",
            &["r"],
            &["t"],
            &[("perm", ints(&[0, 2, 1, 3]))],
        )
        .node("Slice", &["t", "zero", "half", "two", "axis"], &["sl"], &[])
        .node("Expand", &["sl", "axis"], &["e"], &[])
        .node(
            "ReduceSum",
            &["e", "minus"],
            &["q"],
            &[("keepdims", Attr::Int(0))],
        );
    let net = resized(net).output("y").output("h");
    Base::new("net shape arithmetic", net, &[("x", ramp(&[2, 4, 6]))])
}

/// `q` padded, enlarged, repeated and sorted, by sizes that are data, as `y` and `h`.
fn resized(net: Net) -> Net {
    net.ints("pads", &[0, 1, 0, 0, 2, 0])
        .ints("ends", &[4])
        .init(
            "scales",
            &HostTensor::from_slice([3], &[1.0f32, 2.0, 1.5]).unwrap(),
        )
        .node(
            "Pad",
            &["q", "pads"],
            &["p"],
            &[("mode", Attr::Str("edge".into()))],
        )
        .node(
            "Resize",
            &["p", "", "scales"],
            &["rs"],
            &[("mode", Attr::Str("linear".into()))],
        )
        .node("Tile", &["rs", "pads3"], &["ti"], &[])
        .ints("pads3", &[1, 2, 1])
        .node(
            "TopK",
            &["ti", "ends"],
            &["v", "i"],
            &[("axis", Attr::Int(1))],
        )
        .node("OneHot", &["i", "ends", "oh"], &["h"], &[])
        .ints("oh", &[0, 1])
        .node("CumSum", &["v", "axis0"], &["y"], &[])
        .init("axis0", &HostTensor::scalar(1i64))
}

fn attention() -> Base {
    let net = Net::new()
        .input("x", DType::F32, &["b", "s", "8"])
        .input("mask", DType::Bool, &["b", "1", "s"])
        .init("q", &ramp(&[8, 8]))
        .init("g", &ramp(&[8]))
        .init("low", &HostTensor::scalar(-1e9f32))
        .node(
            "LayerNormalization",
            &["x", "g", "g"],
            &["n"],
            &[("axis", Attr::Int(-1))],
        )
        .node("MatMul", &["n", "q"], &["k"], &[])
        .node("Transpose", &["k"], &["kt"], &[("perm", ints(&[0, 2, 1]))])
        .node("MatMul", &["n", "kt"], &["a"], &[])
        .node("Where", &["mask", "a", "low"], &["m"], &[])
        .node("Softmax", &["m"], &["p"], &[])
        .node(
            "Einsum",
            &["p", "k"],
            &["o"],
            &[("equation", Attr::Str("bij,bjd->bid".into()))],
        )
        .node("Gelu", &["o"], &["ge"], &[])
        .node("Add", &["ge", "x"], &["y"], &[])
        .node("ArgMax", &["y"], &["i"], &[("axis", Attr::Int(2))])
        .output("y")
        .output("i");
    let mask = HostTensor::from_storage(DType::Bool, [2, 1, 3], vec![1u8, 0, 1, 1, 1, 1]).unwrap();
    Base::new(
        "net attention",
        net,
        &[("x", ramp(&[2, 3, 8])), ("mask", mask)],
    )
}

fn late_shapes() -> Base {
    let net = Net::new()
        .input("x", DType::F32, &["n", "4"])
        .any("free", DType::F32)
        .input("n", DType::I64, &[])
        .init("one", &HostTensor::scalar(1i64))
        .init("zero", &HostTensor::scalar(0i64))
        .ints("minus", &[-1])
        .node("NonZero", &["x"], &["nz"], &[])
        .node("Transpose", &["nz"], &["nt"], &[])
        .node("GatherND", &["x", "nt"], &["g"], &[])
        .node("Range", &["zero", "n", "one"], &["r"], &[])
        .node("Shape", &["r"], &["rs"], &[])
        .node("ConstantOfShape", &["rs"], &["c"], &[])
        .node("Reshape", &["free", "minus"], &["f"], &[])
        .node("Unique", &["f"], &["u", "", "", "counts"], &[])
        .node(
            "Concat",
            &["g", "c", "u"],
            &["y"],
            &[("axis", Attr::Int(0))],
        )
        .output("y")
        .output("counts");
    let n = HostTensor::scalar(5i64);
    Base::new(
        "net late shapes",
        net,
        &[("x", ramp(&[3, 4])), ("free", ramp(&[2, 2])), ("n", n)],
    )
}

fn quantised() -> Base {
    let bytes = |shape: &[usize]| {
        let n: usize = shape.iter().product();
        let values: Vec<i64> = (0..n as i64).map(|i| i * 37 % 251 - 125).collect();
        HostTensor::from_i64(DType::I8, shape.to_vec(), values).unwrap()
    };
    let net = Net::new()
        .input("x", DType::F32, &["n", "2", "5", "5"])
        .init("s", &HostTensor::scalar(0.1f32))
        .init("z", &HostTensor::scalar(3i8))
        .init("w", &bytes(&[4, 2, 3, 3]))
        .init(
            "ws",
            &HostTensor::from_slice([4], &[0.1f32, 0.2, 0.3, 0.4]).unwrap(),
        )
        .init("m", &bytes(&[36, 3]))
        .node("QuantizeLinear", &["x", "s", "z"], &["q"], &[])
        .node("DequantizeLinear", &["q", "s", "z"], &["d"], &[])
        .node(
            "DequantizeLinear",
            &["w", "ws"],
            &["dw"],
            &[("axis", Attr::Int(0))],
        )
        .node("Conv", &["d", "dw"], &["c"], &[])
        .node("Flatten", &["c"], &["f"], &[])
        .node("DynamicQuantizeLinear", &["f"], &["fq", "fs", "fz"], &[])
        .node("MatMulInteger", &["fq", "m", "fz"], &["i"], &[])
        .node("Cast", &["i"], &["y"], &[("to", Attr::Int(1))])
        .output("y");
    Base::new("net quantised", net, &[("x", ramp(&[1, 2, 5, 5]))])
}

fn recurrent() -> Base {
    let net = Net::new()
        .input("x", DType::F32, &["seq", "n", "3"])
        .init("w", &ramp(&[1, 16, 3]))
        .init("r", &ramp(&[1, 16, 4]))
        .init("b", &ramp(&[1, 32]))
        .node(
            "LSTM",
            &["x", "w", "r", "b"],
            &["y", "h", "c"],
            &[("hidden_size", Attr::Int(4))],
        )
        .init("gw", &ramp(&[2, 12, 4]))
        .ints("axes", &[1])
        .node("Squeeze", &["y", "axes"], &["sq"], &[])
        .node(
            "GRU",
            &["sq", "gw", "gw"],
            &["gy", "gh"],
            &[
                ("hidden_size", Attr::Int(4)),
                ("direction", Attr::Str("bidirectional".into())),
            ],
        )
        .output("gy")
        .output("c");
    Base::new("net recurrent", net, &[("x", ramp(&[5, 2, 3]))])
}

/// Everything that is said differently in an old operator set.
fn old_operators() -> Base {
    let net = Net::new()
        .input("x", DType::F32, &["2", "3", "4"])
        .init("b", &ramp(&[3]))
        .node(
            "Add",
            &["x", "b"],
            &["a"],
            &[("axis", Attr::Int(1)), ("broadcast", Attr::Int(1))],
        )
        .node(
            "Clip",
            &["a"],
            &["c"],
            &[("min", Attr::Float(-0.5)), ("max", Attr::Float(0.5))],
        )
        .node(
            "Pad",
            &["c"],
            &["p"],
            &[
                ("pads", ints(&[0, 0, 1, 0, 0, 1])),
                ("value", Attr::Float(1.0)),
            ],
        )
        .node(
            "Slice",
            &["p"],
            &["s"],
            &[
                ("starts", ints(&[0, 1])),
                ("ends", ints(&[2, 3])),
                ("axes", ints(&[0, 1])),
            ],
        )
        .node(
            "Split",
            &["s"],
            &["s1", "s2"],
            &[("axis", Attr::Int(1)), ("split", ints(&[1, 1]))],
        )
        .node("Softmax", &["s1"], &["m"], &[("axis", Attr::Int(1))])
        .node("Unsqueeze", &["m"], &["u"], &[("axes", ints(&[0]))])
        .node(
            "Upsample",
            &["u"],
            &["up"],
            &[("scales", Attr::Floats(vec![1.0, 1.0, 2.0, 2.0]))],
        )
        .node("TopK", &["s2"], &["t", "ti"], &[("k", Attr::Int(2))])
        .output("up")
        .output("t");
    let mut model = net.model();
    model.opset_import[0].version = Some(6);
    Base {
        name: "net old operators".to_owned(),
        file: model.encode_to_vec(),
        inputs: vec![("x".to_owned(), ramp(&[2, 3, 4]))],
    }
}
