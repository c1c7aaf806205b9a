//! Every variant of the recurrent cells through the assembler and naga.

mod common;

use common::check;
use tilewright_device::{Caps, Slot};
use tilewright_kernels::{Cell, Error, Layout, Recurrent, Store, View, Weights, recurrent};

fn view(slot: u32, store: Store, shape: &[usize]) -> View {
    View::new(Slot(slot), store, shape)
}

/// Batch and input of the layers here.
const SIZE: (usize, usize) = (2, 6);

struct Options {
    cell: Cell,
    hidden: usize,
    steps: usize,
    optional: bool,
    batch_first: bool,
    /// The kinds of the first direction's functions, and of the second's.
    kinds: [u32; 2],
}

fn layer(caps: &Caps, of: &Options) -> Result<usize, Error> {
    let ((batch, input), d, h) = (SIZE, 2, of.hidden);
    let gates = match of.cell {
        Cell::Lstm { .. } => 4,
        Cell::Gru { .. } => 3,
        Cell::Rnn => 1,
    };
    let held = of.cell == Cell::Gru { linear: false };
    let lstm = matches!(of.cell, Cell::Lstm { .. });
    let f32s = |slot, shape: &[usize]| view(slot, Store::F32, shape);
    let weights = |slot, rows: usize, k: usize| Weights {
        view: f32s(slot, &[d, rows, k]),
        layout: Layout::Cols,
        ld: k,
        step: rows * k,
    };
    let x = f32s(0, &[of.steps, batch, input]);
    let (y, state) = (f32s(1, &[of.steps, d, batch, h]), f32s(2, &[d, batch, h]));
    let memory = f32s(3, &[d, batch, h]);
    let (bias, peepholes) = (f32s(4, &[d, 2 * gates * h]), f32s(5, &[d, 3 * h]));
    let (lengths, initial) = (view(6, Store::I32, &[batch]), f32s(7, &[d, batch, h]));
    let functions = |kind| [(kind, 0.5, 0.1); 3];
    let layer = Recurrent {
        cell: of.cell,
        steps: of.steps,
        batch,
        input,
        hidden: h,
        batch_first: of.batch_first,
        directions: vec![
            (false, functions(of.kinds[0])),
            (true, functions(of.kinds[1])),
        ],
        clip: of.optional.then_some(2.0),
        x: &x,
        w: weights(8, gates * h, input),
        r: weights(9, gates * h, h),
        r_hidden: held.then(|| weights(10, h, h)),
        bias: of.optional.then_some(&bias),
        lengths: of.optional.then_some(&lengths),
        peepholes: (of.optional && lstm).then_some(&peepholes),
        initial: [of.optional.then_some(&initial), None],
        y: of.optional.then_some(&y),
        h: &state,
        c: lstm.then_some(&memory),
    };
    let scratch = layer.scratch();
    let scratch: Vec<View> = (11..)
        .zip(scratch)
        .map(|(slot, n)| f32s(slot, &[n]))
        .collect();
    let scratch: [View; 4] = scratch.try_into().unwrap();
    let dispatches = recurrent(caps, &layer, &scratch)?;
    dispatches.iter().for_each(|d| check(caps, d));
    Ok(dispatches.len())
}

const CELLS: [Cell; 5] = [
    Cell::Lstm { coupled: false },
    Cell::Lstm { coupled: true },
    Cell::Gru { linear: false },
    Cell::Gru { linear: true },
    Cell::Rnn,
];

#[test]
fn every_cell_assembles() {
    for caps in [Caps::software(8), Caps::discrete(), Caps::webgpu_default()] {
        for cell in CELLS {
            for (hidden, optional) in [(8, true), (7, true), (8, false), (7, false)] {
                let options = Options {
                    cell,
                    hidden,
                    steps: 1,
                    optional,
                    batch_first: optional,
                    kinds: [0, 0],
                };
                layer(&caps, &options).unwrap();
            }
        }
    }
}

#[test]
fn a_step_is_a_product_and_a_cell() {
    let count = |cell, steps, kinds| {
        let options = Options {
            cell,
            hidden: 8,
            steps,
            optional: false,
            batch_first: false,
            kinds,
        };
        layer(&Caps::discrete(), &options).unwrap()
    };
    let each = |cell, kinds| count(cell, 3, kinds) - count(cell, 2, kinds);
    assert_eq!(each(Cell::Lstm { coupled: false }, [0, 0]), 2);
    assert_eq!(each(Cell::Gru { linear: true }, [1, 1]), 2);
    // The product of the reset state comes between.
    assert_eq!(each(Cell::Gru { linear: false }, [0, 0]), 4);
    // Directions with functions of their own have cells of their own.
    assert_eq!(each(Cell::Rnn, [0, 1]), 3);
    assert_eq!(count(Cell::Rnn, 0, [0, 0]), 1);
}
