//! The models that are mutated: every operator's cases as models of one node, nets that join many operators, the
//! example's models, and those of the conformance suite where it is unpacked.

use std::path::{Path, PathBuf};

use prost::Message;
use tilewright::DType;
use tilewright::graph::{Attr, Case, Op};
use tilewright::onnx::load_tensor;
use tilewright::onnx::proto::NodeProto;
use tilewright::tensor::HostTensor;

use crate::build::{Net, function, node};

/// Larger models are left out.
const MOST_BYTES: usize = 300_000;

/// A sound model and inputs for it.
pub(crate) struct Base {
    pub(crate) name: String,
    pub(crate) file: Vec<u8>,
    pub(crate) inputs: Vec<(String, HostTensor)>,
}

impl Base {
    fn new(name: &str, net: Net, inputs: &[(&str, HostTensor)]) -> Base {
        Base {
            name: name.to_owned(),
            file: net.model().encode_to_vec(),
            inputs: inputs
                .iter()
                .map(|(n, t)| ((*n).to_owned(), t.clone()))
                .collect(),
        }
    }
}

/// Where bases come from; each is picked as often as the others.
pub(crate) struct Bases(Vec<Vec<Base>>);

impl Bases {
    pub(crate) fn load() -> Bases {
        let cases = Op::cases().iter().filter_map(of_case).collect();
        let mut kinds = vec![cases, nets()];
        kinds.push(files(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits"),
        ));
        if let Some(suite) = std::env::var_os("TILEWRIGHT_SUITE") {
            kinds.push(files(Path::new(&suite)));
        }
        kinds.retain(|bases| !bases.is_empty());
        Bases(kinds)
    }

    /// A node for every operator's every case.
    pub(crate) fn donors(&self) -> Vec<NodeProto> {
        let nodes = self.0[0].iter().map(|base| {
            let model = tilewright::onnx::decode_model(base.file.clone()).ok()?;
            model.graph?.node.pop()
        });
        nodes.flatten().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// The base for two random numbers. The example's models, large and few, come up less often.
    pub(crate) fn pick(&self, kind: usize, which: usize) -> &Base {
        let shares = [4, 2, 1, 4];
        let total: usize = shares.iter().take(self.0.len()).sum();
        let mut at = kind % total;
        let bases = self.0.iter().zip(shares).find(|(_, share)| {
            let here = at < *share;
            at = at.saturating_sub(*share);
            here
        });
        let bases = bases.map_or(&self.0[0], |(bases, _)| bases);
        &bases[which % bases.len()]
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Base> {
        self.0.iter().flatten()
    }
}

/// A case as a model; none where the operator has subgraphs or is none of ONNX's.
fn of_case(case: &Case) -> Option<Base> {
    let attrs = case.op.attrs();
    let attrs: Vec<(&str, Attr)> = attrs.iter().map(|(k, v)| (k, v.clone())).collect();
    if attrs.iter().any(|(_, a)| matches!(a, Attr::Graph(_))) {
        return None;
    }
    let outputs = case
        .op
        .reference(&case.inputs.iter().map(Option::as_ref).collect::<Vec<_>>());
    let count = outputs.ok()?.len();
    let (mut net, mut names, mut inputs) = (Net::new(), vec![], vec![]);
    for (i, tensor) in case.inputs.iter().enumerate() {
        let name = format!("x{i}");
        let Some(tensor) = tensor else {
            names.push(String::new());
            continue;
        };
        if case.constant.contains(&i) {
            net = net.init(&name, tensor);
        } else {
            let sizes: Vec<String> = tensor.shape().iter().map(usize::to_string).collect();
            let sizes: Vec<&str> = sizes.iter().map(String::as_str).collect();
            net = net.input(&name, tensor.dtype(), &sizes);
            inputs.push((name.clone(), tensor.clone()));
        }
        names.push(name);
    }
    let outputs: Vec<String> = (0..count).map(|i| format!("y{i}")).collect();
    let [names, outputs] =
        [&names, &outputs].map(|n| n.iter().map(String::as_str).collect::<Vec<_>>());
    net = net.node(case.op.name(), &names, &outputs, &attrs);
    for name in outputs {
        net = net.output(name);
    }
    let file = net.model().encode_to_vec();
    let name = format!("case {} `{}`", case.op.name(), case.name);
    (file.len() <= MOST_BYTES).then_some(Base { name, file, inputs })
}

/// Every `.onnx` file below a folder, with the inputs that lie beside it as the suite has them.
fn files(folder: &Path) -> Vec<Base> {
    let mut found = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "onnx")
                && entry.metadata().is_ok_and(|m| m.len() <= MOST_BYTES as u64)
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found.iter().filter_map(of_file).collect()
}

fn of_file(path: &PathBuf) -> Option<Base> {
    let file = std::fs::read(path).ok()?;
    let model = tilewright::onnx::decode_model(file.clone()).ok()?;
    let graph = model.graph?;
    let mut inputs = vec![];
    let given = graph
        .input
        .iter()
        .filter(|i| !graph.initializer.iter().any(|t| t.name() == i.name()));
    for (i, info) in given.enumerate() {
        let at = path.with_file_name(format!("test_data_set_0/input_{i}.pb"));
        if let Some(tensor) = std::fs::read(at).ok().and_then(|f| load_tensor(&f).ok()) {
            inputs.push((info.name().to_owned(), tensor));
        }
    }
    Some(Base {
        name: path.display().to_string(),
        file,
        inputs,
    })
}

fn ramp(shape: &[usize]) -> HostTensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
    HostTensor::from_vec(shape.to_vec(), values).unwrap()
}

fn ints(values: &[i64]) -> Attr {
    Attr::Ints(values.to_vec())
}

/// Nets of several nodes.
pub(crate) fn nets() -> Vec<Base> {
    vec![
        convolutions(),
        shape_arithmetic(),
        attention(),
        late_shapes(),
        loop_with_scan_output(),
        endless_loop(),
        branches(),
        scan(),
        functions(),
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
        .init("w3", &ramp(&[4, 2, 2, 2]))
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
        )
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
        .node("GlobalAveragePool", &["a"], &["g"], &[])
        .node("Flatten", &["g"], &["f"], &[])
        .node("Gemm", &["f", "fc"], &["y"], &[("alpha", Attr::Float(0.5))])
        .node("Softmax", &["y"], &["z"], &[("axis", Attr::Int(-1))])
        .output("z");
    Base::new("net convolutions", net, &[("x", ramp(&[1, 3, 9, 8]))])
}

fn shape_arithmetic() -> Base {
    let net = Net::new()
        .input("x", DType::F32, &["batch", "seq", "6"])
        .ints("two", &[2])
        .ints("zero", &[0])
        .ints("axis", &[1])
        .ints("minus", &[-1])
        .ints("pads", &[0, 1, 0, 0, 2, 0])
        .ints("ends", &[4])
        .init(
            "scales",
            &HostTensor::from_slice([3], &[1.0f32, 2.0, 1.5]).unwrap(),
        )
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
        .output("y")
        .output("h");
    Base::new("net shape arithmetic", net, &[("x", ramp(&[2, 4, 6]))])
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

/// A body with the ranks that exporters write.
fn loop_body() -> Net {
    Net::new()
        .input("i", DType::I64, &[])
        .input("go", DType::Bool, &[])
        .input("acc", DType::F32, &["2", "3"])
        .node("Add", &["acc", "outer"], &["next"], &[])
        .node("Identity", &["go"], &["on"], &[])
        .node(
            "ReduceMean",
            &["next"],
            &["mean"],
            &[("keepdims", Attr::Int(0))],
        )
        .output("on")
        .output("next")
        .output("mean")
}

fn loop_with_scan_output() -> Base {
    let net = Net::new()
        .input("x", DType::F32, &["2", "3"])
        .input("outer", DType::F32, &["2", "3"])
        .init("count", &HostTensor::scalar(4i64))
        .node("Loop", &["count", "", "x"], &["y", "means"], &[])
        .body("body", loop_body())
        .output("y")
        .output("means");
    Base::new(
        "net loop",
        net,
        &[("x", ramp(&[2, 3])), ("outer", ramp(&[2, 3]))],
    )
}

/// Ends by its condition, after carried values have grown.
fn endless_loop() -> Base {
    let body = Net::new()
        .input("i", DType::I64, &[])
        .input("go", DType::Bool, &[])
        .any("acc", DType::F32)
        .init("most", &HostTensor::scalar(3i64))
        .node("Less", &["i", "most"], &["on"], &[])
        .node(
            "Concat",
            &["acc", "acc"],
            &["next"],
            &[("axis", Attr::Int(0))],
        )
        .output("on")
        .output("next");
    let net = Net::new()
        .input("x", DType::F32, &["2", "3"])
        .init("count", &HostTensor::scalar(i64::MAX))
        .init("yes", &HostTensor::scalar(true))
        .node("Loop", &["count", "yes", "x"], &["y"], &[])
        .body("body", body)
        .node("Relu", &["y"], &["z"], &[])
        .output("z");
    Base::new("net endless loop", net, &[("x", ramp(&[2, 3]))])
}

fn branches() -> Base {
    let branch = |op: &str, out: &str| Net::new().node(op, &["x"], &[out], &[]).output(out);
    let net = Net::new()
        .input("x", DType::F32, &["n", "3"])
        .input("c", DType::Bool, &[])
        .node("If", &["c"], &["y"], &[])
        .body("then_branch", branch("Relu", "t"))
        .body("else_branch", branch("Flatten", "e"))
        .node("Exp", &["y"], &["z"], &[])
        .output("z");
    Base::new(
        "net if",
        net,
        &[("x", ramp(&[2, 3])), ("c", HostTensor::scalar(true))],
    )
}

fn scan() -> Base {
    let body = Net::new()
        .input("s", DType::F32, &["3"])
        .input("e", DType::F32, &["3"])
        .node("Add", &["s", "e"], &["next"], &[])
        .node("Mul", &["next", "e"], &["out"], &[])
        .output("next")
        .output("out");
    let net = Net::new()
        .input("x", DType::F32, &["n", "3"])
        .init("zero", &ramp(&[3]))
        .node(
            "Scan",
            &["zero", "x"],
            &["last", "all"],
            &[
                ("num_scan_inputs", Attr::Int(1)),
                ("scan_input_directions", ints(&[1])),
            ],
        )
        .body("body", body)
        .output("last")
        .output("all");
    Base::new("net scan", net, &[("x", ramp(&[4, 3]))])
}

fn functions() -> Base {
    let twice = vec![
        node("here:Once", &["a"], &["t"], &[]),
        node("here:Once", &["t"], &["b"], &[]),
    ];
    let once = vec![
        node("Mul", &["a", "a"], &["m"], &[]),
        node("Sigmoid", &["m"], &["b"], &[]),
    ];
    let net = Net::new()
        .input("x", DType::F32, &["n"])
        .node("here:Twice", &["x"], &["y"], &[])
        .output("y");
    let mut model = net.model();
    model.functions = vec![
        function("Twice", &["a"], &["b"], twice),
        function("Once", &["a"], &["b"], once),
    ];
    Base {
        name: "net functions".to_owned(),
        file: model.encode_to_vec(),
        inputs: vec![("x".to_owned(), ramp(&[4]))],
    }
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
