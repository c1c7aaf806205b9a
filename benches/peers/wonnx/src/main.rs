//! Runs ONNX models with wonnx, whose last release (2023) uses wgpu 0.16. Its only way to run anything uploads the inputs and
//! reads the outputs back, so it takes models and no other work.

use std::collections::HashMap;

use peer_protocol::{Hello, Model, Prepared, Why, Work, floats, serve};
use protobuf::Message;
use wonnx::Session;
use wonnx::onnx::ModelProto;
use wonnx::utils::{InputTensor, OutputTensor, ScalarType, Shape};

const WONNX: &str = "0.5.1";

fn main() -> std::io::Result<()> {
    let hello = Hello {
        peer: "wonnx".to_owned(),
        version: WONNX.to_owned(),
        device: "the default adapter of wgpu 0.16, or the one named in WGPU_ADAPTER_NAME"
            .to_owned(),
    };
    serve(hello, |work| match work {
        Work::Model(model) => Ok(Box::new(load(model)?)),
        _ => Err("wonnx reads results back in every run: models only".to_owned()),
    })
}

struct Ready {
    session: Session,
    input: String,
    data: Vec<f32>,
    output: String,
    last: Vec<f32>,
}

impl Prepared for Ready {
    fn run(&mut self, repeats: u32) -> Result<(), Why> {
        for _ in 0..repeats {
            let inputs = HashMap::from([(self.input.clone(), InputTensor::from(&*self.data))]);
            let outputs = pollster::block_on(self.session.run(&inputs));
            let mut outputs = outputs.map_err(|error| error.to_string())?;
            let Some(OutputTensor::F32(values)) = outputs.remove(&self.output) else {
                return Err(format!("no f32 output {}", self.output));
            };
            self.last = values;
        }
        Ok(())
    }

    fn output(&mut self) -> Result<Vec<f32>, Why> {
        Ok(self.last.clone())
    }
}

fn load(work: &Model) -> Result<Ready, Why> {
    let bytes = std::fs::read(&work.path);
    let bytes = bytes.map_err(|error| format!("{}: {error}", work.path.display()))?;
    let mut model = ModelProto::parse_from_bytes(&bytes).map_err(|error| error.to_string())?;
    let graph = model.mut_graph();
    let output = graph
        .get_output()
        .first()
        .map(|output| output.get_name().to_owned());
    let output = output.ok_or("the model has no output")?;
    let initializers = graph
        .get_initializer()
        .iter()
        .map(|tensor| tensor.get_name().to_owned());
    let initializers: Vec<String> = initializers.collect();
    let inputs = graph.mut_input().iter_mut();
    let mut inputs = inputs.filter(|input| {
        let name = input.get_name();
        !initializers.iter().any(|initializer| initializer == name)
    });
    let (Some(input), None) = (inputs.next(), inputs.next()) else {
        return Err("this peer runs models of one input".to_owned());
    };
    let name = input.get_name().to_owned();
    let shape = work.inputs.get(&name);
    let shape = shape.ok_or_else(|| format!("the request gives no shape of input {name}"))?;
    let dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
    // Wonnx wants every dim known.
    input.set_shape(&Shape::from(ScalarType::F32, &dims));
    let session = pollster::block_on(Session::from_model(model));
    Ok(Ready {
        session: session.map_err(|error| error.to_string())?,
        input: name,
        data: floats(0, shape.iter().product()),
        output,
        last: Vec::new(),
    })
}
