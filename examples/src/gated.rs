//! An operator of one's own: `here:GatedUnit`, a gate whose threshold is learned for each channel.
//!
//! y = x sigmoid(alpha x + beta_c), with x of shape `[N, C, ..]` and beta of shape `[C]`; alpha is an attribute.

use std::sync::Arc;

use tilewright::HostTensor;
use tilewright::device::{Dispatch, Variant, fold_groups};
use tilewright::graph::fact::{Facts, Tensors};
use tilewright::graph::lower::{Lower, Place, Placing};
use tilewright::graph::{Attrs, CustomOp, Fact, Result};
use tilewright::onnx::Registry;

/// The operator set that the operator is of.
pub const DOMAIN: &str = "here";
/// Its name in models.
pub const NAME: &str = "GatedUnit";

/// Two subgroups of the widest kind; invocations share nothing.
const THREADS: u32 = 64;

/// See the head of this file.
#[derive(Clone, Debug)]
pub struct GatedUnit {
    /// How steep the gate is.
    pub alpha: f32,
}

impl GatedUnit {
    /// The operator with a node's attributes: `alpha`, 1 unless it is given.
    ///
    /// # Errors
    /// An attribute of another type.
    pub fn from_attrs(attrs: &Attrs) -> Result<GatedUnit> {
        let alpha = attrs.or("alpha", 1.0)?;
        Ok(GatedUnit { alpha })
    }

    /// Tells a reader of models about the operator.
    pub fn register(registry: &mut Registry) {
        let make = |attrs: &Attrs| -> Result<Arc<dyn CustomOp>> {
            Ok(Arc::new(GatedUnit::from_attrs(attrs)?))
        };
        registry.insert(DOMAIN, NAME, Box::new(make));
    }
}

impl CustomOp for GatedUnit {
    fn name(&self) -> &'static str {
        "here:GatedUnit"
    }

    fn attrs(&self) -> Attrs {
        Attrs::new(NAME).with("alpha", self.alpha)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (x, beta) = (inputs.req(0)?, inputs.req(1)?);
        if !x.dtype.is_float() || x.rank() < 2 {
            return Err(inputs.error(format!("expected floats [N, C, ..], got {x}")));
        }
        if beta.dtype != x.dtype || beta.rank() != 1 {
            return Err(inputs.error(format!("expected {}[C] as beta, got {beta}", x.dtype)));
        }
        // Sizes may be symbols: this is an error if they can never be the same.
        inputs.agree("channels", &[&x.shape[1], &beta.shape[0]])?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (x, beta) = (inputs.req(0)?, inputs.req(1)?.to_f64());
        let inner: usize = x.shape()[2..].iter().product();
        let mut y = x.to_f64();
        for (i, value) in y.iter_mut().enumerate() {
            let channel = i / inner % beta.len();
            let gate = f64::from(self.alpha) * *value + beta[channel];
            *value /= 1.0 + (-gate).exp();
        }
        Ok(vec![HostTensor::from_f64(x.dtype(), x.shape().clone(), y)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        // The kernel reads and writes f32. As `half` is not implemented, tensors of f16 come as f32 too.
        cx.floats_only()
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, beta, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
        // Indices in the shader are u32, and so are sizes.
        let size = |n: usize| u32::try_from(n).map_err(|_| cx.error(format!("{n} is too large")));
        let count = size(x.elements())?;
        // A text that is named like the shader is the shader. The assembler does with it what it does with the engine's own:
        // numbers bindings, lays out parameters, puts in the parts that it uses.
        let variant = Variant::new("gated")
            .text("gated", include_str!("gated.wgsl"))
            .checked()
            .set("THREADS", THREADS);
        let groups = u64::from(count.div_ceil(THREADS));
        let dispatch = Dispatch::new(variant)
            .bind("X", x.span)
            .bind("BETA", beta.span)
            .bind("Y", y.span)
            .param("count", count)
            .param("channels", size(x.shape[1])?)
            .param("inner", size(x.shape[2..].iter().product())?)
            .param("alpha", self.alpha)
            .groups(fold_groups(groups, cx.caps().limits.groups))
            .work(8 * u64::from(count));
        cx.emit([dispatch]);
        Ok(())
    }
}
