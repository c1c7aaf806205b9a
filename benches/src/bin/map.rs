//! Bandwidth of pointwise kernels against a copy of as many bytes: the adapter's own buffer copy, and the processor's.
//!
//! Every function reads and writes f32 tensors far larger than caches. A round runs all candidates in turn; medians of
//! rounds after a warm-up; the bytes of a function are those of its operands and its result. The result is checked against
//! f64 at points spread over the tensor. `map [--json FILE]`.

use std::time::{Duration, Instant};

use tilewright_benches::machine;
use tilewright_device::{
    Budget, Buffer, BufferUse, Error, Gpu, GpuOptions, Recorder, Replay, Slot, SubmitOptions,
};
use tilewright_kernels::{Function, Store, View, map};

const ROUNDS: usize = 15;
const WARM_UP: Duration = Duration::from_millis(300);
/// Columns of the tensors; a bias has as many elements.
const COLUMNS: usize = 1024;

/// A function, how many operands of the full shape it has, whether a row follows, and its formula in f64.
struct Candidate {
    name: &'static str,
    wgsl: &'static str,
    full: usize,
    row: bool,
    exact: fn(&[f64]) -> f64,
}

const CANDIDATES: [Candidate; 6] = [
    Candidate {
        name: "relu",
        wgsl: "fn map(x0: vec4<f32>) -> vec4<f32> { return max(x0, vec4<f32>()); }",
        full: 1,
        row: false,
        exact: |x| x[0].max(0.0),
    },
    Candidate {
        name: "add",
        wgsl: "fn map(x0: vec4<f32>, x1: vec4<f32>) -> vec4<f32> { return x0 + x1; }",
        full: 2,
        row: false,
        exact: |x| x[0] + x[1],
    },
    Candidate {
        name: "bias",
        wgsl: "fn map(x0: vec4<f32>, x1: vec4<f32>) -> vec4<f32> { return x0 + x1; }",
        full: 1,
        row: true,
        exact: |x| x[0] + x[1],
    },
    Candidate {
        name: "exp",
        wgsl: "//#use math\nfn map(x0: vec4<f32>) -> vec4<f32> { return exp_f(x0); }",
        full: 1,
        row: false,
        exact: |x| x[0].exp(),
    },
    Candidate {
        name: "sigmoid",
        wgsl: "//#use math\nfn map(x0: vec4<f32>) -> vec4<f32> { return sigmoid_f(x0); }",
        full: 1,
        row: false,
        exact: |x| 1.0 / (1.0 + (-x[0]).exp()),
    },
    Candidate {
        name: "gelu tanh",
        wgsl: "//#use math_erf\nfn map(x0: vec4<f32>) -> vec4<f32> { return gelu_tanh(x0); }",
        full: 1,
        row: false,
        exact: |x| 0.5 * x[0] * (1.0 + (0.797_884_560_8 * (x[0] + 0.044715 * x[0].powi(3))).tanh()),
    },
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let json = std::env::args().skip_while(|arg| arg != "--json").nth(1);
    let gpu = pollster::block_on(Gpu::new(GpuOptions::new()))?;
    let limit = gpu.caps().limits.binding_bytes.min(128 << 20);
    let rows = limit as usize / 4 / COLUMNS;
    let bytes = (4 * rows * COLUMNS) as u64;
    println!("{}; f32[{rows}, {COLUMNS}]", gpu.info().key);
    let slots: Vec<Buffer> = (0..4)
        .map(|_| gpu.buffer(bytes, BufferUse::Storage))
        .collect::<Result<_, _>>()?;
    let values: Vec<f32> = (0..rows * COLUMNS)
        .map(|i| (i * 7919 % 20_011) as f32 * 5e-4 - 5.0)
        .collect();
    for slot in &slots[..3] {
        gpu.write(slot, 0, bytemuck::cast_slice(&values))?;
    }
    let mut entries: Vec<(&str, u64, Replay)> = vec![];
    for candidate in &CANDIDATES {
        let replay = bound(&gpu, candidate, rows, &slots)?;
        run(&gpu, &replay)?;
        check(&gpu, candidate, &values, &slots[3])?;
        let moved = bytes * (candidate.full as u64 + 1);
        entries.push((candidate.name, moved, replay));
    }
    let samples = measured(&gpu, &entries, &slots, bytes)?;
    let names = entries
        .iter()
        .map(|e| (e.0, e.1))
        .chain([("buffer copy", 2 * bytes), ("memcpy", 2 * bytes)]);
    let speeds: Vec<(&str, f64)> = names
        .zip(samples)
        .map(|((name, moved), list)| (name, moved as f64 / median(list) / 1e9))
        .collect();
    let [.., copy, host] = &speeds[..] else {
        return Ok(());
    };
    for (name, speed) in &speeds {
        println!(
            "{name:12} {speed:7.1} GB/s   {:.2} of the buffer copy, {:.2} of memcpy",
            speed / copy.1,
            speed / host.1
        );
    }
    if let Some(path) = json {
        let speeds = speeds
            .iter()
            .map(|(name, speed)| serde_json::json!({"name": name, "gb_per_second": speed}));
        let report = serde_json::json!({
            "format": "tilewright-bench-map",
            "version": 1,
            "machine": machine(&gpu),
            "bytes": bytes,
            "functions": speeds.collect::<Vec<_>>(),
        });
        std::fs::write(&path, format!("{report:#}\n"))?;
        println!("wrote {path}");
    }
    Ok(())
}

/// Seconds of each candidate, of a copy of a buffer and of one in host memory, in turns.
fn measured(
    gpu: &Gpu,
    entries: &[(&str, u64, Replay)],
    slots: &[Buffer],
    bytes: u64,
) -> Result<Vec<Vec<f64>>, Error> {
    let mut samples = vec![vec![]; entries.len() + 2];
    let (source, mut target) = (vec![1u8; bytes as usize], vec![0u8; bytes as usize]);
    let start = Instant::now();
    while start.elapsed() < WARM_UP || samples[0].len() < ROUNDS {
        let warm = start.elapsed() >= WARM_UP;
        let mut times = vec![];
        for (_, _, replay) in entries {
            times.push(run(gpu, replay)?);
        }
        times.push(timed(gpu, |gpu| {
            Recorder::new(gpu)
                .copy(&slots[0], 0, &slots[3], 0, bytes)
                .submit(SubmitOptions::new())
        })?);
        let begin = Instant::now();
        target.copy_from_slice(std::hint::black_box(&source));
        std::hint::black_box(&target);
        times.push(begin.elapsed().as_secs_f64());
        if warm {
            for (list, time) in samples.iter_mut().zip(times) {
                list.push(time);
            }
        }
    }
    Ok(samples)
}

fn bound(gpu: &Gpu, candidate: &Candidate, rows: usize, slots: &[Buffer]) -> Result<Replay, Error> {
    let full = |slot: u32| View::new(Slot(slot), Store::F32, [rows, COLUMNS]);
    let mut inputs: Vec<View> = (0..candidate.full as u32).map(full).collect();
    if candidate.row {
        inputs.push(View::new(Slot(2), Store::F32, [COLUMNS]));
    }
    let function = Function {
        text: candidate.wgsl.into(),
        params: vec![],
    };
    let dispatches = map(gpu.caps(), &function, &inputs, &full(3)).unwrap_or_default();
    pollster::block_on(gpu.bind(&dispatches, |slot| {
        Some((slots[slot.0 as usize].clone(), 0))
    }))
}

fn run(gpu: &Gpu, replay: &Replay) -> Result<f64, Error> {
    timed(gpu, |gpu| {
        let options = SubmitOptions::new().budget(Budget::Unlimited);
        Recorder::new(gpu).run(replay).submit(options)
    })
}

/// Seconds until the work is done.
fn timed(gpu: &Gpu, submit: impl Fn(&Gpu) -> Result<(), Error>) -> Result<f64, Error> {
    let start = Instant::now();
    submit(gpu)?;
    pollster::block_on(gpu.done())?;
    Ok(start.elapsed().as_secs_f64())
}

fn check(gpu: &Gpu, candidate: &Candidate, values: &[f32], out: &Buffer) -> Result<(), Error> {
    let bytes = pollster::block_on(gpu.read(out, 0, out.bytes()))?;
    let got: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    for i in (0..got.len()).step_by(1009) {
        let mut x = vec![f64::from(values[i]); candidate.full];
        if candidate.row {
            x.push(f64::from(values[i % COLUMNS]));
        }
        let want = (candidate.exact)(&x);
        assert!(
            (f64::from(got[i]) - want).abs() <= 1e-5 * (want.abs() + 1e-3),
            "{}: element {i} is {}, expected {want}",
            candidate.name,
            got[i]
        );
    }
    Ok(())
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
