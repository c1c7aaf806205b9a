//! What the tests on a device share.
#![allow(
    dead_code,
    reason = "each test binary uses its own part of this module, and `expect` fails in one that uses all"
)]

use tilewright_device::{
    Buffer, BufferUse, Dispatch, Error, Gpu, GpuOptions, Recorder, Replay, Slot, Span,
    SubmitOptions, Variant, fold_groups,
};

pub(crate) const THREADS: u32 = 64;

/// A device, or `None` where the caller said that there is none.
pub(crate) fn open(options: GpuOptions) -> Option<Gpu> {
    match pollster::block_on(Gpu::new(options)) {
        Ok(gpu) => Some(gpu),
        Err(Error::NoAdapter { .. }) if skip() => None,
        Err(error) => panic!("{error}; set TILEWRIGHT_SKIP_GPU=1 where no adapter is expected"),
    }
}

pub(crate) fn skip() -> bool {
    std::env::var_os("TILEWRIGHT_SKIP_GPU").is_some_and(|value| value == "1")
}

pub(crate) fn fill_variant() -> Variant {
    Variant::new("fill")
        .set("THREADS", THREADS)
        .alias("Unit", "u32")
        .alias("Known", "u32")
}

/// Fills the first `count` words of slot 0 with `word`.
pub(crate) fn fill(count: u32, word: u32) -> Dispatch {
    Dispatch::new(fill_variant())
        .bind("Y", Span::whole(Slot(0), u64::from(count) * 4))
        .param("count", count)
        .param("word", word)
        .groups(fold_groups(u64::from(count.div_ceil(THREADS)), 65_535))
        .work(u64::from(count))
}

pub(crate) fn bind(
    gpu: &Gpu,
    dispatches: &[Dispatch],
    buffers: &[Buffer],
) -> Result<Replay, Error> {
    let place = |slot: Slot| Some((buffers.get(slot.0 as usize)?.clone(), 0));
    gpu.block_on(gpu.bind(dispatches, place))
}

pub(crate) fn words(gpu: &Gpu, buffer: &Buffer, count: u64) -> Vec<u32> {
    let bytes = gpu.block_on(gpu.read(buffer, 0, count * 4)).unwrap();
    bytemuck::pod_collect_to_vec(&bytes)
}

/// A device, a storage buffer of `count` words, and a replay that fills it with `word`.
pub(crate) fn filled(options: GpuOptions, count: u32, word: u32) -> Option<(Gpu, Buffer, Replay)> {
    let gpu = open(options)?;
    let buffer = gpu
        .buffer(u64::from(count) * 4, BufferUse::Storage)
        .unwrap();
    let replay = bind(&gpu, &[fill(count, word)], std::slice::from_ref(&buffer)).unwrap();
    Some((gpu, buffer, replay))
}

pub(crate) fn run(gpu: &Gpu, replay: &Replay) {
    Recorder::new(gpu)
        .run(replay)
        .submit(SubmitOptions::new())
        .unwrap();
}
