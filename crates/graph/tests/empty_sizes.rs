//! Symbolic sizes of 0: right where a symbol may be 0, refused where simplification relied on at least 1.

mod common;

use common::add;
use tilewright_graph::{
    Attrs, Dim, Error, Fact, Graph, Model, ModelOptions, Session, Symbol, samples,
};
use tilewright_tensor::{DType, HostTensor};

/// Whether the rows of a matrix are more than none, its last row if there is one, and one row more.
fn graph(rows: Symbol) -> Graph {
    let mut g = Graph::new();
    let fact = Fact::new(DType::F32, [Dim::from(rows), Dim::from(2usize)]);
    let x = g.input("x", Some(fact)).unwrap();
    let attrs = Attrs::new("Shape").with("start", 0i64).with("end", 1i64);
    let count = add(&mut g, "Shape", attrs, &[x]);
    let zero = g.constant(samples::of(&[1], &[0i64]));
    let some = add(&mut g, "Greater", Attrs::new("Greater"), &[count, zero]);
    let [last, end, axis] = [-1, i64::MAX, 0].map(|n| g.constant(samples::of(&[1], &[n])));
    let last = add(&mut g, "Slice", Attrs::new("Slice"), &[x, last, end, axis]);
    let row = g.constant(samples::uniform(&[1, 2], 1));
    let more = add(
        &mut g,
        "Concat",
        Attrs::new("Concat").with("axis", 0i64),
        &[x, row],
    );
    g.output("some", some);
    g.output("last", last);
    g.output("more", more);
    g
}

fn run(rows: Symbol, count: usize) -> Result<Vec<HostTensor>, Error> {
    let model = Model::host(graph(rows), ModelOptions::default());
    let x = samples::uniform(&[count, 2], 2);
    let outputs = pollster::block_on(Session::new(&model)?.run(&[("x", x)]))?;
    Ok(outputs.into_iter().map(|(_, t)| t).collect())
}

#[test]
fn a_size_that_may_be_zero() {
    for (count, some) in [(0usize, 0u8), (3, 1)] {
        let y = run(Symbol::maybe_empty("rows"), count).unwrap();
        assert_eq!(y[0].to_f64(), [f64::from(some)], "{count}");
        assert_eq!(y[1].shape()[..], [usize::from(some), 2]);
        assert_eq!(y[2].shape()[..], [count + 1, 2]);
    }
}

#[test]
fn zero_is_refused_elsewhere() {
    let y = run(Symbol::new("rows"), 3).unwrap();
    assert_eq!(y[1].shape()[..], [1, 2]);
    let error = run(Symbol::new("rows"), 0).unwrap_err().to_string();
    assert!(
        error.contains("`x`") && error.contains("maybe_empty"),
        "{error}"
    );
}
