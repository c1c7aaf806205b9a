//! Pointwise functions on the device against f64, in units of the last place of f32, over their whole domains.

mod common;

use common::any_gpu as gpu;
use std::collections::BTreeMap;
use tilewright_device::Gpu;
use tilewright_graph::{Attrs, Error, Fact, Graph, Model, ModelOptions, Op, Session};
use tilewright_tensor::{DType, HostTensor};

/// Errors in ulp that each function may reach: what its formula was designed for, and WGSL's 2.5 for a division or a
/// square root where there is one. (WGSL itself would allow 4096 for atan and no bound for tan or pow.)
const BOUNDS: &[(&str, f64)] = &[
    ("Exp", 2.0),
    ("Log", 3.0),
    ("Sin", 3.0),
    ("Cos", 3.0),
    ("Tan", 5.0),
    ("Asin", 4.0),
    ("Acos", 4.0),
    ("Atan", 4.0),
    ("Sinh", 5.0),
    ("Cosh", 5.0),
    ("Tanh", 6.0),
    ("Asinh", 5.0),
    ("Acosh", 5.0),
    ("Atanh", 6.0),
    ("Erf", 3.0),
    ("Sigmoid", 5.0),
    ("Softplus", 5.0),
    ("Mish", 8.0),
    ("Gelu", 10.0),
    ("Gelu tanh", 40.0),
    ("Elu", 4.0),
    ("Selu", 5.0),
    ("Celu", 6.0),
    ("Softsign", 4.0),
    ("Sqrt", 3.0),
    ("Reciprocal", 3.0),
    ("Round", 0.0),
    ("Floor", 0.0),
    ("Ceil", 0.0),
    ("Sign", 0.0),
    ("Abs", 0.0),
    ("Relu", 0.0),
];

fn run(gpu: &Gpu, op: &Op, inputs: &[Vec<f32>]) -> Vec<f32> {
    try_run(gpu, op, inputs).unwrap_or_else(|e| panic!("{}: {e}", op.name()))
}

fn try_run(gpu: &Gpu, op: &Op, inputs: &[Vec<f32>]) -> Result<Vec<f32>, Error> {
    let mut graph = Graph::new();
    let n = inputs[0].len();
    let names = ["x", "y"];
    let (mut values, mut fed) = (vec![], vec![]);
    for (name, v) in names.into_iter().zip(inputs) {
        values.push(graph.input(name, Some(Fact::sized(DType::F32, &[n])))?);
        fed.push((name, HostTensor::from_slice([n], v)?));
    }
    let y = graph.add1(op.clone(), &values)?;
    graph.output("out", y);
    let mut session = Session::new(&Model::new(graph, gpu, ModelOptions::default()))?;
    let out = pollster::block_on(session.run(&fed))?.remove(0).1;
    assert!(
        session.host_steps().is_empty(),
        "{} ran on the host",
        op.name()
    );
    Ok(out.to_vec()?)
}

/// The formula in f64, not rounded.
fn exact(op: &Op, inputs: &[Vec<f32>]) -> Vec<f64> {
    let wide = |v: &Vec<f32>| {
        HostTensor::from_f64(
            DType::F64,
            [v.len()],
            v.iter().map(|x| f64::from(*x)).collect(),
        )
    };
    let wide = inputs
        .iter()
        .map(wide)
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::from);
    let out = wide.and_then(|wide| op.reference(&wide.iter().map(Some).collect::<Vec<_>>()));
    out.map_or_else(|e| panic!("{}: {e}", op.name()), |list| list[0].to_f64())
}

/// Below this a result may be zero: a formula goes through something a little smaller than its result, and a device may
/// flush what is subnormal.
const FLUSHED: f64 = 1.0 / (1u128 << 118) as f64;

/// Numbers below this are measured in units of its last place. GELU's tanh form is an approximation whose tail repeats the
/// rounding of its argument.
fn floor(title: &str) -> f64 {
    if title == "Gelu tanh" {
        2f64.powi(-12)
    } else {
        FLUSHED
    }
}

/// The distance in units of the last place of f32.
fn ulps(got: f32, want: f64, least: f64) -> f64 {
    let rounded = want as f32;
    let flushed = got == 0.0 && want.abs() < FLUSHED;
    if got == rounded || flushed || (got.is_nan() && want.is_nan()) {
        return 0.0;
    }
    if !got.is_finite() || !rounded.is_finite() {
        // One more or less at the end of the range.
        return if got.abs() >= f32::MAX && rounded.abs() >= f32::MAX {
            1.0
        } else {
            f64::INFINITY
        };
    }
    let ulp = 2f64.powi((want.abs().max(least)).log2().floor() as i32 - 23);
    (f64::from(got) - want).abs() / ulp
}

/// Numbers of every size, densely between -20 and 20, and special ones. Subnormal inputs may be flushed, so there are none.
fn points() -> Vec<f32> {
    let mut x: Vec<f32> = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        f32::MIN,
    ];
    x.extend((0..40_000).map(|i| (i - 20_000) as f32 * 1.000_37e-3));
    let mut bits = 0x0080_0000u32;
    while bits < 0x7f80_0000 {
        x.extend([f32::from_bits(bits), -f32::from_bits(bits)]);
        bits += 0x1_2345;
    }
    x
}

#[test]
fn functions_are_accurate() {
    let Some(gpu) = gpu() else { return };
    let (x, mut failures) = (points(), vec![]);
    let mut worst: BTreeMap<&str, (f64, f32)> = BTreeMap::new();
    for &(title, bound) in BOUNDS {
        let (name, approximate) = title.split_once(' ').unwrap_or((title, "none"));
        let mut attrs = Attrs::new(name);
        if name == "Gelu" {
            attrs = attrs.with("approximate", approximate.to_string());
        }
        let op = Op::from_name(name, &attrs).unwrap();
        let inputs = [x.clone()];
        let (got, want) = (run(&gpu, &op, &inputs), exact(&op, &inputs));
        let least = floor(title);
        let errors = x
            .iter()
            .zip(got.iter().zip(&want))
            .map(|(x, (g, w))| (ulps(*g, *w, least), *x));
        let most = errors.fold(
            (0.0, 0.0),
            |a: (f64, f32), b| if b.0 > a.0 || b.0.is_nan() { b } else { a },
        );
        if most.0.is_nan() || most.0 > bound {
            failures.push(format!(
                "{title}({:?}): {:.2} ulp, over {bound}",
                most.1, most.0
            ));
        }
        worst.insert(title, most);
    }
    println!("{worst:#?}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Bases and exponents of all sizes; signs, zeros and infinities in all combinations.
fn pairs() -> [Vec<f32>; 2] {
    let special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        2.0,
        -2.0,
        3.0,
        -3.0,
        0.5,
        -0.5,
        2.5,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1e30,
        -1e30,
        16_777_217.0,
    ];
    let (mut x, mut y) = (vec![], vec![]);
    for (a, b) in special.iter().flat_map(|a| special.map(|b| (*a, b))) {
        x.push(a);
        y.push(b);
    }
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32
    };
    for _ in 0..200_000 {
        // Powers that neither vanish nor overflow: |y log2 x| < 100.
        let log2 = (next() - 0.5) * 60.0;
        let base = log2.exp2();
        x.push(base);
        y.push((next() - 0.5) * 200.0 / log2.abs().max(0.01));
        x.push((next() - 0.5) * 20.0);
        y.push(((next() - 0.5) * 40.0).round());
    }
    [x, y]
}

#[test]
fn powers_and_remainders_are_accurate() {
    let Some(gpu) = gpu() else { return };
    let inputs = pairs();
    for (name, fmod, bound) in [
        ("Pow", 0i64, 4.0),
        ("Mod", 0, 1.0),
        ("Mod", 1, 0.0),
        ("Div", 0, 3.0),
    ] {
        let attrs = Attrs::new(name);
        let attrs = if name == "Mod" {
            attrs.with("fmod", fmod)
        } else {
            attrs
        };
        let op = Op::from_name(name, &attrs).unwrap();
        let (got, want) = (run(&gpu, &op, &inputs), exact(&op, &inputs));
        let mut worst = (0.0, 0);
        for i in 0..got.len() {
            let error = ulps(got[i], want[i], 2f64.powi(-118));
            if error > worst.0 {
                worst = (error, i);
            }
        }
        let (error, i) = worst;
        println!("{name} {fmod}: {error:.2} ulp");
        assert!(
            error <= bound,
            "{name}({:?}, {:?}) = {:?}, not {:?}: {error:.2} ulp, over {bound}",
            inputs[0][i],
            inputs[1][i],
            got[i],
            want[i]
        );
    }
}
