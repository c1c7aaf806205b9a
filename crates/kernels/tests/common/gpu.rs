//! Runs dispatches on the adapter and brings results back.

use std::collections::HashMap;

use tilewright_device::{Buffer, BufferUse, Caps, Dispatch, Error, Gpu, GpuOptions};
use tilewright_device::{Recorder, Slot, SubmitOptions};
use tilewright_kernels::{Store, View};

/// An adapter and the tensors that lie on it.
pub(crate) struct Bench {
    pub(crate) gpu: Gpu,
    buffers: HashMap<Slot, Buffer>,
}

/// The adapter once with all it can do and once as a browser would show it: default limits, no features and nothing said
/// about its kind. Empty only where `TILEWRIGHT_SKIP_GPU=1` says that there is none. `TILEWRIGHT_AUDIT=1` has both audited:
/// each run then also fails where a shader leaves its bounds.
pub(crate) fn benches() -> Vec<Bench> {
    let options = [GpuOptions::new(), GpuOptions::new().default_limits_only()];
    options.into_iter().filter_map(open).collect()
}

fn open(options: GpuOptions) -> Option<Bench> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| value == "1");
    let skip = is_set("TILEWRIGHT_SKIP_GPU");
    let options = match is_set("TILEWRIGHT_AUDIT") {
        true => options.audited(),
        false => options,
    };
    match pollster::block_on(Gpu::new(options)) {
        Ok(gpu) => Some(Bench {
            gpu,
            buffers: HashMap::new(),
        }),
        Err(Error::NoAdapter { .. }) if skip => None,
        Err(error) => panic!("{error}; set TILEWRIGHT_SKIP_GPU=1 where no adapter is expected"),
    }
}

impl Bench {
    pub(crate) fn caps(&self) -> &Caps {
        self.gpu.caps()
    }

    /// Uploads the bytes of a tensor. What lies behind it in its buffer is NaN, so that reads past the end show.
    pub(crate) fn put(&mut self, view: &View, bytes: &[u8]) {
        assert_eq!(view.span.bytes, bytes.len() as u64, "{view}");
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(16) + 256, 0xff);
        let buffer = self
            .gpu
            .buffer(padded.len() as u64, BufferUse::Storage)
            .unwrap();
        self.gpu.write(&buffer, 0, &padded).unwrap();
        self.buffers.insert(view.span.slot, buffer);
    }

    /// A tensor of f32, rounded to f16 where the storage says so.
    pub(crate) fn floats(
        &mut self,
        slot: u32,
        store: Store,
        shape: &[usize],
        values: &[f32],
    ) -> View {
        let view = View::new(Slot(slot), store, shape);
        match store {
            Store::F16 => {
                let half: Vec<_> = values.iter().map(|&v| half::f16::from_f32(v)).collect();
                self.put(&view, bytemuck::cast_slice(&half));
            }
            _ => self.put(&view, bytemuck::cast_slice(values)),
        }
        view
    }

    /// A result tensor, filled with NaN.
    pub(crate) fn result(&mut self, slot: u32, store: Store, shape: &[usize]) -> View {
        let view = View::new(Slot(slot), store, shape);
        self.put(&view, &vec![0xff; view.span.bytes as usize]);
        view
    }

    pub(crate) fn run(&self, dispatches: &[Dispatch]) {
        let place = |slot: Slot| Some((self.buffers.get(&slot)?.clone(), 0));
        let replay = self.gpu.block_on(self.gpu.bind(dispatches, place)).unwrap();
        Recorder::new(&self.gpu)
            .run(&replay)
            .submit(SubmitOptions::new())
            .unwrap();
        self.gpu.block_on(self.gpu.done()).unwrap();
        let faults = self.gpu.block_on(self.gpu.audit()).unwrap();
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    pub(crate) fn bytes(&self, view: &View) -> Vec<u8> {
        let buffer = &self.buffers[&view.span.slot];
        let bytes = view.span.bytes.next_multiple_of(4) + 4;
        let mut all = self.gpu.block_on(self.gpu.read(buffer, 0, bytes)).unwrap();
        // Nothing may be written behind the tensor.
        let behind = all.split_off(view.span.bytes as usize);
        assert!(
            behind.iter().all(|&byte| byte == 0xff),
            "{view}: written past its end"
        );
        all
    }

    pub(crate) fn read(&self, view: &View) -> Vec<f32> {
        let bytes = self.bytes(view);
        match view.store {
            Store::F16 => {
                let half: Vec<half::f16> = bytemuck::pod_collect_to_vec(&bytes);
                half.iter().map(|v| v.to_f32()).collect()
            }
            _ => bytemuck::pod_collect_to_vec(&bytes),
        }
    }
}

/// Reproducible values in -1..1 with 8 bits, so that f16 holds them exactly.
pub(crate) fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as f32 / 128.0 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Compares with an f64 reference: the error may be `ulps` roundings of the largest value, which for sums of `k` products
/// of values up to 1 in f32 grows with the square root of k and stays far below k.
#[track_caller]
pub(crate) fn close(what: &str, got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let error = (f64::from(got) - expected).abs();
        // NaN is not below anything.
        assert!(
            error <= tolerance * expected.abs().max(1.0),
            "{what}: element {i}: {got}, expected {expected}"
        );
    }
}
