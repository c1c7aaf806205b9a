//! Tilewright in a browser, compiled to wasm and called from JavaScript: `Adapter`, `Model`, `Session`. Tensors are plain
//! objects, `{data: TypedArray, shape: number[], dtype?: string}`.
//!
//! `page` is the native side: a page server and a headless Chromium, for the tests and for `./x web`.

#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used)]
#[cfg(target_arch = "wasm32")]
mod adapter;
#[cfg(target_arch = "wasm32")]
mod glue;
#[cfg(target_arch = "wasm32")]
mod model;
#[cfg(not(target_arch = "wasm32"))]
pub mod page;
#[cfg(target_arch = "wasm32")]
mod tensor;
