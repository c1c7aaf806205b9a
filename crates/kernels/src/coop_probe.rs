//! Whether products by cooperative matrices are right on a device.
//!
//! The SPIR-V that naga writes for them says nothing of which accesses must be seen by which others, and which threads form a
//! subgroup is the driver's choice. So nothing is taken for granted: small products are computed and compared first.

use half::f16;
use tilewright_device::{Buffer, BufferUse, Caps, CoopState, Gpu, Recorder, Slot, SubmitOptions};

use crate::coop::CoopTile;
use crate::{Gemm, Layout, Loop, Operand, Store, View, gemm_with};

/// Races show now and then.
const TURNS: usize = 4;
/// Of the largest value. Elements are multiples of 1/64 up to 1, so f16 and f32 hold all products and sums of them exactly,
/// but matrix units may round each sum down.
const TOLERANCE: f64 = 1e-3;

/// Whether cooperative matrices are right on this device: true where [`Caps::coop_matrix`] is there from now on.
///
/// The first call computes small products with every tile that the kernels may choose, in uneven sizes, and compares them with
/// sums in f64; later ones know the result ([`Gpu::coop_state`]). Errors of the device while it computes count as wrong.
///
/// # Errors
/// The loss of the device.
pub async fn coop_probe(gpu: &Gpu) -> tilewright_device::Result<bool> {
    if gpu.coop_state() == CoopState::Untested {
        let mut wrong = String::new();
        let mut right = None;
        for &of in gpu.coop_offers() {
            let mut caps = gpu.caps().clone();
            caps.coop_matrix = Some(of);
            match all_tiles(gpu, &caps).await {
                Ok(()) => {
                    right = Some(of);
                    break;
                }
                Err(what) => {
                    wrong = format!("{}x{} by {} threads: {what}", of.edge, of.edge, of.lanes);
                }
            }
            gpu.check()?;
        }
        gpu.settle_coop(right.ok_or(wrong));
    }
    Ok(matches!(gpu.coop_state(), CoopState::Right(_)))
}

/// What is wrong with the first tile that computes wrongly.
async fn all_tiles(gpu: &Gpu, caps: &Caps) -> Result<(), String> {
    let Some(of) = caps.coop_matrix else {
        return Ok(());
    };
    let tiles = CoopTile::all(caps, of);
    if tiles.is_empty() {
        return Err("no tile fits the limits".into());
    }
    for tile in tiles {
        for layouts in [[Layout::Rows, Layout::Rows], [Layout::Cols, Layout::Cols]] {
            one_tile(gpu, caps, tile, layouts).await?;
        }
    }
    Ok(())
}

/// Two by two tiles and three chunks of k, all of which end in padding.
async fn one_tile(
    gpu: &Gpu,
    caps: &Caps,
    tile: CoopTile,
    [layout_a, layout_b]: [Layout; 2],
) -> Result<(), String> {
    let [bm, bn] = tile.extent().map(|n| n as usize);
    let (m, n) = (bm + bm / 2 - 3, bn + bn / 2 + 4);
    let k = 2 * 4 * tile.bk4 as usize + 11;
    let (a, b) = (elements(m * k, 1), elements(k * n, 2));
    let views = [(0, m * k), (1, k * n), (2, m * n)]
        .map(|(slot, count)| View::new(Slot(slot), Store::F16, [count]));
    let operand = |view, layout, ld| Operand {
        view,
        layout,
        ld,
        batch: vec![],
    };
    let of = |layout, rows, cols| match layout {
        Layout::Cols => rows,
        _ => cols,
    };
    let product = Gemm {
        m,
        n,
        k,
        batch: vec![],
        a: operand(&views[0], layout_a, of(layout_a, m, k)),
        b: operand(&views[1], layout_b, of(layout_b, k, n)),
        c: operand(&views[2], Layout::Rows, n),
        epilogue: None,
    };
    let dispatches = gemm_with(caps, &product, Loop::Coop(tile)).map_err(|e| e.to_string())?;
    let at_a = |i: usize, x: usize| {
        a[if layout_a == Layout::Cols {
            x * m + i
        } else {
            i * k + x
        }]
    };
    let at_b = |x: usize, j: usize| {
        b[if layout_b == Layout::Cols {
            j * k + x
        } else {
            x * n + j
        }]
    };
    let sum = |at: usize| {
        let terms = (0..k).map(|x| f64::from(at_a(at / n, x)) * f64::from(at_b(x, at % n)));
        terms.sum::<f64>()
    };
    let expected: Vec<f64> = (0..m * n).map(sum).collect();
    for _ in 0..TURNS {
        let got = run(gpu, &dispatches, [&a, &b], m * n).await;
        let got = got.map_err(|e| e.to_string())?;
        differs(&got, &expected, n)
            .map_or(Ok(()), |what| Err(format!("a tile of {bm} x {bn}: {what}")))?;
    }
    Ok(())
}

/// The result of a product whose C was NaN before.
async fn run(
    gpu: &Gpu,
    dispatches: &[tilewright_device::Dispatch],
    inputs: [&[f16]; 2],
    results: usize,
) -> tilewright_device::Result<Vec<f16>> {
    let nan = vec![f16::NAN; results];
    let mut buffers: Vec<Buffer> = vec![];
    for values in [inputs[0], inputs[1], &nan] {
        let mut bytes: Vec<u8> = bytemuck::cast_slice(values).to_vec();
        bytes.resize(bytes.len().next_multiple_of(16), 0xff);
        let buffer = gpu.buffer(bytes.len() as u64, BufferUse::Storage)?;
        gpu.write(&buffer, 0, &bytes)?;
        buffers.push(buffer);
    }
    let place = |slot: Slot| Some((buffers.get(slot.0 as usize)?.clone(), 0));
    let replay = gpu.bind(dispatches, place).await?;
    Recorder::new(gpu)
        .run(&replay)
        .submit(SubmitOptions::new())?;
    let bytes = (2 * results as u64).next_multiple_of(4);
    let bytes = gpu.read(&buffers[2], 0, bytes).await?;
    let mut got: Vec<f16> = bytemuck::pod_collect_to_vec(&bytes);
    got.truncate(results);
    Ok(got)
}

/// The first element that is too far off.
fn differs(got: &[f16], expected: &[f64], n: usize) -> Option<String> {
    let most = expected.iter().fold(1.0, |most: f64, v| most.max(v.abs()));
    let near = |got: f16, expected: f64| (got.to_f64() - expected).abs() <= TOLERANCE * most;
    let mut pairs = got.iter().zip(expected);
    // NaN is near to nothing.
    let at = pairs.position(|(&got, &expected)| !near(got, expected))?;
    Some(format!(
        "element ({}, {}) is {}, expected {}",
        at / n,
        at % n,
        got[at],
        expected[at]
    ))
}

/// Reproducible multiples of 1/64 from -1 to 1.
fn elements(count: usize, seed: u32) -> Vec<f16> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let next = || {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        f16::from_f32((state >> 25) as f32 / 64.0 - 1.0)
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_found() {
        let expected = [0.5, -3.0, 100.0, 0.0];
        let right = expected.map(|v| f16::from_f64(v * 1.0004));
        assert_eq!(differs(&right, &expected, 2), None);
        for (at, value) in [(0, f16::ONE), (3, f16::NAN), (2, f16::ZERO)] {
            let mut wrong = right;
            wrong[at] = value;
            let said = differs(&wrong, &expected, 2).unwrap();
            let place = format!("element ({}, {}) is", at / 2, at % 2);
            assert!(said.starts_with(&place), "{said}");
        }
    }

    #[test]
    fn the_elements_are_exact_and_of_both_signs() {
        let all = elements(1000, 1);
        assert!(
            all.iter()
                .all(|v| (v.to_f32() * 64.0).fract() == 0.0 && v.to_f32().abs() <= 1.0)
        );
        assert!(all.iter().any(|v| v.to_f32() < -0.5) && all.iter().any(|v| v.to_f32() > 0.5));
    }
}
