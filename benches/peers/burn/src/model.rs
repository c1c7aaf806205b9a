//! Image classifiers from ONNX files. Burn imports ONNX by generating code at build time; so that any file can be timed, this
//! walks the graph at run time instead and calls the functions that generated code would call, with the file's weights.

use std::collections::HashMap;

use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Shape, Tensor, TensorData, activation, module};
use peer_protocol::{Dtype, Model, Prepared, Why};
use prost::Message;

use crate::eager::{read, tensor};
use crate::onnx;

/// A value of a run: images, or rows of features.
#[derive(Clone)]
enum Value {
    Images(Tensor<4>),
    Rows(Tensor<2>),
}

enum Op {
    Conv(Tensor<4>, Option<Tensor<1>>, ConvOptions<2>),
    /// Scale, bias, mean, variance, epsilon.
    BatchNorm([Tensor<1>; 4], f64),
    Relu,
    Clip(f32, f32),
    MaxPool(MaxPoolOptions<2>),
    GlobalAveragePool,
    Flatten,
    /// Weights k x n.
    Linear(Tensor<2>, Option<Tensor<1>>),
    Add,
    Concat,
    Identity,
}

struct Step {
    op: Op,
    /// Slots, and whether this is the slot's last use.
    inputs: Vec<(usize, bool)>,
    output: usize,
}

/// A model ready to run.
pub struct Ready {
    steps: Vec<Step>,
    slots: usize,
    input: Tensor<4>,
    output: usize,
    last: Vec<f32>,
}

impl Prepared for Ready {
    /// Each run reads its output back, as the protocol asks of models.
    fn run(&mut self, repeats: u32) -> Result<(), Why> {
        for _ in 0..repeats {
            self.last = match self.forward()? {
                Value::Images(value) => read(&value)?,
                Value::Rows(value) => read(&value)?,
            };
        }
        Ok(())
    }

    fn output(&mut self) -> Result<Vec<f32>, Why> {
        Ok(self.last.clone())
    }
}

impl Ready {
    fn forward(&self) -> Result<Value, Why> {
        let mut slots: Vec<Option<Value>> = vec![None; self.slots];
        slots[0] = Some(Value::Images(self.input.clone()));
        for step in &self.steps {
            let mut inputs = Vec::with_capacity(step.inputs.len());
            for &(slot, last) in &step.inputs {
                // A value that nobody needs any more is given up, so that fusion need not store it.
                let value = if last {
                    slots[slot].take()
                } else {
                    slots[slot].clone()
                };
                inputs.push(value.ok_or("a value is read before it is made")?);
            }
            slots[step.output] = Some(apply(&step.op, inputs)?);
        }
        slots[self.output]
            .take()
            .ok_or_else(|| "nothing makes the output".to_owned())
    }
}

fn apply(op: &Op, inputs: Vec<Value>) -> Result<Value, Why> {
    use Value::{Images, Rows};
    let mut inputs = inputs.into_iter();
    let first = inputs.next().ok_or("an operator without inputs")?;
    Ok(match (op, first) {
        (Op::Conv(w, b, options), Images(x)) => {
            Images(module::conv2d(x, w.clone(), b.clone(), options.clone()))
        }
        (Op::BatchNorm([scale, bias, mean, variance], epsilon), Images(x)) => {
            let [scale, bias] = [scale.clone(), bias.clone()];
            Images(module::batch_norm(
                x,
                scale,
                bias,
                mean.clone(),
                variance.clone(),
                *epsilon,
            ))
        }
        (Op::Relu, Images(x)) => Images(activation::relu(x)),
        (Op::Relu, Rows(x)) => Rows(activation::relu(x)),
        (Op::Clip(low, high), Images(x)) => Images(x.clamp(*low, *high)),
        (Op::MaxPool(options), Images(x)) => Images(module::max_pool2d(x, options.clone())),
        (Op::GlobalAveragePool, Images(x)) => Images(module::adaptive_avg_pool2d(x, [1, 1])),
        (Op::Flatten, Images(x)) => {
            let [n, c, h, w] = x.dims();
            Rows(x.reshape([n, c * h * w]))
        }
        (Op::Flatten | Op::Identity, Rows(x)) => Rows(x),
        (Op::Linear(w, b), Rows(x)) => Rows(module::linear(x, w.clone(), b.clone())),
        (Op::Identity, Images(x)) => Images(x),
        (Op::Add, Images(x)) => match inputs.next() {
            Some(Images(y)) => Images(x + y),
            _ => return Err("Add of values of different ranks".to_owned()),
        },
        (Op::Concat, Images(x)) => {
            let rest = inputs.filter_map(|value| match value {
                Images(value) => Some(value),
                Rows(_) => None,
            });
            Images(Tensor::cat(std::iter::once(x).chain(rest).collect(), 1))
        }
        _ => return Err("an operator on a value of a rank that it does not take".to_owned()),
    })
}

/// Reads the file and puts its weights on the device.
pub fn load(device: &Device, work: &Model) -> Result<Ready, Why> {
    let bytes = std::fs::read(&work.path);
    let bytes = bytes.map_err(|error| format!("{}: {error}", work.path.display()))?;
    let model = onnx::Model::decode(bytes.as_slice()).map_err(|error| error.to_string())?;
    let graph = model.graph.ok_or("the file holds no graph")?;
    let constants = constants(&graph)?;
    let inputs = graph.input.iter().map(|input| input.name.as_str());
    let mut inputs = inputs.filter(|name| !constants.contains_key(name));
    let (Some(name), None) = (inputs.next(), inputs.next()) else {
        return Err("this peer runs models of one input".to_owned());
    };
    let shape = work.inputs.get(name);
    let Some(Ok(shape)) = shape.map(|shape| <[usize; 4]>::try_from(&**shape)) else {
        return Err(format!("this peer needs four dims of input {name}"));
    };
    let mut slots = HashMap::from([(name, 0)]);
    let mut steps = Vec::new();
    for node in &graph.node {
        let [made] = node.output.as_slice() else {
            return Err(format!(
                "this peer runs no {} of several outputs",
                node.op_type
            ));
        };
        if constants.contains_key(made.as_str()) {
            continue;
        }
        steps.push(step(device, node, &constants, &slots)?);
        slots.insert(made, slots.len());
    }
    let output = graph.output.first();
    let output = output.and_then(|output| slots.get(output.name.as_str()));
    let &output = output.ok_or("nothing makes the output")?;
    mark_last_uses(&mut steps, slots.len(), output);
    Ok(Ready {
        steps,
        slots: slots.len(),
        input: tensor(device, 0, shape, Dtype::F32),
        output,
        last: Vec::new(),
    })
}

/// A node whose output takes the next slot.
fn step(
    device: &Device,
    node: &onnx::Node,
    constants: &HashMap<&str, &onnx::Tensor>,
    slots: &HashMap<&str, usize>,
) -> Result<Step, Why> {
    let weights = Weights {
        device,
        node,
        constants,
    };
    let op = weights.op()?;
    let names = node.input.iter().map(String::as_str);
    let inputs = names
        .filter(|name| !constants.contains_key(name))
        .map(|name| {
            let slot = slots.get(name).map(|&slot| (slot, false));
            slot.ok_or_else(|| format!("nothing makes {name}"))
        });
    let inputs = inputs.collect::<Result<Vec<_>, Why>>()?;
    if inputs.len() != 1 && !matches!(op, Op::Add | Op::Concat) {
        let op = &node.op_type;
        return Err(format!("this peer takes the weights of {op} as constants"));
    }
    Ok(Step {
        op,
        inputs,
        output: slots.len(),
    })
}

fn mark_last_uses(steps: &mut [Step], slots: usize, output: usize) {
    let mut used = vec![false; slots];
    used[output] = true;
    for step in steps.iter_mut().rev() {
        for (slot, last) in step.inputs.iter_mut().rev() {
            *last = !used[*slot];
            used[*slot] = true;
        }
    }
}

/// Initializers and the values of `Constant` nodes, by name; those that are not f32 are refused where they are used.
fn constants(graph: &onnx::Graph) -> Result<HashMap<&str, &onnx::Tensor>, Why> {
    let initializers = graph
        .initializer
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor));
    let mut constants: HashMap<_, _> = initializers.collect();
    for node in graph.node.iter().filter(|node| node.op_type == "Constant") {
        let value = node.tensor("value").ok_or("a Constant that is no tensor")?;
        let name = node.output.first().ok_or("a Constant without an output")?;
        constants.insert(name, value);
    }
    // Files share one weight under several names by passing it through Identity.
    for node in graph.node.iter().filter(|node| node.op_type == "Identity") {
        if let ([from], [to]) = (node.input.as_slice(), node.output.as_slice())
            && let Some(&value) = constants.get(from.as_str())
        {
            constants.insert(to, value);
        }
    }
    Ok(constants)
}

/// What a node's operator is made from.
struct Weights<'a> {
    device: &'a Device,
    node: &'a onnx::Node,
    constants: &'a HashMap<&'a str, &'a onnx::Tensor>,
}

impl Weights<'_> {
    fn op(&self) -> Result<Op, Why> {
        let node = self.node;
        Ok(match node.op_type.as_str() {
            "Conv" => {
                let [top, left, bottom, right] = self.pads()?;
                let groups = usize::try_from(node.int("group", 1));
                let options = ConvOptions::new_with_padding(
                    node.ints("strides", 1)?,
                    [(top, bottom), (left, right)],
                    node.ints("dilations", 1)?,
                    groups.map_err(|error| error.to_string())?,
                );
                Op::Conv(self.weight(1)?, self.optional(2)?, options)
            }
            "BatchNormalization" => {
                let four = [
                    self.weight(1)?,
                    self.weight(2)?,
                    self.weight(3)?,
                    self.weight(4)?,
                ];
                Op::BatchNorm(four, f64::from(node.float("epsilon", 1e-5)))
            }
            "Relu" => Op::Relu,
            "Clip" => Op::Clip(self.bound(1, f32::MIN)?, self.bound(2, f32::MAX)?),
            "MaxPool" => {
                let [top, left, bottom, right] = self.pads()?;
                let options = MaxPoolOptions::new(node.ints("kernel_shape", 1)?)
                    .with_stride(node.ints("strides", 1)?)
                    .with_padding_pairs([(top, bottom), (left, right)])
                    .with_dilation(node.ints("dilations", 1)?)
                    .with_ceil_mode(node.int("ceil_mode", 0) != 0);
                Op::MaxPool(options)
            }
            "GlobalAveragePool" => Op::GlobalAveragePool,
            "Flatten" if node.int("axis", 1) == 1 => Op::Flatten,
            "Gemm" if self.is_linear() => {
                let w: Tensor<2> = self.weight(1)?;
                let transposed = node.int("transB", 0) != 0;
                Op::Linear(
                    if transposed { w.transpose() } else { w },
                    self.optional(2)?,
                )
            }
            "Add" => Op::Add,
            "Concat" if node.int("axis", 1) == 1 => Op::Concat,
            "Identity" => Op::Identity,
            other => return Err(format!("this peer runs no {other} with these attributes")),
        })
    }

    fn is_linear(&self) -> bool {
        let node = self.node;
        node.float("alpha", 1.0) == 1.0
            && node.float("beta", 1.0) == 1.0
            && node.int("transA", 0) == 0
    }

    fn pads(&self) -> Result<[usize; 4], Why> {
        match self.node.text("auto_pad") {
            b"" | b"NOTSET" => self.node.ints("pads", 0),
            _ => Err("this peer takes no auto_pad".to_owned()),
        }
    }

    fn constant(&self, index: usize) -> Option<&onnx::Tensor> {
        let name = self.node.input.get(index)?;
        self.constants.get(name.as_str()).copied()
    }

    fn weight<const D: usize>(&self, index: usize) -> Result<Tensor<D>, Why> {
        let found = self.optional(index)?;
        found.ok_or_else(|| format!("{}: input {index} is not constant", self.node.op_type))
    }

    fn optional<const D: usize>(&self, index: usize) -> Result<Option<Tensor<D>>, Why> {
        let Some(tensor) = self.constant(index) else {
            return Ok(None);
        };
        let (shape, values) = tensor.read()?;
        if shape.len() != D {
            return Err(format!(
                "{}: {} dims instead of {D}",
                self.node.op_type,
                shape.len()
            ));
        }
        let data = TensorData::new(values, Shape::from(shape));
        Ok(Some(Tensor::from_data(data, self.device)))
    }

    fn bound(&self, index: usize, default: f32) -> Result<f32, Why> {
        match self.constant(index) {
            None => Ok(default),
            Some(tensor) => {
                let (_, values) = tensor.read()?;
                values
                    .first()
                    .copied()
                    .ok_or_else(|| "an empty bound of Clip".to_owned())
            }
        }
    }
}
