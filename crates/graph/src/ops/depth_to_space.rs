//! DepthToSpace and SpaceToDepth: blocks of pixels from channels, and back. Both are a transpose between two reshapes.

use super::moving::{emit_copy, moved, place, transposed};
use crate::dim::Dim;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::{Strides, View};
use tilewright_tensor::{DType, HostTensor};

/// The order of the parts of a channel index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockOrder {
    /// Row in the block, column, then depth (ONNX "DCR").
    DepthLast,
    /// Depth, then row and column in the block (ONNX "CRD").
    DepthFirst,
}

/// The attributes of both operators.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    size: usize,
    order: BlockOrder,
}

impl Blocks {
    fn from_attrs(attrs: &Attrs) -> Result<Blocks> {
        let size: i64 = attrs.need("blocksize")?;
        let mode: String = attrs.or("mode", "DCR".into())?;
        let order = match &mode[..] {
            "DCR" => BlockOrder::DepthLast,
            "CRD" => BlockOrder::DepthFirst,
            _ => return Err(Error::op(attrs.op(), format!("mode `{mode}`"))),
        };
        // Blocks of so many pixels a side are far above any image; their squares still fit.
        let fits = usize::try_from(size)
            .ok()
            .filter(|b| (1..1 << 16).contains(b));
        let size = fits.ok_or_else(|| Error::op(attrs.op(), format!("blocksize {size}")))?;
        Ok(Blocks { size, order })
    }

    fn attrs(self, name: &str) -> Attrs {
        let mode = match self.order {
            BlockOrder::DepthLast => "DCR",
            BlockOrder::DepthFirst => "CRD",
        };
        Attrs::new(name)
            .with("blocksize", self.size as i64)
            .with("mode", mode.to_string())
    }
}

/// N, C, H and W.
fn image<'a, T>(op: &str, shape: &'a [T]) -> Result<&'a [T; 4]> {
    let what = || format!("needs N, C, H, W, got {} dimensions", shape.len());
    shape.try_into().map_err(|_| Error::op(op, what()))
}

/// `n / by`, which must not leave a rest.
fn part(op: &str, n: &Dim, by: usize) -> Result<Dim> {
    let by = Dim::from(by);
    if n.modulo(&by).known().is_some_and(|rest| rest != 0) {
        let what = format!("size {n} is not a multiple of {by}");
        return Err(Error::op(op, what));
    }
    Ok(n.floor_div(&by))
}

/// A copy as a transpose: the input under `split` sizes, its axes in the order `perm`, the result under `shape`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shuffle {
    split: Vec<usize>,
    perm: Vec<usize>,
    shape: Vec<usize>,
}

impl Shuffle {
    fn of(&self, data: &HostTensor) -> Result<Vec<HostTensor>> {
        let moved = transposed(&data.reshape(self.split.clone())?, &self.perm)?;
        Ok(vec![moved.reshape(self.shape.clone())?])
    }

    fn emit(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let by = Strides::of(&self.split).by;
        let by = self.perm.iter().map(|&axis| by[axis]).collect();
        let shape = self.perm.iter().map(|&axis| self.split[axis]).collect();
        emit_copy(cx, &x, Strides { offset: 0, by }, &View { shape, ..y })
    }
}

/// ONNX DepthToSpace-13: `[n, c * b * b, h, w]` to `[n, c, h * b, w * b]` for blocks of `b` x `b`.
#[derive(Clone, Debug)]
pub struct DepthToSpace {
    blocks: Blocks,
}

impl DepthToSpace {
    /// Blocks of `size` x `size` pixels (1 to 65,535).
    pub fn new(size: usize, order: BlockOrder) -> DepthToSpace {
        let size = size.clamp(1, (1 << 16) - 1);
        DepthToSpace {
            blocks: Blocks { size, order },
        }
    }

    fn shuffle(&self, shape: &[usize]) -> Result<Shuffle> {
        let &[n, c, h, w] = image("DepthToSpace", shape)?;
        let b = self.blocks.size;
        if c % (b * b) != 0 {
            let what = format!("{c} channels for blocks of {b} x {b}");
            return Err(Error::op("DepthToSpace", what));
        }
        let depth = c / (b * b);
        let (split, perm) = match self.blocks.order {
            BlockOrder::DepthLast => (vec![n, b, b, depth, h, w], vec![0, 3, 4, 1, 5, 2]),
            BlockOrder::DepthFirst => (vec![n, depth, b, b, h, w], vec![0, 1, 4, 2, 5, 3]),
        };
        let shape = vec![n, depth, h * b, w * b];
        Ok(Shuffle { split, perm, shape })
    }
}

impl Operator for DepthToSpace {
    const NAMES: &'static [&'static str] = &["DepthToSpace"];

    fn attrs(&self) -> Attrs {
        self.blocks.attrs("DepthToSpace")
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(DepthToSpace {
            blocks: Blocks::from_attrs(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        let [n, c, h, w] = image("DepthToSpace", &x.shape)?;
        let b = self.blocks.size;
        let depth = part("DepthToSpace", c, b * b)?;
        let up = |size: &Dim| size.clone() * b.into();
        Ok(vec![moved(x, [n.clone(), depth, up(h), up(w)])])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        self.shuffle(x.shape())?.of(x)
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let shape = cx.input(0)?.shape;
        self.shuffle(&shape)?.emit(cx)
    }

    fn moves(&self, input: usize) -> bool {
        input == 0
    }

    fn blocks(&self, cx: &Placing<'_>) -> crate::Blocks {
        crate::Blocks::copies(cx)
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let case =
            |name: &str, size, order, x| Case::new(name, DepthToSpace::new(size, order), vec![x]);
        let x = |shape: &[usize]| samples::uniform(shape, 1);
        let ints = samples::integers(DType::I64, &[1, 4, 2, 3], 1, -9, 9);
        vec![
            case("DCR", 2, BlockOrder::DepthLast, x(&[2, 12, 3, 5])),
            case("CRD", 2, BlockOrder::DepthFirst, x(&[2, 12, 3, 5])),
            case("blocks of 3", 3, BlockOrder::DepthLast, x(&[1, 18, 2, 4])),
            case("integers", 2, BlockOrder::DepthFirst, ints),
            case("nothing", 2, BlockOrder::DepthFirst, x(&[0, 4, 2, 2])),
        ]
    }
}

/// ONNX SpaceToDepth-28: `[n, c, h * b, w * b]` to `[n, c * b * b, h, w]` for blocks of `b` x `b`.
#[derive(Clone, Debug)]
pub struct SpaceToDepth {
    blocks: Blocks,
}

impl SpaceToDepth {
    /// Blocks of `size` x `size` pixels (1 to 65,535).
    pub fn new(size: usize, order: BlockOrder) -> SpaceToDepth {
        let size = size.clamp(1, (1 << 16) - 1);
        SpaceToDepth {
            blocks: Blocks { size, order },
        }
    }

    fn shuffle(&self, shape: &[usize]) -> Result<Shuffle> {
        let &[n, c, h, w] = image("SpaceToDepth", shape)?;
        let b = self.blocks.size;
        if h % b != 0 || w % b != 0 {
            let what = format!("{h} x {w} pixels for blocks of {b} x {b}");
            return Err(Error::op("SpaceToDepth", what));
        }
        let split = vec![n, c, h / b, b, w / b, b];
        let perm = match self.blocks.order {
            BlockOrder::DepthLast => vec![0, 3, 5, 1, 2, 4],
            BlockOrder::DepthFirst => vec![0, 1, 3, 5, 2, 4],
        };
        let shape = vec![n, c * b * b, h / b, w / b];
        Ok(Shuffle { split, perm, shape })
    }
}

impl Operator for SpaceToDepth {
    const NAMES: &'static [&'static str] = &["SpaceToDepth"];

    fn attrs(&self) -> Attrs {
        self.blocks.attrs("SpaceToDepth")
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(SpaceToDepth {
            blocks: Blocks::from_attrs(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        let [n, c, h, w] = image("SpaceToDepth", &x.shape)?;
        let b = self.blocks.size;
        let depth = c.clone() * (b * b).into();
        let (h, w) = (part("SpaceToDepth", h, b)?, part("SpaceToDepth", w, b)?);
        Ok(vec![moved(x, [n.clone(), depth, h, w])])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        self.shuffle(x.shape())?.of(x)
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let shape = cx.input(0)?.shape;
        self.shuffle(&shape)?.emit(cx)
    }

    fn moves(&self, input: usize) -> bool {
        input == 0
    }

    fn blocks(&self, cx: &Placing<'_>) -> crate::Blocks {
        crate::Blocks::copies(cx)
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let case =
            |name: &str, size, order, x| Case::new(name, SpaceToDepth::new(size, order), vec![x]);
        let x = |shape: &[usize]| samples::uniform(shape, 1);
        vec![
            case("DCR", 2, BlockOrder::DepthLast, x(&[2, 3, 4, 6])),
            case("CRD", 2, BlockOrder::DepthFirst, x(&[2, 3, 4, 6])),
            case("blocks of 3", 3, BlockOrder::DepthLast, x(&[1, 2, 6, 3])),
            case(
                "booleans",
                2,
                BlockOrder::DepthLast,
                samples::booleans(&[1, 2, 2, 2], 1),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Op;

    #[test]
    fn each_is_the_inverse_of_the_other() {
        let x = samples::uniform(&[2, 8, 3, 4], 1);
        for order in [BlockOrder::DepthLast, BlockOrder::DepthFirst] {
            let there = Op::from(DepthToSpace::new(2, order))
                .reference(&[Some(&x)])
                .unwrap();
            let back = Op::from(SpaceToDepth::new(2, order));
            assert_eq!(back.reference(&[Some(&there[0])]).unwrap()[0], x);
        }
    }
}
