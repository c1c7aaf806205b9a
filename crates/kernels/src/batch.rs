//! Batch axes of a product: numpy broadcasting as strides, merged as far as the strides allow.

use tilewright_device::{Dispatch, Variant};

use crate::error::index;
use crate::{Error, Result, SplitK};

/// Batch extents, outermost first, and each operand's stride in elements along them (0: broadcast).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    sizes: Vec<usize>,
    strides: Vec<[usize; 3]>,
    /// How each k block is cut: the innermost axis then counts its parts.
    pub(crate) split: Option<SplitK>,
}

impl Batch {
    /// Merges neighbouring axes that all operands walk with one stride and drops those of extent 1.
    pub(crate) fn new(
        kernel: &'static str,
        sizes: &[usize],
        strides: [&[usize]; 3],
    ) -> Result<Self> {
        if strides.iter().any(|s| s.len() != sizes.len()) {
            let got = strides.map(<[usize]>::len);
            return Err(Error::shape(
                kernel,
                format!("{} batch axes, but strides for {got:?}", sizes.len()),
            ));
        }
        let mut merged = Self {
            sizes: Vec::new(),
            strides: Vec::new(),
            split: None,
        };
        for (axis, &size) in sizes.iter().enumerate().filter(|axis| *axis.1 != 1) {
            let own = strides.map(|s| s[axis]);
            match merged.strides.last_mut() {
                Some(outer) if *outer == own.map(|s| s * size) => {
                    *outer = own;
                    if let Some(last) = merged.sizes.last_mut() {
                        *last *= size;
                    }
                }
                _ => {
                    merged.sizes.push(size);
                    merged.strides.push(own);
                }
            }
        }
        if merged.sizes.len() > 8 {
            return Err(Error::shape(kernel, "more than 8 batch axes"));
        }
        Ok(merged)
    }

    /// With the innermost axis for the parts of a cut, where there is one.
    pub(crate) fn parts(self, split: Option<SplitK>) -> Self {
        Self { split, ..self }
    }

    /// Number of products.
    pub(crate) fn count(&self) -> usize {
        self.sizes.iter().product()
    }

    /// Whether an operand's batches all start at multiples of 4 elements.
    pub(crate) fn is_vec(&self, operand: usize) -> bool {
        self.begins_at(operand, 4)
    }

    /// Whether an operand's batches all start at multiples of so many elements.
    pub(crate) fn begins_at(&self, operand: usize, multiple: usize) -> bool {
        self.strides.iter().all(|s| s[operand] % multiple == 0)
    }

    /// The offset of an operand's last batch.
    pub(crate) fn last(&self, operand: usize) -> usize {
        let axes = self.sizes.iter().zip(&self.strides);
        axes.map(|(size, strides)| size.saturating_sub(1) * strides[operand])
            .sum()
    }

    /// The only axis' extent and strides, or those of a single product; `None` where there are several.
    pub(crate) fn single(&self) -> Option<(usize, [usize; 3])> {
        match (&self.sizes[..], &self.strides[..]) {
            ([], []) => Some((1, [0; 3])),
            ([size], [strides]) => Some((*size, *strides)),
            _ => None,
        }
    }

    /// The part that computes the offsets.
    pub(crate) fn variant(&self, variant: Variant) -> Variant {
        if self.sizes.len() > 1 {
            variant
                .part("batch_many")
                .set("BATCH_RANK", self.sizes.len() as u32)
        } else {
            variant.part("batch_one")
        }
    }

    /// That part's parameters.
    pub(crate) fn params(&self, kernel: &'static str, dispatch: Dispatch) -> Result<Dispatch> {
        let stride = |value| index(kernel, "a batch stride", value);
        if let Some((_, [a, b, c])) = self.single() {
            return Ok(dispatch
                .param("a_batch", stride(a)?)
                .param("b_batch", stride(b)?)
                .param("c_batch", stride(c)?));
        }
        let dims = |of: &dyn Fn(usize) -> usize| -> Result<[u32; 8]> {
            let mut dims = [1; 8];
            for (to, axis) in dims.iter_mut().zip((0..self.sizes.len()).rev()) {
                *to = stride(of(axis))?;
            }
            Ok(dims)
        };
        Ok(dispatch
            .param("batch_size", dims(&|axis| self.sizes[axis])?)
            .param("a_batches", dims(&|axis| self.strides[axis][0])?)
            .param("b_batches", dims(&|axis| self.strides[axis][1])?)
            .param("c_batches", dims(&|axis| self.strides[axis][2])?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_walked_with_one_stride_merge() {
        let batch = Batch::new("t", &[2, 1, 3], [&[12, 99, 4], &[0, 0, 0], &[30, 7, 10]]).unwrap();
        assert_eq!(batch.single(), Some((6, [4, 0, 10])));
        assert_eq!((batch.count(), batch.last(0), batch.last(1)), (6, 20, 0));
    }

    #[test]
    fn a_broadcast_axis_does_not_merge_with_a_walked_one() {
        let batch = Batch::new("t", &[2, 3], [&[0, 4], &[12, 4], &[12, 4]]).unwrap();
        assert_eq!(batch.single(), None);
        let dispatch = batch
            .params("t", Dispatch::new(batch.variant(Variant::new("x"))))
            .unwrap();
        assert_eq!(
            dispatch.to_string(),
            "x batch_many BATCH_RANK=2 () {batch_size=[3, 2, 1, 1, 1, 1, 1, 1], a_batches=[4, 0, 1, 1, 1, 1, 1, 1], \
             b_batches=[4, 12, 1, 1, 1, 1, 1, 1], c_batches=[4, 12, 1, 1, 1, 1, 1, 1]} 1x1x1"
        );
    }

    #[test]
    fn strides_must_match_the_axes() {
        assert!(Batch::new("t", &[2], [&[], &[1], &[1]]).is_err());
    }
}
