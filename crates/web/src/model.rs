//! Models and sessions.

use crate::adapter::Adapter;
use crate::glue::{error, object};
use crate::tensor;
use js_sys::{Array, Object, Reflect};
use tilewright::graph::Value;
use tilewright::onnx::{NoExternalData, read_model};
use tilewright::{ModelOptions, Session as Inner};
use wasm_bindgen::prelude::*;

/// An ONNX model with its weights on an adapter, or on the host where none was given.
#[wasm_bindgen]
pub struct Model(tilewright::Model);

#[wasm_bindgen]
impl Model {
    /// Reads the bytes of an .onnx file whose weights are inside; throws what the model has that the engine has not.
    #[wasm_bindgen(constructor)]
    pub fn new(bytes: Vec<u8>, adapter: &Adapter) -> Result<Model, JsValue> {
        let graph = read_model(bytes, &NoExternalData).map_err(error)?;
        let options = ModelOptions::default();
        Ok(Self(tilewright::Model::new(graph, &adapter.0, options)))
    }

    /// The same without an adapter: every node runs by its reference, slowly.
    #[wasm_bindgen(js_name = onHost)]
    pub fn on_host(bytes: Vec<u8>) -> Result<Model, JsValue> {
        let graph = read_model(bytes, &NoExternalData).map_err(error)?;
        Ok(Self(tilewright::Model::host(
            graph,
            ModelOptions::default(),
        )))
    }

    /// `[{name, dtype, shape}]`, where a size of the shape is a number or the name of a symbol.
    #[wasm_bindgen(getter)]
    pub fn inputs(&self) -> Result<Array, JsValue> {
        self.values(self.0.graph().inputs())
    }

    /// The outputs, as the inputs.
    #[wasm_bindgen(getter)]
    pub fn outputs(&self) -> Result<Array, JsValue> {
        self.values(self.0.graph().outputs())
    }

    /// A session. Many may share a model's weights; each has memory of its own.
    pub fn session(&self) -> Result<Session, JsValue> {
        Ok(Session(Inner::new(&self.0).map_err(error)?))
    }

    fn values(&self, values: &[(std::sync::Arc<str>, Value)]) -> Result<Array, JsValue> {
        let list = Array::new();
        for (name, value) in values {
            let (dtype, shape) = match self.0.graph().fact(*value) {
                None => (JsValue::UNDEFINED, JsValue::UNDEFINED),
                Some(fact) => {
                    let sizes = fact.shape.iter().map(ToString::to_string);
                    let sizes = sizes.map(|size| match size.parse::<f64>() {
                        Ok(number) => JsValue::from(number),
                        Err(_) => JsValue::from(size),
                    });
                    (fact.dtype.name().into(), sizes.collect::<Array>().into())
                }
            };
            let entry = object([
                ("name", (&**name).into()),
                ("dtype", dtype),
                ("shape", shape),
            ])?;
            list.push(&entry.into());
        }
        Ok(list)
    }
}

/// Runs a model, one run at a time.
#[wasm_bindgen]
pub struct Session(Inner);

#[wasm_bindgen]
impl Session {
    /// Runs on `{name: Tensor}` and resolves to the outputs, likewise.
    #[wasm_bindgen(unchecked_return_type = "Record<string, Tensor>")]
    pub async fn run(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "Record<string, Tensor>")] inputs: Object,
    ) -> Result<Object, JsValue> {
        let mut given = vec![];
        for entry in Object::entries(&inputs).iter() {
            let entry = Array::from(&entry);
            let name = entry.get(0).as_string().unwrap_or_default();
            let value = tensor::read(&name, &entry.get(1))?;
            given.push((name, value));
        }
        let named: Vec<_> = given
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        let outputs = self.0.run(&named).await.map_err(error)?;
        let result = Object::new();
        for (name, value) in &outputs {
            Reflect::set(&result, &(&**name).into(), &tensor::write(value)?.into())?;
        }
        Ok(result)
    }

    /// What runs on the host although the model has an adapter: `[{node, op, reason}]`.
    #[wasm_bindgen(getter, js_name = hostSteps)]
    pub fn host_steps(&self) -> Result<Array, JsValue> {
        let list = Array::new();
        for step in self.0.host_steps() {
            let entry = object([
                ("node", step.node.into()),
                ("op", step.op.into()),
                ("reason", step.reason.into()),
            ])?;
            list.push(&entry.into());
        }
        Ok(list)
    }
}
