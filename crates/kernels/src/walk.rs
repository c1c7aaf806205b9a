//! Tensors as `[outer, n, inner]`, and how threads walk along n (`part/walk.wgsl`).

use tilewright_device::{AdapterKind, Caps, Dispatch, Variant, fold_groups};

use crate::error::index;
use crate::rounds::{check_rounds, most_rounds};
use crate::{Result, Store};

/// A tensor's extents around an axis, or around neighbouring axes, that a kernel works along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Product of the extents before.
    pub outer: usize,
    /// Product of the extents worked along.
    pub n: usize,
    /// Product of the extents after.
    pub inner: usize,
}

/// Threads that a software adapter is to get at least: more than it has, for balance.
const SOFTWARE_UNITS: usize = 128;
/// Threads that a GPU is to get at least: a big one holds about 300,000 at once, and the second pass costs too.
const GPU_UNITS: usize = 1 << 16;

/// Threads from which a software adapter gets 64 a workgroup.
const MANY: usize = 2048;
/// Threads that share what is too long for one on a software adapter: at least as many as its subgroups have, at most as many
/// as every adapter allows.
const SHARED_LANES: [usize; 2] = [16, 256];
/// Bytes from row to row from which a software adapter is faster on few rows at a time: it prefetches from few pages.
const FAR: usize = 1024;

/// The part that takes what was loaded at once out of a vec4, for functions of `math`.
pub(crate) fn slim(width: usize) -> &'static str {
    if width == 4 { "slim_four" } else { "slim_one" }
}

/// The type of `width` floats (1 or 4) side by side.
pub(crate) fn loaded(store: Store, width: usize) -> &'static str {
    match (store, width) {
        (Store::F16, 4) => "vec4<f16>",
        (Store::F16, _) => "f16",
        (_, 4) => "vec4<f32>",
        _ => "f32",
    }
}

impl Form {
    /// Around the axes `first..end` of a shape.
    #[must_use]
    pub fn around(shape: &[usize], first: usize, end: usize) -> Self {
        let product = |part: &[usize]| part.iter().product();
        Self {
            outer: product(&shape[..first]),
            n: product(&shape[first..end]),
            inner: product(&shape[end..]),
        }
    }

    /// Along one axis of a shape.
    #[must_use]
    pub fn along(shape: &[usize], axis: usize) -> Self {
        Self::around(shape, axis, axis + 1)
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.outer * self.n * self.inner
    }

    /// The same walk with neighbours in memory where n is 1: they can then be loaded four at a time.
    fn flat(self) -> Self {
        if self.n != 1 {
            return self;
        }
        Self {
            outer: 1,
            n: 1,
            inner: self.outer * self.inner,
        }
    }
}

/// How a form is walked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk {
    form: Form,
    rows: bool,
    /// Elements loaded at once.
    width: usize,
    lanes: u32,
    software: bool,
    /// Rounds that four loads of a thread cost, over all loops of the shader.
    rounds: usize,
    most_rounds: usize,
    /// Neighbouring loads of a row that a thread owns, each with an output.
    across: usize,
    /// Chunks of n, each with an output of its own.
    pub(crate) splits: usize,
    /// Elements of n in a chunk.
    chunk: usize,
}

impl Walk {
    /// The walk along n as a whole. No extent may be 0. An axis of 1 may be walked as one with its neighbours: outputs
    /// stay in place, but a thread's row and column mean nothing. `rounds` are those that four loads of a thread cost, over
    /// all loops of the shader; unless the walk is cut, [`Walk::shared`] must follow.
    pub(crate) fn new(caps: &Caps, form: Form, rounds: usize) -> Self {
        Self::exact(caps, form.flat(), true, rounds)
    }

    /// The walk along n as a whole, row by row; four elements at once only with `quads`. No extent may be 0.
    pub(crate) fn exact(caps: &Caps, form: Form, quads: bool, rounds: usize) -> Self {
        let rows = form.inner == 1;
        let loaded = if rows { form.n } else { form.inner };
        let width = if quads && loaded.is_multiple_of(4) {
            4
        } else {
            1
        };
        let software = caps.kind == AdapterKind::Software;
        // Registers and barriers cost a software adapter more than they bring: a thread takes a row.
        let lanes = match form.n / width {
            _ if software || !rows => 1,
            steps if steps >= 1024 => 256,
            // Four loads a thread are in flight together.
            steps => steps.div_ceil(4).next_power_of_two().min(64) as u32,
        };
        Self {
            form,
            rows,
            width,
            lanes,
            software,
            rounds,
            most_rounds: most_rounds(caps),
            across: 1,
            splits: 1,
            chunk: form.n,
        }
    }

    /// Loads of a thread.
    pub(crate) fn steps(&self) -> usize {
        let loads = if self.rows {
            self.chunk / self.width
        } else {
            self.chunk
        };
        loads.div_ceil(self.lanes as usize)
    }

    /// Loads for which a thread's loops are not too long.
    fn most_steps(&self) -> usize {
        (self.most_rounds.saturating_mul(4) / self.rounds.max(1)).max(1)
    }

    /// The walk with as many threads to what lies along n as the adapter's loops ask for.
    pub(crate) fn shared(mut self) -> Self {
        let wanted = self.steps().div_ceil(self.most_steps());
        if wanted > 1 {
            let [least, most] = SHARED_LANES;
            let lanes = self.lanes as usize * wanted;
            self.lanes = lanes.next_power_of_two().clamp(least, most) as u32;
        }
        self
    }

    /// The walk with four loads side by side where that is what the adapter likes.
    pub(crate) fn across(mut self) -> Self {
        let loads = self.form.inner / self.width;
        if self.software && !self.rows && self.width == 4 && loads >= 4 {
            self.across = 4;
            // Loads along n are not made four a round then.
            self.rounds *= 4;
        }
        self
    }

    /// The walk with n cut where there are fewer outputs than the adapter has threads.
    pub(crate) fn split(mut self) -> Self {
        // A chunk must be worth its place in the second pass.
        let (units, worth) = if self.software {
            (SOFTWARE_UNITS, 32)
        } else {
            (GPU_UNITS, 16)
        };
        let threads = self.count() * self.lanes as usize;
        let far = self.software && !self.rows && 4 * self.form.inner >= FAR;
        let wanted = if far { usize::MAX } else { units / threads };
        let needed = self.steps().div_ceil(self.most_steps());
        let splits = wanted.min(self.steps() / worth).max(needed);
        if splits > 1 {
            let step = if self.rows { self.width } else { 1 };
            self.chunk = self.form.n.div_ceil(splits).next_multiple_of(step);
            self.splits = self.form.n.div_ceil(self.chunk);
        }
        self
    }

    /// Number of walks.
    fn count(&self) -> usize {
        let loads = if self.rows {
            1
        } else {
            self.form.inner / self.width
        };
        self.form.outer * self.splits * loads.div_ceil(self.across)
    }

    /// Threads of a workgroup.
    fn threads(&self) -> u32 {
        // Few threads reach all cores of a software adapter only in small workgroups; many are dearer in them.
        let few = self.software && self.count() < MANY;
        self.lanes.max(if few { 16 } else { 64 })
    }

    /// What is left to fold: `[outer, splits, inner]`.
    pub(crate) fn rest(&self) -> Form {
        Form {
            n: self.splits,
            ..self.form
        }
    }

    /// Whether inner is 1.
    pub(crate) fn rows(&self) -> bool {
        self.rows
    }

    /// Elements loaded at once.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Threads that share a row.
    pub(crate) fn lanes(&self) -> u32 {
        self.lanes
    }

    /// `shader` with the parts and constants of the walk.
    pub(crate) fn variant(&self, shader: &'static str) -> Variant {
        let lanes = match (self.width, self.rows) {
            (1, _) => "lanes_1",
            (_, true) => "lanes_4",
            (_, false) => "cols_4",
        };
        Variant::new(shader)
            .part(lanes)
            .set("ROWS", self.rows)
            .set("LANES", self.lanes)
            .set("THREADS", self.threads())
            .set("ACROSS", self.across as u32)
    }

    /// The part by which threads share what they hold.
    pub(crate) fn share(&self) -> &'static str {
        if self.lanes > 1 {
            "share_tree"
        } else {
            "share_one"
        }
    }

    /// The dispatch of a variant, with the walk's parameters and `passes` readings of the tensor.
    pub(crate) fn dispatch(
        &self,
        kernel: &'static str,
        caps: &Caps,
        variant: Variant,
        passes: u64,
    ) -> Result<Dispatch> {
        index(kernel, "the number of elements", self.form.elements())?;
        if self.steps() > self.most_steps() {
            check_rounds(kernel, caps, self.steps().saturating_mul(self.rounds) / 4)?;
        }
        let along = if self.rows { self.width } else { 1 };
        let across = if self.rows { 1 } else { self.width };
        let groups = (self.count() * self.lanes as usize).div_ceil(self.threads() as usize);
        let param = |value: usize| index(kernel, "an extent", value);
        Ok(Dispatch::new(variant)
            .param("n", param(self.form.n / along)?)
            .param("inner", param(self.form.inner / across)?)
            .param("splits", param(self.splits)?)
            .param("chunk", param(self.chunk / along)?)
            .param("count", param(self.count())?)
            .groups(fold_groups(groups as u64, caps.limits.groups))
            .work(4 * passes * self.form.elements() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(outer: usize, n: usize, inner: usize) -> Form {
        Form { outer, n, inner }
    }

    #[test]
    fn chunks_cover_the_axis_and_none_is_empty() {
        let mut software = Caps::webgpu_default();
        software.kind = AdapterKind::Software;
        software.loop_rounds = Caps::loop_rounds_of(software.kind);
        for caps in [Caps::webgpu_default(), software] {
            for n in [1, 3, 1000, 4096, 70_001, 1 << 20] {
                for (outer, inner) in [(1, 1), (3, 1), (1, 8), (2, 3), (5000, 1)] {
                    let walk = Walk::new(&caps, form(outer, n, inner), 1).split();
                    assert!(walk.splits * walk.chunk >= walk.form.n);
                    assert!((walk.splits - 1) * walk.chunk < walk.form.n);
                    assert!(!walk.rows || walk.chunk.is_multiple_of(walk.width));
                }
            }
        }
    }

    #[test]
    fn one_long_row_is_cut_and_many_rows_are_not() {
        let caps = Caps::webgpu_default();
        assert!(Walk::new(&caps, form(1, 1 << 24, 1), 1).split().splits > 64);
        assert_eq!(
            Walk::new(&caps, form(1 << 14, 1024, 1), 1).split().splits,
            1
        );
    }

    #[test]
    fn an_axis_of_one_is_walked_flat() {
        let walk = Walk::new(&Caps::webgpu_default(), form(8, 1, 1), 1);
        assert_eq!((walk.form, walk.width), (form(1, 1, 8), 4));
    }
}
