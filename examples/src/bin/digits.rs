//! Classifies real handwritten digits with a small convolutional network on whatever adapter there is.
//!
//! `cargo run --release -p tilewright-examples --bin digits [--host]`

use std::error::Error;
use std::io::{self, Write};
use std::time::Instant;
use tilewright::tensor::npy;
use tilewright::{Gpu, GpuOptions, HostTensor, Model, ModelOptions, Session, block_on};

/// Images shown in the terminal.
const SHOWN: usize = 6;

fn main() -> Result<(), Box<dyn Error>> {
    match run(&mut io::stdout().lock()) {
        // Who reads has seen enough.
        Err(e) if e.downcast_ref::<io::Error>().is_some_and(closed) => Ok(()),
        result => result,
    }
}

fn closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let folder = tilewright_examples::digits();
    let images = npy::read(&std::fs::read(folder.join("digits_images.npy"))?)?;
    let labels = npy::read(&std::fs::read(folder.join("digits_labels.npy"))?)?.to_i64()?;
    let pixels: Vec<f32> = images.to_f64().iter().map(|&p| p as f32 / 16.0).collect();

    let started = Instant::now();
    let graph = tilewright::onnx::read_model_file(folder.join("digits.onnx"))?;
    let (model, place) = place(graph, std::env::args().any(|a| a == "--host"));
    let mut session = Session::new(&model)?;
    classify(&mut session, &pixels[..64])?;
    writeln!(
        out,
        "{place}; load to first result {:.0} ms\n",
        started.elapsed().as_secs_f64() * 1e3
    )?;

    let shown: Vec<usize> = (0..SHOWN).map(|i| i * labels.len() / SHOWN).collect();
    for &i in &shown {
        let start = Instant::now();
        let scores = classify(&mut session, &pixels[i * 64..(i + 1) * 64])?;
        let time = start.elapsed();
        let (label, p) = best(&scores);
        draw(out, &pixels[i * 64..(i + 1) * 64])?;
        writeln!(
            out,
            "image {i}: a {label} ({:.1} %), written as {}, in {:.2} ms\n",
            p * 100.0,
            labels[i],
            time.as_secs_f64() * 1e3
        )?;
    }

    let start = Instant::now();
    let scores = classify(&mut session, &pixels)?;
    let time = start.elapsed();
    let right = scores
        .chunks(10)
        .zip(&labels)
        .filter(|(s, l)| best(s).0 as i64 == **l)
        .count();
    writeln!(
        out,
        "{right} of {} right ({:.2} %) in one batch, {:.1} ms",
        labels.len(),
        100.0 * right as f64 / labels.len() as f64,
        time.as_secs_f64() * 1e3
    )?;
    // The network was trained on part of these images; far below this, something computes wrongly.
    if right * 100 < labels.len() * 97 {
        return Err("fewer than 97 % are right: a kernel must be wrong on this adapter".into());
    }
    Ok(())
}

/// The model on the best adapter, or on the host if there is none.
fn place(graph: tilewright::Graph, host: bool) -> (Model, String) {
    let options = ModelOptions::default();
    if host {
        return (Model::host(graph, options), "On the host, as asked".into());
    }
    match block_on(Gpu::new(GpuOptions::new())) {
        Ok(gpu) => {
            let place = format!("On {} ({:?})", gpu.info().name, gpu.info().backend);
            (Model::new(graph, &gpu, options), place)
        }
        Err(e) => (
            Model::host(graph, options),
            format!("No adapter ({e}); on the host, which is slow"),
        ),
    }
}

/// Probabilities, ten for each image of 64 pixels.
fn classify(session: &mut Session, pixels: &[f32]) -> Result<Vec<f32>, Box<dyn Error>> {
    let batch = HostTensor::from_slice([pixels.len() / 64, 1, 8, 8], pixels)?;
    let name = session.model().graph().inputs()[0].0.clone();
    let outputs = block_on(session.run(&[(&name, batch)]))?;
    Ok(outputs[0].1.to_vec::<f32>()?)
}

fn best(scores: &[f32]) -> (usize, f32) {
    scores
        .iter()
        .copied()
        .enumerate()
        .fold((0, f32::MIN), |a, b| if b.1 > a.1 { b } else { a })
}

/// Two characters a pixel, darker for more ink.
fn draw(out: &mut impl Write, pixels: &[f32]) -> io::Result<()> {
    for row in pixels.chunks(8) {
        let line: String = row
            .iter()
            .map(|&p| [" ", "░", "▒", "▓", "█"][(p * 4.0).round() as usize].repeat(2))
            .collect();
        writeln!(out, "    {line}")?;
    }
    Ok(())
}
