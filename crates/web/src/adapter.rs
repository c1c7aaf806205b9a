//! The browser's adapter.

use crate::glue::{error, object};
use js_sys::Object;
use tilewright::device::{
    BufferUse, Dispatch, Gpu, GpuOptions, Recorder, Result, Slot, Span, SubmitOptions, Variant,
    fold_groups,
};
use wasm_bindgen::prelude::*;

/// The browser's WebGPU adapter, opened with what it offers.
#[wasm_bindgen]
pub struct Adapter(pub(crate) Gpu);

#[wasm_bindgen]
impl Adapter {
    /// Asks the browser for its adapter and a device; rejects with a sentence where there is none.
    pub async fn open() -> std::result::Result<Adapter, JsValue> {
        Ok(Self(Gpu::new(GpuOptions::new()).await.map_err(error)?))
    }

    /// What the adapter says of itself: `{key, f16, int8Dot, timestamps, bindingBytes, workgroupBytes, invocations}`.
    #[wasm_bindgen(getter)]
    pub fn info(&self) -> std::result::Result<Object, JsValue> {
        let caps = self.0.caps();
        object([
            ("key", self.0.info().key.as_str().into()),
            ("f16", caps.f16.into()),
            ("int8Dot", caps.int8_dot.into()),
            ("timestamps", caps.timestamps.into()),
            ("bindingBytes", (caps.limits.binding_bytes as f64).into()),
            ("workgroupBytes", caps.limits.workgroup_bytes.into()),
            ("invocations", caps.limits.invocations.into()),
        ])
    }

    /// Has the adapter fill `count` words of a buffer of `count + 1` with `word`, and returns the buffer.
    ///
    /// The shortest way through shader, dispatch and read-back: it tells a working adapter from one that only answers.
    #[wasm_bindgen(js_name = selfTest)]
    pub async fn self_test(&self, count: u32, word: u32) -> std::result::Result<Vec<u32>, JsValue> {
        fill(&self.0, count, word).await.map_err(error)
    }
}

async fn fill(gpu: &Gpu, count: u32, word: u32) -> Result<Vec<u32>> {
    const THREADS: u32 = 64;
    let buffer = gpu.buffer(u64::from(count) * 4 + 4, BufferUse::Storage)?;
    let dispatch = Dispatch::new(
        Variant::new("fill")
            .set("THREADS", THREADS)
            .alias("Unit", "u32")
            .alias("Known", "u32"),
    )
    .bind("Y", Span::whole(Slot(0), buffer.bytes()))
    .param("count", count)
    .param("word", word)
    .groups(fold_groups(
        u64::from(count.div_ceil(THREADS)),
        gpu.caps().limits.groups,
    ));
    let replay = gpu.bind(&[dispatch], |_| Some((buffer.clone(), 0))).await?;
    Recorder::new(gpu)
        .run(&replay)
        .submit(SubmitOptions::new())?;
    let bytes = gpu.read(&buffer, 0, u64::from(count) * 4 + 4).await?;
    let words = bytes.chunks_exact(4);
    Ok(words
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect())
}
