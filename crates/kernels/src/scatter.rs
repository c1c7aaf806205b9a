//! Scatters: elements and slices written by index. Indices are int32 on the device; negative ones count from the end, and
//! updates with an index outside are left out.
//!
//! Without reduction the data is copied and the updates are written over it. With one, the updates are sorted by their place,
//! stably, and each output element folds those of its place in order: no float atomics, the same bits every time. The cost is
//! O(data + updates), times the passes of a radix sort of the places' numbers, four bits each. A place that gets most updates
//! makes this slow, as it would any sum in order.

use tilewright_device::{Caps, Dispatch, Variant};

use crate::error::index;
use crate::fill::{alike, word_sized};
use crate::flat::{dims, flat, words};
use crate::gather::{element_axes, ready, tuples};
use crate::radix::{Pairs, Parts, aligned, pairs_scratch};
use crate::{Error, Region, Result, Store, Strides, View, copy, fill};

/// How an update meets the element that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    /// It replaces it; two updates of one element race.
    Replace,
    /// Sum.
    Add,
    /// Product.
    Mul,
    /// The smaller; NaN wins.
    Min,
    /// The larger; NaN wins.
    Max,
}

/// Words of scratch that a scatter with reduction needs, for data of `places` slices that updates go to (elements for
/// [`scatter_elements`]) and `updates` updates of them.
#[must_use]
pub fn scatter_scratch(places: usize, updates: usize) -> usize {
    2 * aligned(places) + pairs_scratch(updates)
}

/// Updates of one place that a dispatch folds where drivers cut loops: they end after 65,535 rounds (of 8 updates).
const CUT_MOST: usize = 1 << 18;

/// y = data with `updates` at the elements that `indices` name along `axis` (ONNX ScatterElements). `scratch` holds
/// [`scatter_scratch`] words as u32; without reduction there may be none.
///
/// # Errors
/// [`Error::Shape`] where the shapes do not fit or scratch is too small, [`Error::Storage`], [`Error::TooLarge`].
pub fn scatter_elements(
    caps: &Caps,
    [data, indices, updates]: [&View; 3],
    axis: usize,
    combine: Combine,
    scratch: Option<&View>,
    y: &View,
) -> Result<Vec<Dispatch>> {
    let within = element_axes("scatter_elements", &data.shape, &indices.shape, axis)?;
    let place = Dispatch::new(
        Variant::new("")
            .part("place_element")
            .set("OUTER", within.outer),
    )
    .param("place_shape", within.shape)
    .param("place_by", within.by)
    .param("place_size", within.size)
    .param("place_step", within.axis_step);
    let parts = Scatter {
        caps,
        kernel: "scatter_elements",
        data,
        indices,
        updates,
        place,
        count: indices.elements(),
        inner: 1,
    };
    parts.emit(&indices.shape, combine, scratch, y)
}

/// y = data with `updates` at the elements or slices that the tuples in the last axis of `indices` name (ONNX ScatterND).
/// `scratch` holds [`scatter_scratch`] words as u32; without reduction there may be none.
///
/// # Errors
/// [`Error::Shape`] where the shapes do not fit or scratch is too small, [`Error::Storage`], [`Error::TooLarge`].
pub fn scatter_nd(
    caps: &Caps,
    [data, indices, updates]: [&View; 3],
    combine: Combine,
    scratch: Option<&View>,
    y: &View,
) -> Result<Vec<Dispatch>> {
    let tuples = tuples("scatter_nd", &data.shape, &indices.shape, 0)?;
    // Places count slices, not elements.
    let slices = Strides::of(&data.shape[..tuples.tuple]).by;
    let by = dims(slices.into_iter().map(|step| step as u32));
    let variant = Variant::new("").part("place_nd");
    let place = Dispatch::new(variant.set("TUPLE", tuples.tuple as u32))
        .param("place_sizes", tuples.sizes)
        .param("place_by", by);
    let lead = &indices.shape[..indices.shape.len() - 1];
    let expected = [lead, &data.shape[tuples.tuple..]].concat();
    let parts = Scatter {
        caps,
        kernel: "scatter_nd",
        data,
        indices,
        updates,
        place,
        count: tuples.count,
        inner: tuples.inner,
    };
    parts.emit(&expected, combine, scratch, y)
}

/// One scatter.
struct Scatter<'a> {
    caps: &'a Caps,
    kernel: &'static str,
    data: &'a View,
    indices: &'a View,
    updates: &'a View,
    /// Part, constants and parameters of `place_of`.
    place: Dispatch,
    /// Updates, and elements in each.
    count: usize,
    inner: usize,
}

impl Scatter<'_> {
    fn emit(
        &self,
        shape: &[usize],
        combine: Combine,
        scratch: Option<&View>,
        y: &View,
    ) -> Result<Vec<Dispatch>> {
        let kernel = self.kernel;
        alike(kernel, self.caps, self.updates, y)?;
        if self.updates.shape != shape || self.data.shape != y.shape {
            let what = format!(
                "updates of {:?} for {:?}, to be {shape:?} for {:?}",
                self.updates.shape, y.shape, self.data.shape
            );
            return Err(Error::shape(kernel, what));
        }
        if !ready(kernel, self.caps, self.data, self.indices, y)? {
            return Ok(vec![]);
        }
        if self.updates.elements() == 0 {
            return whole(self.caps, self.data, y);
        }
        match combine {
            Combine::Replace => {
                let mut out = whole(self.caps, self.data, y)?;
                out.push(write(
                    self.caps,
                    self.placed("scatter"),
                    self.updates,
                    self.inner,
                    y,
                )?);
                Ok(out)
            }
            _ => self.reduce(combine, scratch, y),
        }
    }

    /// `shader` with the part, constants, parameters and indices of `place_of`.
    fn placed(&self, shader: &'static str) -> Dispatch {
        let mut dispatch = self.place.clone();
        dispatch.variant.shader = shader;
        dispatch.bind("INDICES", self.indices.span)
    }

    fn reduce(&self, combine: Combine, scratch: Option<&View>, y: &View) -> Result<Vec<Dispatch>> {
        let (kernel, caps) = (self.kernel, self.caps);
        word_sized(kernel, "y", y)?;
        let places = self.data.elements() / self.inner;
        let need = scatter_scratch(places, self.count);
        let scratch = scratch.filter(|s| s.store == Store::U32 && s.elements() >= need);
        let error = || Error::shape(kernel, format!("needs {need} u32 of scratch"));
        let scratch = scratch.ok_or_else(error)?;
        let mut parts = Parts::of(scratch);
        let (head, tail) = (parts.next(places), parts.next(places));
        let pairs = Pairs::new(&mut parts, self.count);
        let mut out = fill(caps, &head, 0)?;
        out.extend(fill(caps, &tail, 0)?);
        let number = index(kernel, "the number of places", places)?;
        let keys = sized(kernel, caps, self.placed("scatter_keys"), self.count)?
            .param("places", number)
            .bind("KEYS", pairs.keys[0].span)
            .bind("ORDER", pairs.order[0].span);
        out.push(keys.work(self.indices.span.bytes + 2 * pairs.keys[0].span.bytes));
        // The largest key is that of updates without a place.
        let (sorted, place) = pairs.sort(caps, u32::BITS - number.leading_zeros())?;
        out.extend(sorted);
        let bounds = flat(kernel, caps, Variant::new("scatter_bounds"), self.count)?
            .param("places", number)
            .bind("KEYS", pairs.keys[place].span)
            .bind("HEAD", head.span)
            .bind("TAIL", tail.span);
        out.push(bounds.work(3 * pairs.keys[0].span.bytes));
        let most = caps.loop_rounds.map_or(self.count, |_| CUT_MOST);
        for first in (0..self.count).step_by(most) {
            let fold = self
                .fold(combine, y)?
                .param("first", first as u32)
                .param("most", most as u32)
                .bind("ORDER", pairs.order[place].span)
                .bind("HEAD", head.span)
                .bind("TAIL", tail.span);
            out.push(fold);
        }
        Ok(out)
    }

    /// The last step, without what it finds the updates by.
    fn fold(&self, combine: Combine, y: &View) -> Result<Dispatch> {
        let wide = self.inner.is_multiple_of(4);
        let word = match (y.store, wide) {
            (Store::F32, false) => "f32",
            (Store::F32, true) => "vec4<f32>",
            (Store::I32, false) => "i32",
            (Store::I32, true) => "vec4<i32>",
            (store, wide) => words(store, wide),
        };
        let op = match combine {
            Combine::Replace => 0u32,
            Combine::Add => 1,
            Combine::Mul => 2,
            Combine::Min => 3,
            Combine::Max => 4,
        };
        let width = if wide { 4 } else { 1 };
        let mut variant = Variant::new("scatter_reduce")
            .alias("Word", word)
            .set("OP", op);
        variant = match y.store {
            Store::F32 => variant
                .part("combine_float")
                .alias("Bits", words(y.store, wide)),
            _ => variant.part("combine_int"),
        };
        let dispatch = flat(self.kernel, self.caps, variant, y.elements() / width)?
            .param("inner", (self.inner / width) as u32)
            .bind("A", self.data.span)
            .bind("UPDATES", self.updates.span)
            .bind("Y", y.span);
        Ok(dispatch.work(2 * y.span.bytes + self.updates.span.bytes))
    }
}

/// y = cache with `update` written along `axis`, for each entry of the batch (axis 0) from `first[entry]` on, or from 0 (ONNX
/// TensorScatter). Rows past the end are left out, or with `circular` go on at the beginning.
///
/// # Errors
/// [`Error::Shape`] where the shapes do not fit, [`Error::Storage`], [`Error::TooLarge`].
pub fn tensor_scatter(
    caps: &Caps,
    cache: &View,
    update: &View,
    first: Option<&View>,
    axis: usize,
    circular: bool,
    y: &View,
) -> Result<Vec<Dispatch>> {
    const KERNEL: &str = "tensor_scatter";
    alike(KERNEL, caps, update, y)?;
    let mut expected = cache.shape.clone();
    if let (Some(rows), Some(given)) = (expected.get_mut(axis), update.shape.get(axis)) {
        *rows = *given;
    }
    let batch = cache.shape.first().copied().unwrap_or(0);
    let entries = first.is_none_or(|f| f.shape == [batch] && f.store == Store::I32);
    if axis == 0 || update.shape != expected || cache.shape != y.shape || !entries {
        let what = format!("{:?} into {:?} along {axis}", update.shape, cache.shape);
        return Err(Error::shape(KERNEL, what));
    }
    index(KERNEL, "the number of elements", cache.elements())?;
    let mut out = whole(caps, cache, y)?;
    if update.elements() == 0 || y.elements() == 0 {
        return Ok(out);
    }
    let part = if first.is_some() {
        "first_given"
    } else {
        "first_zero"
    };
    let variant = Variant::new("scatter").part(part).part("place_cache");
    let lines: usize = cache.shape[1..axis].iter().product();
    let mut dispatch = Dispatch::new(variant.set("CIRCULAR", circular))
        .param("rows", update.shape[axis] as u32)
        .param("cache_rows", cache.shape[axis] as u32)
        .param("lines_per_batch", lines as u32);
    if let Some(first) = first {
        dispatch = dispatch.bind("FIRST", first.span);
    }
    let inner = cache.shape[axis + 1..].iter().product();
    out.push(write(caps, dispatch, update, inner, y)?);
    Ok(out)
}

/// y = a, of one shape.
fn whole(caps: &Caps, a: &View, y: &View) -> Result<Vec<Dispatch>> {
    let region = Region {
        shape: y.shape.clone(),
        from: Strides::of(&a.shape),
        to: Strides::of(&y.shape),
    };
    copy(caps, a, y, &region)
}

/// `scatter.wgsl` behind a `place_of`.
fn write(caps: &Caps, place: Dispatch, updates: &View, inner: usize, y: &View) -> Result<Dispatch> {
    let wide = inner.is_multiple_of(4);
    let width = if wide { 4 } else { 1 };
    let mut dispatch = sized("scatter", caps, place, updates.elements() / width)?;
    dispatch.variant = dispatch.variant.alias("Word", words(y.store, wide));
    Ok(dispatch
        .param("inner", (inner / width) as u32)
        .bind("UPDATES", updates.span)
        .bind("Y", y.span)
        .work(2 * updates.span.bytes))
}

/// A dispatch of at least `count` invocations with what `place` has.
fn sized(kernel: &'static str, caps: &Caps, place: Dispatch, count: usize) -> Result<Dispatch> {
    let mut dispatch = flat(kernel, caps, place.variant, count)?;
    dispatch.params.extend(place.params);
    dispatch.spans.extend(place.spans);
    Ok(dispatch)
}
