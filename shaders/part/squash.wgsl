//! The functions of gates in recurrent layers, by the numbers of `Squash` in the host's code.
//#use math
fn squash(kind: u32, x: vec4f, alpha: f32, beta: f32) -> vec4f {
    switch kind {
        case 0u: { return sigmoid_f(x); }
        case 1u: { return tanh_f(x); }
        case 2u: { return relu_f(x); }
        case 3u: { return alpha * x + beta; }
        case 4u: { return leaky_relu_f(x, alpha); }
        case 5u: { return select(vec4f(), x, x >= vec4f(alpha)); }
        case 6u: { return alpha * tanh_f(beta * x); }
        case 7u: { return clamp01_f(alpha * x + beta); }
        case 8u: { return elu_f(x, alpha); }
        case 9u: { return x / (1.0 + abs(x)); }
        default: { return softplus_f(x); }
    }
}
