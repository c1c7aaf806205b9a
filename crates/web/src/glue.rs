//! What every class here needs: panics to the console, errors and objects.

use js_sys::{Object, Reflect};
use std::fmt::Display;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn console_error(message: &str);
}

/// Sends panics to the console, where a page's reader finds them; wasm alone says only "unreachable".
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|info| console_error(&info.to_string())));
}

/// A JavaScript `Error` with the text of ours.
pub(crate) fn error(error: impl Display) -> JsValue {
    js_sys::Error::new(&error.to_string()).into()
}

/// A plain object.
pub(crate) fn object<const N: usize>(fields: [(&str, JsValue); N]) -> Result<Object, JsValue> {
    let object = Object::new();
    for (name, value) in fields {
        Reflect::set(&object, &name.into(), &value)?;
    }
    Ok(object)
}
