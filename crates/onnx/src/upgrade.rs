//! The table of exceptions: what operators of older operator sets say differently from the newest one. Attributes that
//! became inputs, defaults that moved, and the broadcasting rules of before opset 7. No arithmetic happens here: what depends
//! on shapes is said in nodes, which fold where shapes are known and wait for the run where they are not.

use std::sync::Arc;

use tilewright_graph::{Attr, Attrs, Error, Fact, Graph, Op, Result, Value};
use tilewright_tensor::{DType, HostTensor};

/// A node as the file has it.
#[derive(Debug)]
pub(crate) struct Old<'a> {
    pub(crate) name: &'a str,
    pub(crate) label: &'a str,
    /// Version of the operator set.
    pub(crate) version: i64,
    pub(crate) attrs: Attrs,
    pub(crate) inputs: Vec<Option<Value>>,
    pub(crate) outputs: usize,
}

/// Operators that no longer exist and become others.
const RENAMED: [&str; 2] = ["Upsample", "Scatter"];

impl Old<'_> {
    /// True for names that only older operator sets have.
    pub(crate) fn has(name: &str) -> bool {
        RENAMED.contains(&name)
    }

    fn input(&self, i: usize) -> Option<Value> {
        self.inputs.get(i).copied().flatten()
    }

    fn need(&self, i: usize) -> Result<Value> {
        self.input(i).ok_or_else(|| {
            Error::op(
                self.name,
                format!("input {i} of `{}` is missing", self.label),
            )
        })
    }

    fn set_input(&mut self, i: usize, value: Value) {
        if self.inputs.len() <= i {
            self.inputs.resize(i + 1, None);
        }
        self.inputs[i] = Some(value);
    }

    /// Moves the attribute `name` (integers) to input `i`, if it is there.
    fn ints_to_input(&mut self, graph: &mut Graph, name: &str, i: usize) -> Result<()> {
        if let Some(values) = self.attrs.opt::<Vec<i64>>(name)? {
            self.attrs.remove(name);
            let value = graph.ints(&values)?;
            self.set_input(i, value);
        }
        Ok(())
    }
}

/// Adds the node to `graph` in the terms of the newest operator set; its outputs.
pub(crate) fn upgrade(graph: &mut Graph, mut old: Old<'_>) -> Result<Vec<Value>> {
    let (name, label) = (old.name, old.label);
    old.attrs.remove("consumed_inputs");
    let made = to_inputs(graph, &mut old).and_then(|()| rewrite(graph, old));
    made.map_err(|e| match e {
        Error::Node { .. } => e,
        e => e.at(label, name),
    })
}

/// Attributes that became inputs.
fn to_inputs(graph: &mut Graph, old: &mut Old<'_>) -> Result<()> {
    let (name, version) = (old.name, old.version);
    match name {
        "Reshape" if version < 5 => old.ints_to_input(graph, "shape", 1)?,
        "Squeeze" | "Unsqueeze" | "ReduceSum" if version < 13 => {
            old.ints_to_input(graph, "axes", 1)?;
        }
        _ if name.starts_with("Reduce") && name != "ReduceSum" && version < 18 => {
            old.ints_to_input(graph, "axes", 1)?;
        }
        "Slice" if version < 10 => {
            old.ints_to_input(graph, "starts", 1)?;
            old.ints_to_input(graph, "ends", 2)?;
            old.ints_to_input(graph, "axes", 3)?;
        }
        "TopK" if version < 10 => {
            let k: i64 = old.attrs.need("k")?;
            old.attrs.remove("k");
            let k = graph.ints(&[k])?;
            old.set_input(1, k);
        }
        "DFT" if version < 20 => {
            let axis = graph.scalar(DType::I64, old.attrs.or("axis", 1i64)? as f64)?;
            old.attrs.remove("axis");
            old.set_input(2, axis);
        }
        _ => {}
    }
    Ok(())
}

/// Everything else that was said differently.
fn rewrite(graph: &mut Graph, mut old: Old<'_>) -> Result<Vec<Value>> {
    let (name, version) = (old.name, old.version);
    match name {
        "Add" | "Sub" | "Mul" | "Div" | "And" | "Or" | "Xor" | "Equal" | "Greater" | "Less"
        | "Pow" | "PRelu"
            if version < 7 =>
        {
            align(graph, &mut old)?;
        }
        "Gemm" if version < 7 => {
            old.attrs.remove("broadcast");
        }
        "Split" if version < 18 => split(graph, &mut old)?,
        "Pad" if version < 11 => pad(graph, &mut old)?,
        "Clip" if version < 11 => clip(graph, &mut old)?,
        "Softmax" | "LogSoftmax" | "Hardmax" if version < 13 => return softmax(graph, &mut old),
        "Concat" if version < 4 && old.attrs.raw("axis").is_none() => {
            old.attrs.set("axis", Attr::Int(1))
        }
        "Cast" if version < 6 => cast(&mut old)?,
        "Dropout" if version < 12 => {
            old.attrs = Attrs::new(name); // inference: the ratio plays no part
        }
        "BatchNormalization" if version < 14 => {
            if old.attrs.or("spatial", 1i64)? == 0 {
                let what = "spatial=0, statistics of each element, is not supported";
                return Err(Error::op(name, what).at(old.label, name));
            }
            for gone in ["is_test", "spatial"] {
                old.attrs.remove(gone);
            }
            old.outputs = 1;
        }
        "GroupNormalization" if version < 21 => group_norm(graph, &mut old)?,
        // Until opset 16 samples lay where they fell, without the shift by half a pixel that is the default today.
        "RoiAlign" if version < 16 => {
            let mode = Attr::Str("output_half_pixel".into());
            old.attrs.set("coordinate_transformation_mode", mode);
        }
        "LpPool" | "GlobalLpPool" if version < 2 => {
            if let Some(p) = old.attrs.opt::<f32>("p").unwrap_or(None) {
                old.attrs.set("p", Attr::Int(p as i64));
            }
        }
        "Resize" if version < 11 => return resize(graph, &mut old, 1),
        "Upsample" => return upsample(graph, &mut old),
        "Scatter" => old.name = "ScatterElements",
        "Scan" if version < 9 => return batched_scan(graph, old),
        "Tile" if version < 6 => {
            return Err(Error::op(
                name,
                "Tile of opset 1, along one axis, is not supported",
            ));
        }
        _ => {}
    }
    emit(graph, old)
}

fn emit(graph: &mut Graph, old: Old<'_>) -> Result<Vec<Value>> {
    let op = Op::from_name(old.name, &old.attrs).map_err(|e| e.at(old.label, old.name))?;
    graph.add_node(op, &old.inputs, old.label, old.outputs)
}

fn add(graph: &mut Graph, name: &str, attrs: Attrs, inputs: &[Value]) -> Result<Value> {
    let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
    let values = graph.add_node(Op::from_name(name, &attrs)?, &inputs, "", 1)?;
    values
        .first()
        .copied()
        .ok_or_else(|| Error::op(name, "has no output"))
}

fn rank(graph: &Graph, value: Value) -> Option<i64> {
    graph.fact(value).map(|fact| fact.rank() as i64)
}

/// The rank as a value, for shapes that wait for the run too.
fn rank_of(graph: &mut Graph, value: Value) -> Result<Value> {
    let shape = add(graph, "Shape", Attrs::new("Shape"), &[value])?;
    add(graph, "Size", Attrs::new("Size"), &[shape])
}

/// Before opset 7 the second operand was laid along the first from `axis` on; missing trailing axes become 1 here. A slope of
/// PRelu lay along the channels.
fn align(graph: &mut Graph, old: &mut Old<'_>) -> Result<()> {
    let axis = old.attrs.opt::<i64>("axis")?;
    let broadcast = old.attrs.or("broadcast", 0i64)? != 0;
    old.attrs.remove("axis");
    old.attrs.remove("broadcast");
    let (first, second) = (old.need(0)?, old.need(1)?);
    let (a, b) = (rank(graph, first), rank(graph, second));
    let per_channel = old.name == "PRelu" && b.is_none_or(|b| b == 1);
    let given = axis.filter(|_| broadcast && old.name != "PRelu");
    let Some(axis) = given.or(per_channel.then_some(1)) else {
        return Ok(());
    };
    if let (Some(a), Some(b)) = (a, b) {
        let start = if axis < 0 {
            axis.saturating_add(a)
        } else {
            axis
        };
        if !per_channel && (start < 0 || (a - b).saturating_sub(start) < 0) {
            return Err(Error::op(
                old.name,
                format!("operands of rank {a} and {b} do not fit at axis {start}"),
            ));
        }
    }
    // The new axes, counted in the result: from the second's rank to the first's less `axis`.
    let start = rank_of(graph, second)?;
    let end = if axis < 0 {
        graph.constant(HostTensor::scalar(axis.saturating_neg()))
    } else {
        let (all, axis) = (rank_of(graph, first)?, HostTensor::scalar(axis));
        let axis = graph.constant(axis);
        add(graph, "Sub", Attrs::new("Sub"), &[all, axis])?
    };
    let one = graph.constant(HostTensor::scalar(1i64));
    let axes = add(graph, "Range", Attrs::new("Range"), &[start, end, one])?;
    if graph.constant_of(axes)?.is_some_and(|axes| axes.is_empty()) {
        return Ok(());
    }
    let aligned = add(graph, "Unsqueeze", Attrs::new("Unsqueeze"), &[second, axes])?;
    old.set_input(1, aligned);
    Ok(())
}

fn split(graph: &mut Graph, old: &mut Old<'_>) -> Result<()> {
    if old.version < 13 {
        old.ints_to_input(graph, "split", 1)?;
    }
    if old.input(1).is_none() {
        old.attrs.set("num_outputs", Attr::Int(old.outputs as i64));
    }
    Ok(())
}

fn pad(graph: &mut Graph, old: &mut Old<'_>) -> Result<()> {
    let name = if old.version < 2 { "paddings" } else { "pads" };
    old.ints_to_input(graph, name, 1)?;
    let value: f32 = old.attrs.or("value", 0.0)?;
    old.attrs.remove("value");
    let value = scalar_like(graph, old, value)?;
    old.set_input(2, value);
    Ok(())
}

fn clip(graph: &mut Graph, old: &mut Old<'_>) -> Result<()> {
    for (i, name) in [(1, "min"), (2, "max")] {
        if let Some(bound) = old.attrs.opt::<f32>(name)? {
            old.attrs.remove(name);
            let bound = scalar_like(graph, old, bound)?;
            old.set_input(i, bound);
        }
    }
    Ok(())
}

/// A scalar of the type of input 0.
fn scalar_like(graph: &mut Graph, old: &Old<'_>, value: f32) -> Result<Value> {
    let like = old.need(0)?;
    if let Some(dtype) = graph.fact(like).map(|f| f.dtype) {
        return graph.scalar(dtype, f64::from(value));
    }
    let value = graph.scalar(DType::F32, f64::from(value))?;
    add(graph, "CastLike", Attrs::new("CastLike"), &[value, like])
}

/// Before opset 13 the axes from `axis` on counted as one.
fn softmax(graph: &mut Graph, old: &mut Old<'_>) -> Result<Vec<Value>> {
    let x = old.need(0)?;
    let axis: i64 = old.attrs.or("axis", 1)?;
    let attrs = Attrs::new(old.name).with("axis", -1i64);
    if axis == -1 || rank(graph, x).is_some_and(|rank| axis == rank - 1) {
        return Ok(vec![add(graph, old.name, attrs, &[x])?]);
    }
    let flat = add(
        graph,
        "Flatten",
        Attrs::new("Flatten").with("axis", axis),
        &[x],
    )?;
    let flat = add(graph, old.name, attrs, &[flat])?;
    let shape = add(graph, "Shape", Attrs::new("Shape"), &[x])?;
    // A size of 0 is that, not the flat one's.
    let back = Attrs::new("Reshape").with("allowzero", 1i64);
    Ok(vec![add(graph, "Reshape", back, &[flat, shape])?])
}

fn cast(old: &mut Old<'_>) -> Result<()> {
    let Some(name) = old.attrs.opt::<String>("to").unwrap_or(None) else {
        return Ok(());
    };
    let code = match &*name.to_uppercase() {
        "FLOAT" => 1,
        "UINT8" => 2,
        "INT8" => 3,
        "UINT16" => 4,
        "INT16" => 5,
        "INT32" => 6,
        "INT64" => 7,
        "BOOL" => 9,
        "FLOAT16" => 10,
        "DOUBLE" => 11,
        "UINT32" => 12,
        "UINT64" => 13,
        _ => return Err(Error::op("Cast", format!("unknown type `{name}`"))),
    };
    old.attrs.set("to", Attr::Int(code));
    Ok(())
}

/// Before opset 21 scale and bias were one a group; they become one a channel.
fn group_norm(graph: &mut Graph, old: &mut Old<'_>) -> Result<()> {
    let groups: i64 = old.attrs.need("num_groups")?;
    let x = old.need(0)?;
    let channels = graph.fact(x).and_then(|f| f.shape.get(1)?.known());
    if groups <= 0 || channels.is_some_and(|c| c % groups != 0) {
        return Err(Error::op(
            old.name,
            format!("the number of channels must divide by {groups}"),
        ));
    }
    let only = Attrs::new("Shape").with("start", 1i64).with("end", 2i64);
    let channels = add(graph, "Shape", only, &[x])?;
    let (count, column) = (graph.ints(&[groups])?, graph.ints(&[groups, 1])?);
    let each = add(graph, "Div", Attrs::new("Div"), &[channels, count])?;
    let join = Attrs::new("Concat").with("axis", 0i64);
    let wide = add(graph, "Concat", join, &[count, each])?;
    for i in [1, 2] {
        let v = old.need(i)?;
        let v = add(graph, "Reshape", Attrs::new("Reshape"), &[v, column])?;
        let v = add(graph, "Expand", Attrs::new("Expand"), &[v, wide])?;
        let v = add(graph, "Reshape", Attrs::new("Reshape"), &[v, channels])?;
        old.set_input(i, v);
    }
    Ok(())
}

/// Resize of opset 10 and Upsample: output pixel times 1 / scale, rounded down.
fn resize(graph: &mut Graph, old: &mut Old<'_>, scales: usize) -> Result<Vec<Value>> {
    let mode: String = old.attrs.or("mode", "nearest".to_owned())?;
    let mode = if mode == "bilinear" {
        "linear".to_owned()
    } else {
        mode
    };
    let attrs = Attrs::new("Resize")
        .with("mode", mode)
        .with("coordinate_transformation_mode", "asymmetric".to_owned())
        .with("nearest_mode", "floor".to_owned());
    let inputs = [Some(old.need(0)?), None, Some(old.need(scales)?)];
    graph.add_node(Op::from_name("Resize", &attrs)?, &inputs, old.label, 1)
}

fn upsample(graph: &mut Graph, old: &mut Old<'_>) -> Result<Vec<Value>> {
    if old.version < 9 {
        let scales = match old.attrs.opt::<Vec<f32>>("scales")? {
            Some(scales) => scales,
            None => vec![
                1.0,
                1.0,
                old.attrs.need("height_scale")?,
                old.attrs.need("width_scale")?,
            ],
        };
        let scales = graph.constant(HostTensor::from_vec([scales.len()], scales)?);
        old.set_input(1, scales);
    }
    resize(graph, old, 1)
}

/// Scan of opset 8 had a batch axis before all others: a scan along it whose body scans one item.
fn batched_scan(graph: &mut Graph, mut old: Old<'_>) -> Result<Vec<Value>> {
    if old.input(0).is_some() {
        return Err(Error::op(old.name, "sequence_lens are not supported"));
    }
    if old.inputs.is_empty() {
        return Err(Error::op(old.name, "input 0 has no place"));
    }
    old.inputs.remove(0);
    if let Some(directions) = old.attrs.remove("directions") {
        old.attrs.set("scan_input_directions", directions);
    }
    let captures: i64 = old.attrs.or("captures", 0)?;
    let sliced = (old.inputs.len()).saturating_sub(usize::try_from(captures).unwrap_or(0));
    let mut body = Graph::new();
    let mut inputs = vec![];
    for i in 0..old.inputs.len() {
        let fact = graph.fact(old.need(i)?).cloned();
        let fact = fact.map(|f| match f.shape.get(1..) {
            Some(item) if i < sliced => Fact::new(f.dtype, item),
            _ => f,
        });
        inputs.push(Some(body.input(&i.to_string(), fact)?));
    }
    let outputs = (old.attrs.need::<Arc<Graph>>("body")?).outputs().len();
    let item = Op::from_name(old.name, &old.attrs)?;
    for (i, value) in body
        .add_node(item, &inputs, old.label, outputs)?
        .into_iter()
        .enumerate()
    {
        body.output(&i.to_string(), value);
    }
    old.attrs = Attrs::new(old.name)
        .with("body", Arc::new(body))
        .with("num_scan_inputs", sliced as i64)
        .with("captures", captures);
    emit(graph, old)
}
