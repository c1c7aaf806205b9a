//! An operator from outside on a device, through the reader, against its reference.

use std::sync::Arc;

use tilewright::device::{self, Dispatch, GpuOptions, Variant};
use tilewright::graph::fact::{Facts, Tensors};
use tilewright::graph::lower::{Lower, Place, Placing};
use tilewright::graph::{Attrs, CustomOp, Error, Fact, Graph, Op, host, samples};
use tilewright::kernels;
use tilewright::onnx::{self, NoExternalData, ReadOptions, Registry};
use tilewright::tensor::nmse;
use tilewright::{DType, Fallback, Gpu, HostTensor, Model, ModelOptions, Session, block_on};
use tilewright_examples::gated::GatedUnit;
use tilewright_examples::models;

/// The adapter; none only where `TILEWRIGHT_SKIP_GPU=1` says that none is expected.
fn gpu(options: GpuOptions) -> Option<Gpu> {
    let skip = std::env::var_os("TILEWRIGHT_SKIP_GPU").is_some_and(|value| value == "1");
    match block_on(Gpu::new(options)) {
        Ok(gpu) => Some(gpu),
        Err(device::Error::NoAdapter { .. }) if skip => None,
        Err(e) => panic!("{e}; set TILEWRIGHT_SKIP_GPU=1 where no adapter is expected"),
    }
}

fn read(alpha: f32, beta: &HostTensor) -> Graph {
    let mut registry = Registry::default();
    GatedUnit::register(&mut registry);
    let options = ReadOptions::new().registry(registry).maybe_empty("n");
    let file = models::gated(alpha, beta).unwrap();
    onnx::read_model_with(file.clone(), &NoExternalData, &options).unwrap()
}

/// Everything on the device, or an error.
fn all_on_device() -> ModelOptions {
    let mut options = ModelOptions::default();
    options.fallback = Fallback::Deny;
    options
}

fn custom(op: impl CustomOp + 'static) -> Op {
    let op: Arc<dyn CustomOp> = Arc::new(op);
    op.into()
}

#[test]
fn device_and_reference_agree() {
    for options in [GpuOptions::new(), GpuOptions::new().default_limits_only()] {
        let Some(gpu) = gpu(options) else { return };
        for (alpha, channels) in [(1.0, 1), (-1.5, 3), (0.0, 7)] {
            let beta = samples::between(&[channels], 1, -2.0, 2.0);
            let graph = read(alpha, &beta);
            let mut session =
                Session::new(&Model::new(graph.clone(), &gpu, all_on_device())).unwrap();
            for (batch, n) in [(1, 1), (2, 5), (3, 129), (2, 0), (2, 5)] {
                let x = samples::between(&[batch, channels, n], 2, -30.0, 30.0);
                let expected = host::run(&graph, std::slice::from_ref(&x)).unwrap();
                let outputs = block_on(session.run(&[("x", x)])).unwrap();
                let error = nmse(&outputs[0].1, &expected[0]).unwrap();
                assert!(error < 1e-12, "{batch} {channels} {n}: {error:e}");
            }
        }
    }
}

#[test]
fn every_rank_and_type() {
    let Some(gpu) = gpu(GpuOptions::new()) else {
        return;
    };
    let shapes: [&[usize]; 3] = [&[4, 3], &[2, 3, 3, 5], &[1, 3, 2, 1, 9]];
    for shape in shapes {
        for (dtype, bound, steps) in [
            (DType::F32, 1e-12, 0),
            (DType::F16, 1e-6, 0),
            (DType::F64, 0.0, 1),
        ] {
            let mut graph = Graph::new();
            let inputs = [("x", shape), ("beta", &[3])].map(|(name, shape)| {
                let fact = Fact::sized(dtype, shape);
                graph.input(name, Some(fact)).unwrap()
            });
            let y = graph
                .add1(custom(GatedUnit { alpha: 0.5 }), &inputs)
                .unwrap();
            graph.output("y", y);
            let x = samples::between(shape, 3, -4.0, 4.0).cast(dtype).unwrap();
            let beta = samples::uniform(&[3], 4).cast(dtype).unwrap();
            let expected = host::run(&graph, &[x.clone(), beta.clone()]).unwrap();
            let model = Model::new(graph, &gpu, ModelOptions::default());
            let mut session = Session::new(&model).unwrap();
            let outputs = block_on(session.run(&[("x", x), ("beta", beta)])).unwrap();
            let error = nmse(&outputs[0].1, &expected[0]).unwrap();
            assert!(error <= bound, "{shape:?} {dtype}: {error:e}");
            // What the kernel is not for is listed under the operator's own name.
            let host = session.host_steps();
            assert_eq!(host.len(), steps, "{host:?}");
            assert!(host.iter().all(|step| step.op == "here:GatedUnit"));
        }
    }
}

#[test]
fn the_profile_has_its_name_and_shader() {
    let Some(gpu) = gpu(GpuOptions::new()) else {
        return;
    };
    let graph = read(1.0, &samples::uniform(&[3], 1));
    let mut session = Session::new(&Model::new(graph, &gpu, all_on_device())).unwrap();
    let x = samples::uniform(&[2, 3, 4], 1);
    let times = block_on(session.profile(&[("x", x)])).unwrap();
    let own: Vec<_> = times.iter().filter(|t| t.shader == "gated").collect();
    assert_eq!(own.len(), 1, "{times:?}");
    assert_eq!((&*own[0].node, &*own[0].op), ("gate", "here:GatedUnit"));
}

/// One whose shader has a mistake in line 4.
#[derive(Clone, Debug)]
struct Broken;

impl CustomOp for Broken {
    fn name(&self) -> &'static str {
        "here:Broken"
    }
    fn attrs(&self) -> Attrs {
        Attrs::new("Broken")
    }
    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, Error> {
        Ok(vec![inputs.req(0)?.clone()])
    }
    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>, Error> {
        Ok(vec![inputs.req(0)?.clone()])
    }
    fn place(&self, _: &Placing<'_>) -> Place {
        Place::Device
    }
    fn lower(&self, cx: &mut Lower<'_>) -> Result<(), Error> {
        let text = "@group(0) @binding(X) var<storage, read> x: array<f32>;\n\
                    @group(0) @binding(Y) var<storage, read_write> y: array<f32>;\n\
                    @compute @workgroup_size(1)\n\
                    fn main() { y[0] = missing(x[0]); }\n";
        let variant = Variant::new("broken").text("broken", text);
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        cx.emit([Dispatch::new(variant).bind("X", x.span).bind("Y", y.span)]);
        Ok(())
    }
}

#[test]
fn an_error_in_its_shader_has_a_line() {
    let Some(gpu) = gpu(GpuOptions::new()) else {
        return;
    };
    let mut graph = Graph::new();
    let x = graph
        .input("x", Some(Fact::sized(DType::F32, &[1])))
        .unwrap();
    let y = graph.add1(custom(Broken), &[x]).unwrap();
    graph.output("y", y);
    let mut session = Session::new(&Model::new(graph, &gpu, all_on_device())).unwrap();
    let x = samples::uniform(&[1], 1);
    let error = block_on(session.run(&[("x", x)])).unwrap_err().to_string();
    assert!(error.contains("broken:4"), "{error}");
    assert!(error.contains("missing"), "{error}");
    gpu.check().unwrap();
}

/// A product of matrices that takes what follows it into its kernel.
#[derive(Clone, Debug)]
struct Product;

impl CustomOp for Product {
    fn name(&self) -> &'static str {
        "here:Product"
    }
    fn attrs(&self) -> Attrs {
        Attrs::new("Product")
    }
    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, Error> {
        let (a, b) = (inputs.req(0)?, inputs.req(1)?);
        inputs.agree("inner sizes", &[&a.shape[1], &b.shape[0]])?;
        let shape = vec![a.shape[0].clone(), b.shape[1].clone()];
        Ok(vec![Fact::new(a.dtype, shape)])
    }
    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>, Error> {
        let op = Op::from_name("MatMul", &Attrs::new("MatMul"))?;
        op.reference(&[Some(inputs.req(0)?), Some(inputs.req(1)?)])
    }
    fn place(&self, cx: &Placing<'_>) -> Place {
        cx.by_storage()
    }
    fn lower(&self, cx: &mut Lower<'_>) -> Result<(), Error> {
        let (a, b, c) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        let epilogue = cx.epilogue(None, c.last().is_multiple_of(4))?;
        let dispatches = kernels::matmul(cx.target(), &a, false, &b, false, &c, epilogue.as_ref())?;
        cx.emit(dispatches);
        Ok(())
    }
    fn fuses(&self) -> bool {
        true
    }
}

#[test]
fn what_follows_is_fused_where_it_says_so() {
    let Some(gpu) = gpu(GpuOptions::new()) else {
        return;
    };
    let mut graph = Graph::new();
    let inputs = [("a", [5, 6]), ("b", [6, 8])].map(|(name, shape)| {
        let fact = Fact::sized(DType::F32, &shape);
        graph.input(name, Some(fact)).unwrap()
    });
    let y = graph.add1(custom(Product), &inputs).unwrap();
    let y = graph
        .add1(Op::from_name("Tanh", &Attrs::new("Tanh")).unwrap(), &[y])
        .unwrap();
    graph.output("y", y);
    let (a, b) = (samples::uniform(&[5, 6], 1), samples::uniform(&[6, 8], 2));
    let expected = host::run(&graph, &[a.clone(), b.clone()]).unwrap();
    let mut session = Session::new(&Model::new(graph, &gpu, all_on_device())).unwrap();
    let times = block_on(session.profile(&[("a", a.clone()), ("b", b.clone())])).unwrap();
    assert_eq!(times.len(), 1, "{times:?}");
    let outputs = block_on(session.run(&[("a", a), ("b", b)])).unwrap();
    assert!(nmse(&outputs[0].1, &expected[0]).unwrap() < 1e-10);
}
