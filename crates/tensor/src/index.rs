//! Odometers: multi-indices and linear offsets in row-major order.

/// Runs through the multi-indices of a shape in row-major order without allocating per step.
///
/// The index is lent, so this is a `while let` loop rather than an iterator:
/// ```
/// use tilewright_tensor::Shape;
/// let shape = Shape::from([2, 2]);
/// let (mut seen, mut indices) = (Vec::new(), shape.indices());
/// while let Some(index) = indices.advance() {
///     seen.push((index[0], index[1]));
/// }
/// assert_eq!(seen, [(0, 0), (0, 1), (1, 0), (1, 1)]);
/// ```
#[derive(Clone, Debug)]
pub struct Indices<'a> {
    extents: &'a [usize],
    index: Vec<usize>,
    started: bool,
    done: bool,
}

impl<'a> Indices<'a> {
    pub(crate) fn new(extents: &'a [usize]) -> Self {
        Indices {
            extents,
            index: vec![0; extents.len()],
            started: false,
            done: extents.contains(&0),
        }
    }

    /// The next multi-index, of the shape's rank; `None` after the last.
    pub fn advance(&mut self) -> Option<&[usize]> {
        if self.done {
            return None;
        }
        if !self.started {
            self.started = true;
            return Some(&self.index);
        }
        for (i, &extent) in self.index.iter_mut().zip(self.extents).rev() {
            *i += 1;
            if *i < extent {
                return Some(&self.index);
            }
            *i = 0;
        }
        self.done = true;
        None
    }
}

/// Iterator over the linear offsets of `N` operands; see [`Shape::offsets`](crate::Shape::offsets).
#[derive(Clone, Debug)]
pub struct Offsets<const N: usize> {
    /// Per axis: extent, position, step of each operand.
    axes: Vec<(usize, usize, [isize; N])>,
    at: [isize; N],
    left: usize,
}

impl<const N: usize> Offsets<N> {
    pub(crate) fn new(extents: &[usize], strides: [&[isize]; N]) -> Self {
        let axis = |(axis, &extent): (usize, &usize)| {
            let steps = strides.map(|s| s.get(axis).copied().unwrap_or(0));
            (extent, 0, steps)
        };
        // Saturation keeps a shape without a valid count from ending early; nobody can hold such a tensor.
        let left = extents.iter().fold(1usize, |n, &e| n.saturating_mul(e));
        Offsets {
            axes: extents.iter().enumerate().map(axis).collect(),
            at: [0; N],
            left,
        }
    }

    /// The same walk with the operands starting at `start` instead of 0.
    #[must_use]
    pub fn starting_at(mut self, start: [usize; N]) -> Self {
        for (at, start) in self.at.iter_mut().zip(start) {
            *at = at.wrapping_add_unsigned(start);
        }
        self
    }
}

impl<const N: usize> Iterator for Offsets<N> {
    type Item = [usize; N];

    fn next(&mut self) -> Option<[usize; N]> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let now = self.at.map(|at| at as usize);
        for (extent, position, steps) in self.axes.iter_mut().rev() {
            *position += 1;
            if *position < *extent {
                for (at, step) in self.at.iter_mut().zip(steps) {
                    *at = at.wrapping_add(*step);
                }
                break;
            }
            let back = *position as isize - 1;
            for (at, step) in self.at.iter_mut().zip(steps) {
                *at = at.wrapping_sub(step.wrapping_mul(back));
            }
            *position = 0;
        }
        Some(now)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<const N: usize> ExactSizeIterator for Offsets<N> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::Shape;

    proptest! {
        #[test]
        fn offsets_agree_with_indices(extents in prop::collection::vec(0usize..5, 0..5)) {
            let shape = Shape::new(extents);
            let reversed: Vec<isize> = shape.strides().into_iter().rev().collect();
            let offsets: Vec<[usize; 2]> = shape.offsets([&shape.strides(), &reversed]).collect();
            prop_assert_eq!(offsets.len(), shape.elements().unwrap());
            let (mut indices, mut linear) = (shape.indices(), 0);
            while let Some(index) = indices.advance() {
                let other: isize = index.iter().zip(&reversed).map(|(&i, s)| i as isize * s).sum();
                prop_assert_eq!(offsets[linear], [linear, other as usize]);
                prop_assert_eq!(shape.offset(index), linear);
                linear += 1;
            }
            prop_assert_eq!(linear, offsets.len());
        }
    }

    #[test]
    fn negative_steps_walk_backwards() {
        let shape = Shape::from([2, 3]);
        let walk = shape.offsets([&[-3, -1]]).starting_at([5]);
        assert_eq!(walk.flatten().collect::<Vec<_>>(), [5, 4, 3, 2, 1, 0]);
    }

    #[test]
    fn a_scalar_has_one_index_and_an_empty_shape_none() {
        assert_eq!(Shape::scalar().indices().advance(), Some(&[][..]));
        assert_eq!(Shape::from([3, 0]).indices().advance(), None);
        assert_eq!(Shape::from([3, 0]).offsets([&[1, 1]]).next(), None);
    }
}
