//! What the adapter can do at the most, as far as small kernels reach it: the roof over all cases.

use crate::Failure;
use serde_json::{Value as Json, json};
use std::time::Duration;
use tilewright::device::{BufferUse, Dispatch, Recorder, Slot, Span, SubmitOptions, Variant};
use tilewright::{Gpu, block_on};
use tilewright_benches::{Candidate, Entrant, Pace, in_turns};

use super::subject::Rival;

/// Multiplies and adds in registers: 8 chains of four a thread, which hide the latency of one another.
const MULTIPLY_ADD: &str = "\
@group(0) @binding(OUT) var<storage, read_write> out: array<vec4<f32>>;
@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    let f = vec4<f32>(0.5 + f32(at.x & 7u) * 0.03125);
    //#repeat i 8
    var x$i = vec4<f32>($i.0);
    //#end
    for (var i = 0u; i < ROUNDS; i++) {
        //#repeat s 4
        //#repeat i 8
        x$i = fma(x$i, f, f);
        //#end
        //#end
    }
    out[at.x] = x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7;
}
";
const ROUNDS: u32 = 1024;
const THREADS: u32 = 64;
/// Of all rounds of a thread: 4 steps of 8 chains of 4 lanes, two operations each.
const OPERATIONS: u32 = ROUNDS * 4 * 8 * 4 * 2;
/// Far more than caches hold, and within every adapter's limit.
const COPIED: u64 = 64 << 20;

/// Measured, in a second and under the names that reports give them.
pub(super) struct Peaks {
    /// Operations a second of [`MULTIPLY_ADD`].
    pub(super) flops: f64,
    /// Bytes a second that a buffer copy reads and writes.
    pub(super) bytes: f64,
}

impl Peaks {
    /// Both, in turns.
    pub(super) fn measure(gpu: &Gpu) -> Result<Self, Failure> {
        // Eight workgroups on each of the processors of the largest GPUs; a software adapter has far fewer.
        let groups = if gpu.caps().kind == tilewright::AdapterKind::Software {
            64
        } else {
            2048
        };
        let bytes = u64::from(16 * THREADS * groups);
        let out = gpu.buffer(bytes, BufferUse::Storage)?;
        let variant = Variant::new("multiply_add").text("multiply_add", MULTIPLY_ADD);
        let dispatch = Dispatch::new(variant.set("ROUNDS", ROUNDS).set("THREADS", THREADS))
            .bind("OUT", Span::whole(Slot(0), bytes))
            .groups([groups, 1, 1]);
        let candidate = Candidate::new(
            gpu,
            block_on(gpu.bind(&[dispatch], |_| Some((out.clone(), 0))))?,
        )?;
        check(&block_on(gpu.read(&out, 0, 16 * u64::from(THREADS)))?)?;
        let mut copy = copies(gpu, COPIED)?;
        let mut entrants: Vec<Entrant<'_, Failure>> = vec![
            Box::new(|| Ok(Some(candidate.time(gpu)?))),
            Box::new(|| (copy.time)().map(Some)),
        ];
        let pace = Pace {
            warm_up: Duration::from_millis(400),
            budget: Duration::from_millis(400),
            rounds: 10,
        };
        let samples = in_turns(&mut entrants, pace, |_| ())?;
        let [multiply, copy] = &samples[..] else {
            return Err("nothing was measured".into());
        };
        let operations = f64::from(OPERATIONS) * f64::from(THREADS * groups);
        Ok(Self {
            flops: operations / multiply.median(),
            bytes: 2.0 * COPIED as f64 / copy.median(),
        })
    }

    pub(super) fn json(&self) -> Json {
        json!({
            "flops": self.flops, "flops_by": "f32 multiply-adds in registers",
            "bytes_per_second": self.bytes, "bytes_by": "buffer copy of 64 MiB, read and written",
        })
    }
}

/// Every chain runs to f / (1 - f), so that its sum is known.
fn check(bytes: &[u8]) -> Result<(), Failure> {
    for (thread, got) in bytes.chunks_exact(16).enumerate() {
        let got = f64::from(f32::from_le_bytes([got[0], got[1], got[2], got[3]]));
        let f = 0.5 + (thread & 7) as f64 * 0.03125;
        let want = 8.0 * f / (1.0 - f);
        if (got / want - 1.0).abs() > 1e-5 || got.is_nan() {
            return Err(format!(
                "the multiply-add kernel gives {got} in thread {thread}, expected {want}"
            )
            .into());
        }
    }
    Ok(())
}

/// The adapter's own copy of `bytes` from one buffer to another.
pub(super) fn copies(gpu: &Gpu, bytes: u64) -> Result<Rival<'_>, Failure> {
    let bytes = bytes.next_multiple_of(16);
    let [from, to] = [
        gpu.buffer(bytes, BufferUse::Storage)?,
        gpu.buffer(bytes, BufferUse::Storage)?,
    ];
    gpu.write(&from, 0, &vec![1; usize::try_from(bytes)?])?;
    // Below this a sample would be mostly the submission.
    let repeats = ((32 << 20) / bytes).clamp(1, 1000) as usize;
    let submit = move || -> Result<(), Failure> {
        let recorder =
            (0..repeats).fold(Recorder::new(gpu), |r, _| r.copy(&from, 0, &to, 0, bytes));
        recorder.submit(SubmitOptions::new())?;
        Ok(block_on(gpu.done())?)
    };
    Ok(Rival::copy(gpu, "buffer copy", repeats, submit))
}
