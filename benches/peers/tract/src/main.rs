//! Runs benchmark work with tract on the CPU: ONNX files as they are, and other work as ONNX graphs of a few nodes.
//! Tract runs on one thread unless it is told otherwise, and it is not told otherwise here.

mod graphs;

use std::sync::Arc;

use peer_protocol::{Hello, Model, Prepared, Why, Work, floats, integers, serve};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::TractErrorContext;

const TRACT: &str = "0.23.9";

fn main() -> std::io::Result<()> {
    let hello = Hello {
        peer: "tract-cpu".to_owned(),
        version: TRACT.to_owned(),
        device: "CPU, 1 thread".to_owned(),
    };
    serve(hello, |work| {
        let ready = match work {
            Work::Model(model) => load(model),
            other => build(graphs::of(other)?),
        };
        Ok(Box::new(ready.map_err(|error| format!("{error:#}"))?))
    })
}

struct Ready {
    plan: Arc<TypedRunnableModel>,
    inputs: TVec<TValue>,
    outputs: TVec<TValue>,
}

impl Prepared for Ready {
    fn run(&mut self, repeats: u32) -> Result<(), Why> {
        for _ in 0..repeats {
            let outputs = self.plan.run(self.inputs.clone());
            self.outputs = outputs.map_err(|error| format!("{error:#}"))?;
        }
        Ok(())
    }

    fn output(&mut self) -> Result<Vec<f32>, Why> {
        let first = self.outputs.first().ok_or("nothing ran yet")?;
        let values = first.cast_to::<f32>().and_then(|values| {
            let view = values.to_plain_array_view::<f32>()?;
            Ok(view.iter().copied().collect())
        });
        values.map_err(|error| format!("{error:#}"))
    }
}

/// Work that is not a model: every input is f32.
fn build(graph: graphs::Graph) -> TractResult<Ready> {
    let inputs = (0..)
        .zip(&graph.inputs)
        .map(|(number, (_, shape))| data(number, shape, f32::datum_type()))
        .collect::<TractResult<_>>()?;
    plan(onnx().model_for_proto_model(&graph.model())?, inputs)
}

fn load(work: &Model) -> TractResult<Ready> {
    let model = onnx()
        .with_ignore_output_shapes(true)
        .model_for_path(&work.path)?;
    let mut inputs = tvec![];
    for (number, outlet) in (0..).zip(model.input_outlets()?) {
        let name = &model.node(outlet.node).name;
        let shape = work.inputs.get(name);
        let shape = shape.with_context(|| format!("the request gives no shape of input {name}"))?;
        let datum = model.outlet_fact(*outlet)?.datum_type.concretize();
        inputs.push(data(number, shape, datum.unwrap_or(f32::datum_type()))?);
    }
    plan(model, inputs)
}

fn data(number: u32, shape: &[usize], datum: DatumType) -> TractResult<TValue> {
    let len = shape.iter().product();
    let tensor = if datum.is_float() {
        Tensor::from_shape(shape, &floats(number, len))?
    } else {
        Tensor::from_shape(shape, &integers(number, len))?
    };
    Ok(tensor.cast_to_dt(datum)?.into_owned().into())
}

fn plan(mut model: InferenceModel, inputs: TVec<TValue>) -> TractResult<Ready> {
    for (index, input) in inputs.iter().enumerate() {
        let fact = InferenceFact::dt_shape(input.datum_type(), input.shape());
        model.set_input_fact(index, fact)?;
    }
    let plan = model.into_optimized()?.into_runnable()?;
    Ok(Ready {
        plan,
        inputs,
        outputs: tvec![],
    })
}
