//! Test cases of BsrMatMul.

use super::{BsrMatMul, Fused, Side};
use crate::op::Case;
use crate::point::Program;
use crate::samples;
use tilewright_tensor::{Bsr, DType};

/// A matrix of which about `keep` of 8 blocks are stored, with nothing in its second row of blocks.
fn sparse(extents: [usize; 2], block_size: [usize; 2], keep: u32) -> Bsr {
    let [height, width] = block_size;
    let (mut row_ptr, mut col_idx) = (vec![0u32], vec![]);
    for row in 0..extents[0].div_ceil(height) as u32 {
        let stored = |col: &u32| {
            row != 1 && (row * 7 + col * 3 + keep).wrapping_mul(0x9e37_79b9) >> 29 < keep
        };
        col_idx.extend((0..extents[1].div_ceil(width) as u32).filter(stored));
        row_ptr.push(col_idx.len() as u32);
    }
    let values = samples::uniform(&[col_idx.len(), height, width], 7);
    Bsr::new(extents, block_size, row_ptr, col_idx, values).expect("a matrix of these blocks")
}

pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, side: Side, x: &[usize], rows: usize, block: [usize; 2], keep: u32| {
        let inner = x[x.len() - 1 - usize::from(side == Side::Left)];
        let w = sparse([rows, inner], block, keep);
        let (op, parts) = BsrMatMul::of(side, &w).expect("an operator for any matrix");
        let inputs = [samples::uniform(x, 1)].into_iter().chain(parts).collect();
        Case::new(name, op, inputs).constant(&[1, 2, 3])
    };
    let (left, right) = (Side::Left, Side::Right);
    let fused = || {
        let Case { op, mut inputs, .. } = case("", right, &[2, 9, 64], 96, [16, 16], 3);
        let program = Program::parse("f32 f32 f32", "Add f32 %0 %1; Relu f32 %3; Add f32 %4 %2");
        let program = program.expect("a program");
        inputs.extend([samples::uniform(&[96], 2), samples::uniform(&[2, 9, 96], 3)].map(Some));
        let op = Fused::new(op, 4, program);
        Case::with_optional("bias, activation, residual", op, inputs).constant(&[1, 2, 3, 4])
    };
    let typed = |name: &str, dtype: DType| {
        let mut case = case(name, right, &[5, 32], 40, [8, 8], 4);
        for i in [0, 3] {
            let t = case.inputs[i].as_mut().expect("a tensor");
            *t = t.cast(dtype).expect("a cast between floats");
        }
        case
    };
    let given = |name: &str| case(name, right, &[3, 12], 10, [4, 4], 4).constant(&[1, 2]);
    vec![
        case("32 x 32", right, &[64, 96], 128, [32, 32], 2),
        case("one row", right, &[1, 96], 64, [32, 32], 4),
        case("batches", right, &[2, 3, 5, 64], 96, [32, 16], 3),
        case("blocks of 4", right, &[19, 40], 52, [4, 4], 2),
        case("blocks of 8 x 16", right, &[33, 80], 70, [8, 16], 3),
        case("an odd last block", right, &[11, 100], 75, [32, 32], 4),
        case("odd sizes", right, &[7, 33], 45, [16, 8], 3),
        case("odd blocks", right, &[6, 30], 23, [5, 3], 3),
        case("single elements", right, &[9, 24], 17, [1, 1], 2),
        case("blocks beyond the matrix", right, &[3, 10], 6, [64, 64], 8),
        case("dense", right, &[40, 64], 64, [32, 32], 8),
        case("all zero", right, &[10, 64], 64, [32, 32], 0),
        case("no rows of x", right, &[0, 8], 8, [4, 4], 4),
        case("left, 32 x 32", left, &[64, 48], 128, [32, 32], 3),
        case("left, batches", left, &[2, 3, 40, 12], 36, [8, 8], 3),
        case("left, odd sizes", left, &[2, 33, 7], 45, [16, 8], 3),
        case("left, one column", left, &[64, 1], 64, [16, 16], 4),
        case("left, all zero", left, &[64, 5], 32, [32, 32], 0),
        fused(),
        typed("f16", DType::F16),
        typed("f64", DType::F64),
        typed("bf16", DType::BF16),
        given("values of the run"),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_well_formed() {
        assert_eq!(super::cases().len(), 23);
    }
}
