//! A node that reads one tensor twice: ranges of the arena that a dispatch may write must not overlap.

mod common;

use common::{any_gpu, op};
use tilewright_graph::{Fact, Graph, Model, ModelOptions, Session, host, samples};
use tilewright_tensor::{DType, nmse};

#[test]
fn a_product_of_a_tensor_with_itself() {
    let mut g = Graph::new();
    let x = g
        .input("x", Some(Fact::sized(DType::F32, &[2, 9, 9])))
        .unwrap();
    let shape = g.ints(&[2, 9, 9]).unwrap();
    let same = g.add1(op("Reshape"), &[x, shape]).unwrap();
    let squared = g.add1(op("MatMul"), &[x, x]).unwrap();
    let again = g.add1(op("MatMul"), &[same, x]).unwrap();
    let both = g.add1(op("Add"), &[squared, again]).unwrap();
    g.output("y", both);
    let x = samples::uniform(&[2, 9, 9], 3);
    let expected = host::run(&g, std::slice::from_ref(&x)).unwrap();
    let Some(gpu) = any_gpu() else { return };
    let mut session = Session::new(&Model::new(g, &gpu, ModelOptions::default())).unwrap();
    let outputs = pollster::block_on(session.run(&[("x", x)])).unwrap();
    assert!(nmse(&outputs[0].1, &expected[0]).unwrap() < 1e-10);
}
