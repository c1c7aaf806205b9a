//! Tilewright in a browser, compiled to wasm and called from JavaScript.
//!
//! [`mod@page`] is the native side: a page server and a headless Chromium, for the tests and for `./x web`.

#[cfg(target_arch = "wasm32")]
mod browser;
#[cfg(not(target_arch = "wasm32"))]
pub mod page;
