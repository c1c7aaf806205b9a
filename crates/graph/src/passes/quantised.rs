//! Quantised models state their arithmetic as floats between DequantizeLinear and QuantizeLinear. Where a convolution or
//! a product stands between them it becomes its 8-bit form; constants that are left are dequantised once, and the other
//! conversions become pointwise functions, which fuse.

mod pointwise;

use super::readers::Readers;
use super::{Visit, layout, rewrite};
use crate::ops::{Conv, QLinearConv, QLinearMatMul};
use crate::{Graph, Op, Result, Value};
use pointwise::{as_pointwise, dequantised, single};
use tilewright_device::Caps;
use tilewright_tensor::{DType, HostTensor};

/// Brings a quantised graph to 8-bit operators that run on the device. Sums are exact there, so results may differ from
/// those of the float form by a step where that one rounded.
pub fn quantised(graph: &Graph, caps: &Caps) -> Result<Graph> {
    let pass = Pass::new(graph, caps);
    let graph = rewrite(graph, |visit, new| match &visit.node.op {
        Op::QuantizeLinear(op) if single(op.precision) => pass.narrowed(visit, new),
        _ => Ok(None),
    })?;
    rewrite(&graph, |visit, new| match &visit.node.op {
        Op::DequantizeLinear(op) => dequantised(visit, new, op),
        Op::QuantizeLinear(op) => as_pointwise(visit, new, op),
        _ => Ok(None),
    })
}

struct Pass<'a> {
    graph: &'a Graph,
    caps: &'a Caps,
    readers: Readers,
}

/// A quantised tensor behind a DequantizeLinear, in the old graph.
struct Source {
    value: Value,
    scale: Value,
    zero: Option<Value>,
    scales: Vec<f32>,
    /// The axis that several scales belong to.
    axis: i64,
}

impl<'a> Pass<'a> {
    fn new(graph: &'a Graph, caps: &'a Caps) -> Pass<'a> {
        let readers = Readers::new(graph);
        Pass {
            graph,
            caps,
            readers,
        }
    }

    /// The 8-bit form of what this node quantises.
    fn narrowed(&self, visit: &Visit<'_>, new: &mut Graph) -> Result<Option<Vec<Value>>> {
        let node = visit.node;
        let dtype = node.outputs[0].as_ref().map(|f| f.dtype);
        let (Some(&Some(mut v)), Some(DType::I8 | DType::U8)) = (node.inputs.first(), dtype) else {
            return Ok(None);
        };
        let scale = node.inputs.get(1).copied().flatten();
        let zero = node.inputs.get(2).copied().flatten();
        // Scalars are in host memory.
        let one = |v: Option<Value>| {
            let tensor = self.graph.fact(v?)?.constant();
            tensor.filter(|t| t.len() == 1).map(|t| t.to_f64()[0])
        };
        let (Some(scale), Some(_)) = (scale, one(scale)) else {
            return Ok(None);
        };
        if zero.is_some() && one(zero).is_none() {
            return Ok(None);
        }
        // What Relu cuts off, saturation cuts off too, if zero is the smallest number.
        let lowest = dtype.map_or(0.0, |d| d.range().0);
        let relu = |v: Value| self.graph.node(v).op.name() == "Relu";
        if relu(v) && self.readers.single(v) && one(zero).unwrap_or(0.0) == lowest {
            let Some(Some(from)) = self.graph.node(v).inputs.first() else {
                return Ok(None);
            };
            v = *from;
        }
        if !self.readers.single(v) {
            return Ok(None);
        }
        let found = match &self.graph.node(v).op {
            Op::Conv(conv) => self.convolution(visit, new, v, conv)?,
            Op::MatMul(_) => self.product(visit, new, v)?,
            _ => None,
        };
        let Some((op, mut inputs, bias)) = found else {
            return Ok(None);
        };
        let (Some(scale), dtype) = (visit.made.get(&scale), dtype.unwrap_or(DType::U8)) else {
            return Ok(None);
        };
        let zero = match zero.and_then(|z| visit.made.get(&z)) {
            Some(zero) => *zero,
            None => new.scalar(dtype, 0.0)?,
        };
        inputs.extend([Some(*scale), Some(zero)]);
        inputs.extend(bias.map(Some));
        if !layout::runs(new, &op, &inputs, self.caps)? {
            return Ok(None);
        }
        Ok(Some(new.add_node(op, &inputs, &node.name, 1)?))
    }

    /// The tensor behind the DequantizeLinear that makes `v`, with constant scales.
    fn source(&self, v: Option<Value>) -> Result<Option<Source>> {
        let Some(node) = v.map(|v| self.graph.node(v)) else {
            return Ok(None);
        };
        let input = |i: usize| node.inputs.get(i).copied().flatten();
        let (Op::DequantizeLinear(op), Some(value), Some(scale)) = (&node.op, input(0), input(1))
        else {
            return Ok(None);
        };
        let zero = input(2);
        let open = |z: Value| self.graph.weight_of(z).is_none();
        let scales = self.graph.constant_of(scale)?;
        let Some(scales) = scales.filter(|t| t.dtype() == DType::F32) else {
            return Ok(None);
        };
        if op.granularity.block_size != 0 || !single(op.output) || zero.is_some_and(open) {
            return Ok(None);
        }
        Ok(Some(Source {
            value,
            scale,
            zero,
            scales: scales.to_vec()?,
            axis: op.granularity.axis,
        }))
    }

    /// Value, scale and zero point of a source in the new graph.
    fn triple(
        &self,
        visit: &Visit<'_>,
        new: &mut Graph,
        of: &Source,
    ) -> Result<Option<[Value; 3]>> {
        let made = |v: Value| visit.made.get(&v).copied();
        let (Some(value), Some(scale)) = (made(of.value), made(of.scale)) else {
            return Ok(None);
        };
        let zero = match of.zero.and_then(made) {
            Some(zero) => zero,
            None => {
                let dtype = new.need_fact(value)?.dtype;
                let shape = new.need_fact(scale)?.known_shape().unwrap_or_default();
                new.constant(HostTensor::zeros(dtype, shape)?)
            }
        };
        Ok(Some([value, scale, zero]))
    }

    fn is_byte(&self, of: &Source) -> bool {
        let fact = self.graph.fact(of.value);
        fact.is_some_and(|f| matches!(f.dtype, DType::I8 | DType::U8))
    }

    fn convolution(
        &self,
        visit: &Visit<'_>,
        new: &mut Graph,
        v: Value,
        conv: &Conv,
    ) -> Result<Option<Form>> {
        let inputs = &self.graph.node(v).inputs;
        let (x, w) = (self.source(inputs[0])?, self.source(inputs[1])?);
        let (Some(x), Some(w)) = (x, w) else {
            return Ok(None);
        };
        let by_channel = w.scales.len() == 1 || w.axis == 0;
        if !(self.is_byte(&x) && self.is_byte(&w) && x.scales.len() == 1 && by_channel) {
            return Ok(None);
        }
        let bias = match inputs.get(2).copied().flatten() {
            None => None,
            Some(b) => match self.whole_bias(Some(b), &x, &w)? {
                Some(b) => visit.made.get(&b).copied(),
                None => return Ok(None),
            },
        };
        let (x, w) = (self.triple(visit, new, &x)?, self.triple(visit, new, &w)?);
        let (Some(x), Some(w)) = (x, w) else {
            return Ok(None);
        };
        let op = QLinearConv { conv: conv.clone() };
        let inputs = x.into_iter().chain(w).map(Some).collect();
        Ok(Some((op.into(), inputs, bias)))
    }

    /// The i32 bias in units of the product's scale.
    fn whole_bias(&self, b: Option<Value>, x: &Source, w: &Source) -> Result<Option<Value>> {
        let Some(b) = self.source(b)? else {
            return Ok(None);
        };
        let i32 = self
            .graph
            .fact(b.value)
            .is_some_and(|f| f.dtype == DType::I32);
        let zero = b.zero.map_or(Ok(None), |z| self.graph.constant_of(z))?;
        let none = zero.is_none_or(|z| z.to_f64().iter().all(|&z| z == 0.0));
        if x.scales.is_empty() || w.scales.is_empty() || b.scales.is_empty() {
            return Ok(None);
        }
        let count = w.scales.len().max(b.scales.len());
        let close = (0..count).all(|i| {
            let unit = x.scales[0] * w.scales[i % w.scales.len()];
            // Exporters compute the unit in f32 too, or in f64.
            (b.scales[i % b.scales.len()] - unit).abs() <= 1e-6 * unit.abs()
        });
        Ok((i32 && none && close).then_some(b.value))
    }

    fn product(&self, visit: &Visit<'_>, new: &mut Graph, v: Value) -> Result<Option<Form>> {
        let inputs = &self.graph.node(v).inputs;
        let (a, b) = (self.source(inputs[0])?, self.source(inputs[1])?);
        let (Some(a), Some(b)) = (a, b) else {
            return Ok(None);
        };
        let matrix = self.graph.fact(b.value).is_some_and(|f| f.rank() == 2);
        let by_column = b.scales.len() == 1 || matches!(b.axis, 1 | -1);
        let bytes = self.is_byte(&a) && self.is_byte(&b) && a.scales.len() == 1;
        if !(matrix && by_column && bytes) {
            return Ok(None);
        }
        let (a, b) = (self.triple(visit, new, &a)?, self.triple(visit, new, &b)?);
        let (Some(a), Some(b)) = (a, b) else {
            return Ok(None);
        };
        let inputs = a.into_iter().chain(b).map(Some).collect();
        Ok(Some((QLinearMatMul.into(), inputs, None)))
    }
}

/// An 8-bit operator, its inputs up to the scale of the output, and its bias.
type Form = (Op, Vec<Option<Value>>, Option<Value>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{DequantizeLinear, Granularity, QuantizeLinear, Unary};
    use crate::{Fact, samples};

    fn whole(dtype: DType, shape: &[usize], seed: u64) -> HostTensor {
        let (low, high) = dtype.range();
        samples::integers(dtype, shape, seed, low as i64, high as i64 + 1)
    }

    struct Build(Graph);

    impl Build {
        fn input(&mut self, shape: &[usize]) -> Value {
            let fact = Fact::sized(DType::U8, shape);
            self.0.input("x", Some(fact)).unwrap()
        }

        fn scale(&mut self, values: &[f32]) -> Value {
            let shape = if values.len() == 1 {
                vec![]
            } else {
                vec![values.len()]
            };
            self.0.constant(samples::of(&shape, values))
        }

        fn wide(&mut self, x: Value, scale: &[f32], zero: Option<HostTensor>, axis: i64) -> Value {
            self.wide_as(x, scale, zero, axis, None)
        }

        fn wide_as(
            &mut self,
            x: Value,
            scale: &[f32],
            zero: Option<HostTensor>,
            axis: i64,
            output: Option<DType>,
        ) -> Value {
            let scale = self.scale(scale);
            let zero = zero.map(|z| self.0.constant(z));
            let op = DequantizeLinear {
                granularity: Granularity {
                    axis,
                    block_size: 0,
                },
                output,
            };
            let inputs = [Some(x), Some(scale), zero];
            self.0.add_node(op.into(), &inputs, "", 1).unwrap()[0]
        }

        fn narrow(&mut self, x: Value, scale: f32, zero: u8) {
            let scale = self.scale(&[scale]);
            let zero = self.0.constant(HostTensor::scalar(zero));
            let op = QuantizeLinear::default();
            let y = self.0.add1(op, &[x, scale, zero]).unwrap();
            self.0.output("y", y);
        }

        /// The names of the operators after the pass, and how far the results are apart at most.
        fn names(&self, shape: &[usize]) -> (Vec<String>, i64) {
            let after = quantised(&self.0, &Caps::webgpu_default()).unwrap();
            let x = whole(DType::U8, shape, 9);
            let run = |g: &Graph| {
                let y = crate::host::run(g, std::slice::from_ref(&x)).unwrap();
                y[0].to_i64().unwrap()
            };
            let (new, old) = (run(&after), run(&self.0));
            let apart = new.iter().zip(old).map(|(a, b)| (a - b).abs()).max();
            let live = after.live();
            let nodes = after.nodes().iter().zip(live).filter(|(_, live)| *live);
            let names = nodes.map(|(n, _)| n.op.name().to_string());
            let names = names.filter(|n| n != "Constant" && n != "Input");
            (names.collect(), apart.unwrap_or(0))
        }
    }

    #[test]
    fn convolutions_take_their_bias_and_relu() {
        let mut b = Build(Graph::new());
        let x = b.input(&[1, 4, 6, 6]);
        let x = b.wide(x, &[0.02], Some(HostTensor::scalar(120u8)), 1);
        let w = b.0.constant(whole(DType::I8, &[4, 4, 3, 3], 1));
        let scales = [0.01f32, 0.02, 0.015, 0.03];
        let w = b.wide(w, &scales, None, 0);
        let bias =
            b.0.constant(samples::integers(DType::I32, &[4], 2, -500, 500));
        let bias = b.wide(bias, &scales.map(|s| s * 0.02), None, 0);
        let op = Conv {
            group: 1,
            ..Conv::default()
        };
        let y = b.0.add1(op, &[x, w, bias]).unwrap();
        let y = b.0.add1(Unary::new("Relu").unwrap(), &[y]).unwrap();
        b.narrow(y, 0.05, 0);
        let (names, apart) = b.names(&[1, 4, 6, 6]);
        assert_eq!(names, ["QLinearConv"]);
        assert!(apart <= 1, "{apart}");
    }

    #[test]
    fn products_become_products_of_bytes() {
        let mut b = Build(Graph::new());
        let x = b.input(&[3, 8]);
        let x = b.wide(x, &[0.02], Some(HostTensor::scalar(120u8)), 1);
        let w = b.0.constant(whole(DType::I8, &[8, 5], 1));
        let w = b.wide(w, &[0.01, 0.02, 0.015, 0.03, 0.01], None, 1);
        let y = b.0.add1(crate::ops::MatMul, &[x, w]).unwrap();
        b.narrow(y, 0.05, 128);
        let (names, apart) = b.names(&[3, 8]);
        assert_eq!(names, ["QLinearMatMul"]);
        assert!(apart <= 1, "{apart}");
    }

    #[test]
    fn what_is_left_becomes_pointwise() {
        let mut b = Build(Graph::new());
        let x = b.input(&[2, 3, 4]);
        let zeros = samples::of(&[3], &[1u8, 2, 3]);
        let x = b.wide(x, &[0.1, 0.2, 0.3], Some(zeros), 1);
        b.narrow(x, 0.25, 7);
        let (names, apart) = b.names(&[2, 3, 4]);
        assert_eq!(
            names,
            ["Cast", "Sub", "Mul", "Div", "Round", "Add", "Clip", "Cast"]
        );
        assert_eq!(apart, 0);
    }

    #[test]
    fn the_stated_type_of_the_result_is_kept() {
        for to in [DType::F32, DType::F16, DType::BF16, DType::F64] {
            let mut b = Build(Graph::new());
            let x = b.input(&[2, 3]);
            let y = b.wide_as(x, &[0.1, 0.2, 0.3], None, 1, Some(to));
            b.0.output("y", y);
            let after = quantised(&b.0, &Caps::webgpu_default()).unwrap();
            let fact = after.fact(after.outputs()[0].1).unwrap();
            assert_eq!(fact.dtype, to);
            let x = whole(DType::U8, &[2, 3], 9);
            let run = |g: &Graph| crate::host::run(g, std::slice::from_ref(&x)).unwrap();
            assert_eq!(run(&after), run(&b.0), "{to}");
        }
    }

    #[test]
    fn products_of_f16_stay_products_of_f16() {
        let mut b = Build(Graph::new());
        let x = b.input(&[3, 8]);
        let x = b.wide_as(x, &[0.02], None, 1, Some(DType::F16));
        let w = b.0.constant(whole(DType::I8, &[8, 5], 1));
        let w = b.wide_as(w, &[0.01], None, 1, Some(DType::F16));
        let y = b.0.add1(crate::ops::MatMul, &[x, w]).unwrap();
        b.narrow(y, 0.05, 128);
        let (names, apart) = b.names(&[3, 8]);
        assert!(names.contains(&"MatMul".to_owned()), "{names:?}");
        assert!(apart <= 1, "{apart}");
    }
}
