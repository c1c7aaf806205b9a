//! Runs a model with an operator of one's own, on whatever adapter there is, and checks it against the operator's reference.
//!
//! `cargo run --release -p tilewright-examples --bin custom_op`

use std::error::Error;

use tilewright::graph::{host, samples};
use tilewright::onnx::{self, NoExternalData, ReadOptions, Registry};
use tilewright::tensor::nmse;
use tilewright::{Gpu, GpuOptions, HostTensor, Model, ModelOptions, Session, block_on};
use tilewright_examples::gated::GatedUnit;
use tilewright_examples::models;

fn main() -> Result<(), Box<dyn Error>> {
    let beta = HostTensor::from_vec([3], vec![-0.5f32, 0.0, 2.0])?;
    let file = models::gated(1.5, &beta)?;
    let plain = onnx::read_model(file.clone(), &NoExternalData).err();
    let plain = plain.ok_or("the reader knows the operator without being told")?;
    println!("Without the operator: {plain}");

    let mut registry = Registry::default();
    GatedUnit::register(&mut registry);
    let options = ReadOptions::new().registry(registry);
    let graph = onnx::read_model_with(file.clone(), &NoExternalData, &options)?;
    println!("With it:\n{graph}");

    let x = samples::between(&[1, 3, 4], 1, -4.0, 4.0);
    let expected = host::run(&graph, std::slice::from_ref(&x))?;
    let (model, place) = match block_on(Gpu::new(GpuOptions::new())) {
        Ok(gpu) => {
            let place = format!("{} ({:?})", gpu.info().name, gpu.info().backend);
            (Model::new(graph, &gpu, ModelOptions::default()), place)
        }
        Err(e) => {
            let place = format!("the host, for there is no adapter ({e})");
            (Model::host(graph, ModelOptions::default()), place)
        }
    };
    let mut session = Session::new(&model)?;
    let outputs = block_on(session.run(&[("x", x)]))?;
    for step in session.host_steps() {
        println!("On the host: {} ({}): {}", step.node, step.op, step.reason);
    }
    let error = nmse(&outputs[0].1, &expected[0])?;
    println!(
        "On {place}: y = {}\nError against the reference (NMSE): {error:.1e}",
        outputs[0].1
    );
    // A relative error of 1e-5: a few roundings of f32.
    if error > 1e-10 {
        return Err("the operator's kernel and its reference differ".into());
    }
    Ok(())
}
