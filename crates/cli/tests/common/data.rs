//! The handwritten digits of the examples, and folders to write to.

use super::common::place;
use std::path::PathBuf;
use tilewright::tensor::npy;
use tilewright::{HostTensor, graph::host, onnx::read_model_file};

/// A file of examples/digits.
pub(crate) fn file(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/digits");
    let path = place(folder, "examples/digits").join(name);
    path.to_str().unwrap().to_owned()
}

/// The first `count` images, 0..1, and the probabilities that the references make of them.
pub(crate) fn images(count: usize) -> (HostTensor, HostTensor) {
    let all = npy::read(&std::fs::read(file("digits_images.npy")).unwrap()).unwrap();
    let pixels = all.bytes()[..64 * count].iter();
    let pixels = pixels.map(|ink| f32::from(*ink) / 16.0).collect();
    let images = HostTensor::from_vec([count, 1, 8, 8], pixels).unwrap();
    let graph = read_model_file(file("digits.onnx")).unwrap();
    let expected = host::run(&graph, std::slice::from_ref(&images)).unwrap();
    (images, expected.into_iter().next().unwrap())
}

/// An empty folder for one test; left there for whoever looks into a failure.
pub(crate) fn folder(test: &str) -> PathBuf {
    let folder = place(env!("CARGO_TARGET_TMPDIR"), "tmp").join(test);
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
