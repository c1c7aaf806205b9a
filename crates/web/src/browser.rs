//! What JavaScript can call.

use js_sys::{Object, Reflect};
use tilewright_device::wgpu;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn console_error(message: &str);
}

/// Sends panics to the console, where a page's reader finds them; wasm alone says only "unreachable".
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|info| console_error(&info.to_string())));
}

/// Asks the browser for its WebGPU adapter and a device with the default limits.
///
/// Resolves to `{name, backend, bindingBytes, workgroupBytes, invocations}`; rejects with a sentence where there is none.
#[wasm_bindgen]
pub async fn adapter() -> Result<JsValue, JsError> {
    let instance = wgpu::Instance::default();
    let adapter = instance
        .request_adapter(&wgpu::RequestAdapterOptions::default())
        .await?;
    let (device, _queue) = adapter
        .request_device(&wgpu::DeviceDescriptor::default())
        .await?;
    let (info, limits) = (adapter.get_info(), device.limits());
    let object = Object::new();
    let mut set = |name: &str, value: JsValue| Reflect::set(&object, &name.into(), &value);
    let fields = [
        ("name", info.name.as_str().into()),
        ("backend", info.backend.to_str().into()),
        (
            "bindingBytes",
            limits.max_storage_buffer_binding_size.into(),
        ),
        (
            "workgroupBytes",
            limits.max_compute_workgroup_storage_size.into(),
        ),
        (
            "invocations",
            limits.max_compute_invocations_per_workgroup.into(),
        ),
    ];
    for (name, value) in fields {
        set(name, value).map_err(|_| JsError::new("cannot set a field"))?;
    }
    Ok(object.into())
}
