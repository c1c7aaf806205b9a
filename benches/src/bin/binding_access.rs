//! What it costs to bind operands `read_write` where they are only read, as they are when all tensors are ranges of one arena.
//!
//! Every kernel runs twice in turns: with each tensor in a buffer of its own, where what is only read is bound `read`, and with
//! all of them in one buffer, where everything is bound `read_write`. Both must give the same bits. Ratios are the time of the
//! arena over that of buffers. `binding_access [--seconds S] [--json FILE]`.

use std::time::Duration;

use serde_json::json;
use tilewright_benches::{Candidate, Pace, Samples, Tensors, alternate, machine};
use tilewright_device::{AdapterKind, Buffer, BufferUse, Caps, Dispatch, Gpu, GpuOptions, Slot};
use tilewright_kernels::{
    ConvShape, Filter, Function, Gemm, Loop, Store, View, candidates, conv, gemm_with, map,
    pack_filter, reg_lanes, softmax,
};
use tilewright_tensor::{DType, HostTensor};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Slots of the operands and of the result.
const OPERANDS: [u32; 2] = [0, 1];
const RESULT: u32 = 2;

/// A kernel over slots 0 and 1 into slot 2, with the elements of the three.
struct Case {
    name: String,
    dispatches: Vec<Dispatch>,
    elements: [usize; 3],
}

fn main() -> Result<()> {
    let (seconds, path) = arguments()?;
    let gpu = pollster::block_on(Gpu::new(GpuOptions::new()))?;
    println!(
        "{}: time with everything bound read_write over time with read",
        gpu.info().key
    );
    let pace = Pace {
        warm_up: Duration::from_millis(400),
        budget: Duration::from_secs_f64(seconds),
        rounds: 11,
    };
    let mut reports = vec![];
    for case in cases(gpu.caps())? {
        let [buffers, arena] = measured(&gpu, &case, pace)?;
        let ratio = arena.over(&buffers);
        println!(
            "{:44} {ratio:.3}   by wall time {:.3}",
            case.name,
            arena.wall_median() / buffers.wall_median()
        );
        reports.push(json!({
            "name": case.name,
            "kernels": case.dispatches.iter().map(|d| d.variant.to_string()).collect::<Vec<_>>(),
            "read_write_over_read": ratio,
            "read": buffers.json(),
            "read_write": arena.json(),
        }));
    }
    if let Some(path) = path {
        let report = json!({
            "format": "tilewright-bench-binding-access",
            "version": 1,
            "machine": machine(&gpu),
            "cases": reports,
        });
        std::fs::write(&path, format!("{report:#}\n"))?;
        println!("wrote {path}");
    }
    Ok(())
}

fn arguments() -> Result<(f64, Option<String>)> {
    let (mut seconds, mut path) = (3.0, None);
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--seconds" => seconds = value.parse()?,
            "--json" => path = Some(value),
            _ => return Err(format!("unknown option {flag}").into()),
        }
    }
    Ok((seconds, path))
}

/// Products by every family of loops that the adapter has, then what a network has besides.
fn cases(caps: &Caps) -> Result<Vec<Case>> {
    let software = caps.kind == AdapterKind::Software;
    let (n, rows) = if software { (512, 1024) } else { (2048, 16384) };
    let mut all = vec![];
    if reg_lanes(caps).is_some() {
        all.push(product(caps, [n, n, n], candidates(caps, n, n, n, 1)[0])?);
    }
    let gpu = Caps::webgpu_default();
    let size = if software { 256 } else { n };
    all.push(product(
        caps,
        [size; 3],
        candidates(&gpu, size, size, size, 1)[0],
    )?);
    all.push(product(
        caps,
        [1, n, 2 * n],
        candidates(caps, 1, n, 2 * n, 1)[0],
    )?);
    all.push(convolution(caps)?);
    let shape = [rows, 1024];
    let [x, other, y] = [0, 1, 2].map(|slot| View::new(Slot(slot), Store::F32, shape));
    let elements = [rows * 1024; 3];
    all.push(Case {
        name: format!("softmax of {rows} x 1024"),
        dispatches: softmax(caps, &x, 1, &y, false)?,
        elements,
    });
    let add = Function {
        text: "fn map(x0: vec4<f32>, x1: vec4<f32>) -> vec4<f32> { return x0 + x1; }".into(),
        params: vec![],
    };
    all.push(Case {
        name: format!("map, sum of two {rows} x 1024"),
        dispatches: map(caps, &add, &[x, other], &y)?,
        elements,
    });
    Ok(all)
}

fn product(caps: &Caps, [m, n, k]: [usize; 3], of: Loop) -> Result<Case> {
    let shapes = [[m, k], [k, n], [m, n]];
    let [a, b, c] = [0, 1, 2].map(|i| View::new(Slot(i), Store::F32, shapes[i as usize]));
    let product = Gemm::of(&a, false, &b, false, &c, None)?;
    Ok(Case {
        name: format!("gemm {m} x {n} x {k}, {of}"),
        dispatches: gemm_with(caps, &product, of)?,
        elements: shapes.map(|[rows, columns]| rows * columns),
    })
}

/// 3x3, from 64 to 64 channels, 56 x 56.
fn convolution(caps: &Caps) -> Result<Case> {
    let input = [1, 56, 56, 64];
    let shape = ConvShape::new(&input, &[3, 3], &[1, 1], &[1, 1], &[1; 4], 1, 64)?;
    // The panels' shape is all that is of interest here.
    let filter = HostTensor::zeros(DType::F32, [64, 64, 3, 3])?;
    let packed = pack_filter(caps, &shape, &filter)?;
    let x = View::new(Slot(0), Store::F32, input);
    let w = View::new(Slot(1), Store::F32, packed.shape().to_vec());
    let y = View::new(Slot(2), Store::F32, shape.output_shape());
    Ok(Case {
        name: "conv 3x3, 64 to 64 channels, 56 x 56".into(),
        dispatches: conv(caps, &shape, &x, Filter::Packed(&w), &y, None)?,
        elements: [&x, &w, &y].map(View::elements),
    })
}

/// Samples of both ways, in turns, after a comparison of their results.
fn measured(gpu: &Gpu, case: &Case, pace: Pace) -> Result<[Samples; 2]> {
    let mut tensors = Tensors::default();
    let mut offsets = [0; 3];
    let mut bytes = 0;
    for (offset, elements) in offsets.iter_mut().zip(case.elements) {
        *offset = bytes;
        bytes += (4 * elements as u64).next_multiple_of(256);
    }
    let arena = gpu.buffer(bytes, BufferUse::Storage)?;
    for slot in OPERANDS {
        let values = values(case.elements[slot as usize], slot);
        tensors.put(gpu, slot, bytemuck::cast_slice(&values))?;
        gpu.write(
            &arena,
            offsets[slot as usize],
            bytemuck::cast_slice(&values),
        )?;
    }
    let count = case.elements[RESULT as usize];
    tensors.put(gpu, RESULT, &vec![0xff; 4 * count])?;
    let place = |slot: Slot| -> Option<(Buffer, u64)> {
        Some((arena.clone(), *offsets.get(slot.0 as usize)?))
    };
    let own = Candidate::new(gpu, tensors.bind(gpu, &case.dispatches)?)?;
    let shared = pollster::block_on(gpu.bind(&case.dispatches, place))?;
    let shared = Candidate::new(gpu, shared)?;
    let expected = tensors.bytes(gpu, RESULT, 4 * count)?;
    let got = pollster::block_on(gpu.read(&arena, offsets[2], 4 * count as u64))?;
    let finite = bytemuck::pod_collect_to_vec::<u8, f32>(&got);
    if got != expected || !finite.iter().all(|v| v.is_finite()) {
        return Err(format!("{}: results differ", case.name).into());
    }
    let mut samples = alternate(gpu, &[&own, &shared], pace, |_| {})?.into_iter();
    Ok([(); 2].map(|()| samples.next().unwrap_or_default()))
}

/// Reproducible values in -1..1.
fn values(count: usize, seed: u32) -> Vec<f32> {
    let of = |i: usize| (i * 7919 + 31 * seed as usize) % 20_011;
    (0..count).map(|i| of(i) as f32 * 1e-4 - 1.0).collect()
}
