//! Tensors over the limit of a binding: devices of a low limit against the reference.

mod common;

use common::{add as add_with, check_steps, gpu, op};
use tilewright_device::{Caps, Gpu, GpuOptions};
use tilewright_graph::lower::Derived;
use tilewright_graph::plan::Plan;
use tilewright_graph::stage::Schedule;
use tilewright_graph::{
    Attrs, Bindings, Dim, Fact, Graph, Model, ModelOptions, Op, Session, Symbol, Value, bind, host,
    passes, samples,
};
use tilewright_tensor::{DType, HostTensor, nmse};

fn add(g: &mut Graph, name: &str, inputs: &[Value]) -> Value {
    add_with(g, name, Attrs::new(name), inputs)
}

fn input(g: &mut Graph, shape: &[usize]) -> Value {
    let fact = Fact::sized(DType::F32, shape);
    g.input("x", Some(fact)).unwrap()
}

fn planned(g: &Graph, caps: &Caps, sizes: &Bindings) -> Plan {
    let g = passes::device(g, caps).unwrap();
    let schedule = Schedule::new(&g, Some(caps)).unwrap();
    bind::bind(&g, &schedule, sizes, caps, &Derived::default()).unwrap()
}

/// How many dispatches there are, none of which binds more than the limit.
fn bound(g: &Graph, caps: &Caps, sizes: &Bindings) -> usize {
    let plan = planned(g, caps, sizes);
    let limit = caps.limits.binding_bytes;
    for (name, span) in plan.dispatches().flat_map(|d| &d.spans) {
        assert!(span.bytes <= limit, "{name} of {} bytes", span.bytes);
    }
    for (_, weight) in plan.constants() {
        assert!(
            weight.bytes() <= limit,
            "{} bytes of weight",
            weight.bytes()
        );
    }
    plan.dispatches().count()
}

/// The graph on devices of this limit against the reference, wholly on the device, in more dispatches than without the limit.
fn agrees(g: &Graph, limit: u64, feeds: &[(&str, HostTensor)], sizes: &Bindings) {
    let tensors: Vec<_> = feeds.iter().map(|(_, t)| t.clone()).collect();
    let expected = host::run(g, &tensors).unwrap();
    for options in [GpuOptions::new(), GpuOptions::new().default_limits_only()] {
        let Some(gpu) = gpu(options.binding_limit(limit)) else {
            return;
        };
        assert_eq!(gpu.caps().limits.binding_bytes, limit);
        let mut whole = gpu.caps().clone();
        whole.limits.binding_bytes = 128 << 20;
        let pieces = bound(g, gpu.caps(), sizes);
        assert!(pieces > bound(g, &whole, sizes), "{pieces} dispatches");
        let model = Model::new(g.clone(), &gpu, ModelOptions::default());
        let mut session = Session::new(&model).unwrap();
        // Twice: the second run replays.
        for _ in 0..2 {
            let outputs = pollster::block_on(session.run(feeds)).unwrap();
            for ((name, got), want) in outputs.iter().zip(&expected) {
                same(name, got, want);
            }
        }
        assert_eq!(session.host_steps(), []);
    }
}

fn same(name: &str, got: &HostTensor, want: &HostTensor) {
    assert_eq!((got.dtype(), got.shape()), (want.dtype(), want.shape()));
    let bound = match want.dtype() {
        DType::F16 => 1e-6,
        dtype if dtype.is_float() => 1e-10,
        _ => return assert_eq!(got, want, "{name}"),
    };
    let error = nmse(got, want).unwrap();
    assert!(error < bound, "{name}: nmse {error:e}");
}

fn half(t: HostTensor) -> HostTensor {
    t.cast(DType::F16).unwrap()
}

/// A weight of 225 KiB, bound by columns, the last of which are no whole panel. With 700 rows, x and y are over the limit too.
#[test]
fn a_product_with_a_large_weight() {
    for (m, f16) in [(1, false), (5, false), (700, false), (5, true)] {
        let mut g = Graph::new();
        let (x, w) = (
            samples::uniform(&[m, 80], 1),
            samples::uniform(&[80, 720], 2),
        );
        let (x, w) = if f16 { (half(x), half(w)) } else { (x, w) };
        let fact = Fact::sized(x.dtype(), x.shape());
        let a = g.input("x", Some(fact)).unwrap();
        let b = g.constant(w);
        let y = g.add1(op("MatMul"), &[a, b]).unwrap();
        g.output("y", y);
        agrees(&g, 40 << 10, &[("x", x)], &Bindings::default());
    }
}

/// B as `[n, k]`, a bias, an activation and a residual, which become the end of each piece of the product.
#[test]
fn a_gemm_with_its_epilogue() {
    for m in [3, 150] {
        let mut g = Graph::new();
        let x = input(&mut g, &[m, 64]);
        let w = g.constant(samples::uniform(&[912, 64], 2));
        let b = g.constant(samples::uniform(&[912], 3));
        let r = g.constant(samples::uniform(&[m, 912], 4));
        let attrs = Attrs::new("Gemm").with("transB", true);
        let y = add_with(&mut g, "Gemm", attrs, &[x, w, b]);
        let y = add(&mut g, "Add", &[y, r]);
        let y = add(&mut g, "Sigmoid", &[y]);
        g.output("y", y);
        let feeds = [("x", samples::uniform(&[m, 64], 1))];
        agrees(&g, 36 << 10, &feeds, &Bindings::default());
    }
}

/// A size that only a run tells: rows are cut when it is bound.
#[test]
fn a_long_chain_of_symbolic_rows() {
    let mut g = Graph::new();
    let dims = [Dim::symbol("rows"), 33usize.into()];
    let x = g.input("x", Some(Fact::new(DType::F32, dims))).unwrap();
    let by_column = g.constant(samples::uniform(&[33], 2));
    let y = add(&mut g, "Mul", &[x, by_column]);
    let y = add(&mut g, "Tanh", &[y]);
    let z = add(&mut g, "Add", &[y, x]);
    g.output("z", z);
    let mut sizes = Bindings::default();
    sizes.set(Symbol::new("rows"), 1000);
    agrees(
        &g,
        16 << 10,
        &[("x", samples::uniform(&[1000, 33], 1))],
        &sizes,
    );
}

/// An embedding and a head that share a table of 200 KiB: one binds rows of it, the other columns.
#[test]
fn a_language_model_with_tied_weights() {
    for f16 in [false, true] {
        let mut g = Graph::new();
        let table = samples::uniform(&[800, 64], 1);
        let table = g.constant(if f16 { half(table) } else { table });
        let fact = Fact::new(DType::I64, [2usize.into(), Dim::symbol("length")]);
        let ids = g.input("ids", Some(fact)).unwrap();
        let x = add(&mut g, "Gather", &[table, ids]);
        let w = g.constant(samples::uniform(&[64, 64], 2));
        let w = if f16 { cast(&mut g, w) } else { w };
        let y = add(&mut g, "MatMul", &[x, w]);
        let y = add(&mut g, "Tanh", &[y]);
        let y = add(&mut g, "Add", &[x, y]);
        let perm = Attrs::new("Transpose").with("perm", vec![1i64, 0]);
        let head = add_with(&mut g, "Transpose", perm, &[table]);
        let y = add(&mut g, "MatMul", &[y, head]);
        let y = add(&mut g, "Softmax", &[y]);
        g.output("y", y);
        let mut sizes = Bindings::default();
        sizes.set(Symbol::new("length"), 19);
        let ids = samples::integers(DType::I64, &[2, 19], 3, -800, 800);
        agrees(&g, 32 << 10, &[("ids", ids)], &sizes);
    }
}

fn cast(g: &mut Graph, x: Value) -> Value {
    let to = Attrs::new("Cast").with("to", DType::F16);
    add_with(g, "Cast", to, &[x])
}

/// A filter of 169 KiB or more by output channels, whose end adds the input.
#[test]
fn a_convolution_with_a_large_filter() {
    for (channels, size) in [(72, 3), (208, 1)] {
        let mut g = Graph::new();
        let x = input(&mut g, &[2, channels, 5, 4]);
        let w = g.constant(samples::uniform(&[channels, channels, size, size], 2));
        let b = g.constant(samples::uniform(&[channels], 3));
        let pads = vec![size as i64 / 2; 4];
        let y = add_with(
            &mut g,
            "Conv",
            Attrs::new("Conv").with("pads", pads),
            &[x, w, b],
        );
        let y = add(&mut g, "Add", &[y, x]);
        let y = add(&mut g, "Relu", &[y]);
        g.output("y", y);
        let feeds = [("x", samples::uniform(&[2, channels, 5, 4], 1))];
        agrees(&g, 168 << 10, &feeds, &Bindings::default());
    }
}

/// 8-bit products whose weight of 180 KiB, and with 300 rows x and y, are over the limit.
#[test]
fn products_of_8_bit_integers() {
    for m in [3, 300] {
        let mut g = Graph::new();
        let fact = Fact::sized(DType::U8, &[m, 256]);
        let x = g.input("x", Some(fact)).unwrap();
        let w = g.constant(samples::integers(DType::I8, &[256, 720], 2, -128, 128));
        let mut scalar = |dtype, v: f64| g.scalar(dtype, v).unwrap();
        let (zero, one) = (scalar(DType::U8, 7.0), scalar(DType::I8, 1.0));
        let (a, b, c) = (0.01, 0.02, 2.5);
        let [a, b, c] = [a, b, c].map(|v| scalar(DType::F32, v));
        let y = add(&mut g, "MatMulInteger", &[x, w, zero]);
        let z = add(&mut g, "QLinearMatMul", &[x, a, zero, w, b, one, c, zero]);
        g.output("y", y);
        g.output("z", z);
        let x = samples::integers(DType::U8, &[m, 256], 1, 0, 256);
        agrees(&g, 48 << 10, &[("x", x)], &Bindings::default());
    }
}

/// Joins, cuts and turns of tensors over the limit.
#[test]
fn copies_in_pieces() {
    let mut g = Graph::new();
    let x = input(&mut g, &[150, 130]);
    let y = add_with(
        &mut g,
        "Concat",
        Attrs::new("Concat").with("axis", 1i64),
        &[x, x],
    );
    let y = add_with(
        &mut g,
        "Transpose",
        Attrs::new("Transpose").with("perm", vec![1i64, 0]),
        &[y],
    );
    let [starts, ends, axes] = [[3, 5], [259, 149], [0, 1]].map(|v| g.ints(&v).unwrap());
    let y = add(&mut g, "Slice", &[y, starts, ends, axes]);
    let shape = g.ints(&[2, 256, 144]).unwrap();
    let y = add(&mut g, "Expand", &[y, shape]);
    let z = add(&mut g, "Sin", &[y]);
    g.output("y", y);
    g.output("z", z);
    let feeds = [("x", samples::uniform(&[150, 130], 1))];
    agrees(&g, 40 << 10, &feeds, &Bindings::default());
}

fn cases_of(gpu: &Gpu) {
    let (mut failures, mut device, mut refused) = (vec![], 0, 0);
    for case in Op::cases() {
        match check_steps(&case, gpu) {
            Ok(steps) => device += usize::from(steps.is_empty()),
            // Scratch whose size only a plan tells.
            Err(e) if e.contains("over the limit") => refused += 1,
            Err(e) => failures.push(format!("{} `{}`: {e}", case.op.name(), case.name)),
        }
    }
    println!("{device} cases on the device, {refused} refused");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Every operator's cases on a limit that many of their tensors pass.
#[test]
fn cases_agree_on_a_low_limit() {
    for limit in [512, 2048] {
        if let Some(gpu) = gpu(GpuOptions::new().binding_limit(limit)) {
            cases_of(&gpu);
        }
    }
}
