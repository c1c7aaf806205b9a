//! Batch normalisation in inference is a factor and a summand a channel: they go into the convolution before it, or become
//! a product and a sum, which fuse with what is around them.

use super::readers::Readers;
use super::{Visit, rewrite};
use crate::ops::{BatchNormalization, Binary};
use crate::{Error, Fact, Graph, Op, Result, Value, Weight};
use tilewright_tensor::{DType, HostTensor};

/// Replaces batch normalisations of f32 with constant statistics.
pub fn batch_norm(graph: &Graph) -> Result<Graph> {
    let readers = Readers::new(graph);
    rewrite(graph, |visit, new| {
        let Op::BatchNormalization(norm) = &visit.node.op else {
            return Ok(None);
        };
        let Some((factor, summand)) = channels(norm, visit, new)? else {
            return Ok(None);
        };
        let from = visit.node.inputs.first().copied().flatten();
        let private = from.is_some_and(|v| readers.single(v));
        if private && let Some(value) = into_convolution(visit, new, &factor, &summand)? {
            return Ok(Some(vec![value]));
        }
        as_product(visit, new, &factor, &summand)
    })
}

/// Factor and summand of each channel; none if they are not known or the running statistics are wanted.
fn channels(
    norm: &BatchNormalization,
    visit: &Visit<'_>,
    new: &Graph,
) -> Result<Option<(Vec<f32>, Vec<f32>)>> {
    if norm.training || visit.node.outputs.len() != 1 {
        return Ok(None);
    }
    let mut parts = vec![];
    for v in &visit.inputs[1..] {
        let fact = v.and_then(|v| new.fact(v));
        match fact.map_or(Ok(None), Fact::load)? {
            Some(t) => parts.push(t.to_f64()),
            None => return Ok(None),
        }
    }
    let x = visit.inputs[0].and_then(|v| new.fact(v));
    let ([scale, bias, mean, variance], Some(DType::F32)) = (&parts[..], x.map(|x| x.dtype)) else {
        return Ok(None);
    };
    let (mut factor, mut summand) = (vec![], vec![]);
    for (((s, b), m), v) in scale.iter().zip(bias).zip(mean).zip(variance) {
        let a = s / (v + f64::from(norm.epsilon)).sqrt();
        factor.push(a as f32);
        summand.push((b - m * a) as f32);
    }
    Ok(Some((factor, summand)))
}

/// The convolution that makes the input, with other weights; the old one is left without users.
fn into_convolution(
    visit: &Visit<'_>,
    new: &mut Graph,
    factor: &[f32],
    summand: &[f32],
) -> Result<Option<Value>> {
    let Some(x) = visit.inputs[0] else {
        return Ok(None);
    };
    let node = new.node(x).clone();
    // The axis of the weight that counts output channels.
    let axis = match &node.op {
        Op::Conv(_) => 0,
        Op::ConvTranspose(op) if op.group == 1 => 1,
        _ => return Ok(None),
    };
    let weight = |i: usize| {
        new.weight_of(node.inputs.get(i).copied().flatten()?)
            .cloned()
    };
    let has_bias = node.inputs.get(2).is_some_and(Option::is_some);
    let (Some(w), bias) = (weight(1), weight(2)) else {
        return Ok(None);
    };
    if w.shape()[axis] != factor.len() || (has_bias && bias.is_none()) {
        return Ok(None);
    }
    let bias = match bias {
        Some(bias) => {
            let bias = bias.load()?;
            let pairs = bias.to_vec::<f32>()?.into_iter().zip(factor);
            pairs.zip(summand).map(|((b, f), s)| b * f + s).collect()
        }
        None => summand.to_vec(),
    };
    let (made, factor) = (scaled(&w.load()?, axis, factor)?, factor.to_vec());
    let again = move |from: &[Option<&HostTensor>]| match from {
        [Some(w)] => scaled(w, axis, &factor),
        _ => Err(Error::Graph("a filter without its weights".into())),
    };
    let w = new.constant(Weight::made(vec![Some(w)], made, again));
    let bias = new.constant(HostTensor::from_vec([bias.len()], bias)?);
    let inputs = [node.inputs[0], Some(w), Some(bias)];
    Ok(Some(new.add_node(node.op, &inputs, &node.name, 1)?[0]))
}

/// A filter times a factor for each index along `axis`.
fn scaled(w: &HostTensor, axis: usize, factor: &[f32]) -> Result<HostTensor> {
    let inner: usize = w.shape()[axis + 1..].iter().product();
    let mut values = w.to_vec::<f32>()?;
    for (i, row) in values.chunks_mut(inner.max(1)).enumerate() {
        let factor = factor[i % factor.len()];
        row.iter_mut().for_each(|v| *v *= factor);
    }
    Ok(HostTensor::from_vec(w.shape(), values)?)
}

fn as_product(
    visit: &Visit<'_>,
    new: &mut Graph,
    factor: &[f32],
    summand: &[f32],
) -> Result<Option<Vec<Value>>> {
    let Some(x) = visit.inputs[0] else {
        return Ok(None);
    };
    let rank = new.need_fact(x)?.rank();
    if rank < 2 {
        return Ok(None);
    }
    let mut shape = vec![1; rank - 1];
    shape[0] = factor.len();
    let factor = new.constant(HostTensor::from_slice(&shape[..], factor)?);
    let summand = new.constant(HostTensor::from_slice(&shape[..], summand)?);
    let product = new.add1(Binary::new("Mul")?, &[x, factor])?;
    let inputs = [Some(product), Some(summand)];
    Ok(Some(new.add_node(
        Binary::new("Add")?.into(),
        &inputs,
        &visit.node.name,
        1,
    )?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Conv, ConvTranspose};
    use crate::samples;
    use tilewright_tensor::nmse;

    fn normalised(graph: &mut Graph, x: Value, channels: usize) -> Value {
        let part = |graph: &mut Graph, seed, low, high| {
            graph.constant(samples::between(&[channels], seed, low, high))
        };
        let inputs = [
            x,
            part(graph, 3, 0.5, 1.5),
            part(graph, 4, -1.0, 1.0),
            part(graph, 5, -1.0, 1.0),
            part(graph, 6, 0.5, 2.0),
        ];
        let norm = BatchNormalization {
            epsilon: 1e-3,
            momentum: 0.9,
            training: false,
        };
        let y = graph.add(norm, &inputs).unwrap()[0];
        graph.output("y", y);
        y
    }

    /// The names of what is left, when it computes the same.
    fn names(graph: &Graph, x: HostTensor) -> Vec<String> {
        let after = batch_norm(graph).unwrap();
        let run = |g: &Graph| crate::host::run(g, std::slice::from_ref(&x)).unwrap();
        assert!(nmse(&run(&after)[0], &run(graph)[0]).unwrap() < 1e-12);
        let live = after.live();
        let nodes = after.nodes().iter().zip(live).filter(|(_, live)| *live);
        let names = nodes.map(|(n, _)| n.op.name().to_string());
        names.filter(|n| n != "Constant" && n != "Input").collect()
    }

    fn image(graph: &mut Graph) -> Value {
        let fact = Fact::sized(DType::F32, &[1, 3, 5, 5]);
        graph.input("x", Some(fact)).unwrap()
    }

    #[test]
    fn it_goes_into_convolutions() {
        let mut graph = Graph::new();
        let x = image(&mut graph);
        let w = graph.constant(samples::uniform(&[4, 3, 3, 3], 1));
        let b = graph.constant(samples::uniform(&[4], 2));
        let op = Conv {
            group: 1,
            ..Conv::default()
        };
        let y = graph.add1(op, &[x, w, b]).unwrap();
        normalised(&mut graph, y, 4);
        let x = samples::uniform(&[1, 3, 5, 5], 9);
        assert_eq!(names(&graph, x), ["Conv"]);
    }

    #[test]
    fn it_goes_into_transposed_convolutions() {
        let mut graph = Graph::new();
        let x = image(&mut graph);
        let w = graph.constant(samples::uniform(&[3, 6, 2, 2], 1));
        let op = ConvTranspose {
            group: 1,
            ..ConvTranspose::default()
        };
        let y = graph.add1(op, &[x, w]).unwrap();
        normalised(&mut graph, y, 6);
        let x = samples::uniform(&[1, 3, 5, 5], 9);
        assert_eq!(names(&graph, x), ["ConvTranspose"]);
    }

    #[test]
    fn elsewhere_it_is_a_product_and_a_sum() {
        let mut graph = Graph::new();
        let x = image(&mut graph);
        normalised(&mut graph, x, 3);
        let x = samples::uniform(&[1, 3, 5, 5], 9);
        assert_eq!(names(&graph, x), ["Mul", "Add"]);
    }
}
