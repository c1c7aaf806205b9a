//! Scale and zero point of a range, for 8 bits without sign (ONNX DynamicQuantizeLinear): the range is widened to hold 0.
@group(0) @binding(LOW) var<storage, read> low: array<f32>;
@group(0) @binding(HIGH) var<storage, read> high: array<f32>;
@group(0) @binding(SCALE) var<storage, read_write> scale: array<f32>;
@group(0) @binding(ZERO) var<storage, read_write> zero: array<u32>;

@compute @workgroup_size(1)
fn main() {
    let bottom = min(low[0], 0.0);
    let top = max(high[0], 0.0);
    let step = select(top - bottom, 1.0, bottom == top) / 255.0;
    scale[0] = step;
    zero[0] = u32(round(clamp(-bottom / step, 0.0, 255.0)));
}
