#!/usr/bin/env python3
"""Makes everything in this folder from scikit-learn's copy of the UCI digits.

    pip install numpy scikit-learn onnx
    python3 make_digits.py

Writes digits_images.npy (u8, 1797x8x8, ink 0..16), digits_labels.npy (u8, 1797), digits.onnx (a small CNN) and
digits_mlp.onnx. Both models take `image`, f32 [batch, 1, 8, 8], ink / 16, and answer `probability`, f32 [batch, 10].
They are trained on the images whose index is not a multiple of five; the others are held out.
The seed is fixed, but the bits of the weights depend on the BLAS behind numpy.
"""
import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from sklearn.datasets import load_digits

HERE = os.path.dirname(os.path.abspath(__file__))


class Conv:
    """3x3 convolution with padding 1, NCHW, as one product of unfolded patches."""

    def __init__(self, rng, inputs, outputs):
        self.params = [he(rng, (outputs, inputs, 3, 3), inputs * 9), np.zeros(outputs, np.float32)]

    def forward(self, x):
        n, c, h, w = x.shape
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        self.patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, c * 9)
        self.shape = x.shape
        weight, bias = self.params
        return (self.patches @ weight.reshape(len(bias), -1).T + bias).reshape(n, h, w, -1).transpose(0, 3, 1, 2)

    def backward(self, grad):
        n, c, h, w = self.shape
        weight, bias = self.params
        rows = grad.transpose(0, 2, 3, 1).reshape(n * h * w, len(bias))
        self.grads = [(rows.T @ self.patches).reshape(weight.shape), rows.sum(0)]
        patches = (rows @ weight.reshape(len(bias), -1)).reshape(n, h, w, c, 3, 3)
        out = np.zeros((n, c, h + 2, w + 2), np.float32)
        for dy in range(3):
            for dx in range(3):
                out[:, :, dy:dy + h, dx:dx + w] += patches[:, :, :, :, dy, dx].transpose(0, 3, 1, 2)
        return out[:, :, 1:-1, 1:-1]

    def export(self, name, x, out, inits):
        inits += [named(f"{name}.weight", self.params[0]), named(f"{name}.bias", self.params[1])]
        return helper.make_node("Conv", [x, f"{name}.weight", f"{name}.bias"], [out], name,
                                kernel_shape=[3, 3], pads=[1, 1, 1, 1])


class Linear:
    """x @ weight.T + bias."""

    def __init__(self, rng, inputs, outputs):
        self.params = [he(rng, (outputs, inputs), inputs), np.zeros(outputs, np.float32)]

    def forward(self, x):
        self.x = x
        return x @ self.params[0].T + self.params[1]

    def backward(self, grad):
        self.grads = [grad.T @ self.x, grad.sum(0)]
        return grad @ self.params[0]

    def export(self, name, x, out, inits):
        inits += [named(f"{name}.weight", self.params[0]), named(f"{name}.bias", self.params[1])]
        return helper.make_node("Gemm", [x, f"{name}.weight", f"{name}.bias"], [out], name, transB=1)


class Relu:
    params = []

    def forward(self, x):
        self.mask = x > 0
        return x * self.mask

    def backward(self, grad):
        return grad * self.mask

    def export(self, name, x, out, inits):
        return helper.make_node("Relu", [x], [out], name)


class MaxPool:
    """2x2 windows, stride 2."""

    params = []

    def forward(self, x):
        n, c, h, w = x.shape
        cells = x.reshape(n, c, h // 2, 2, w // 2, 2)
        best = cells.max((3, 5), keepdims=True)
        hit = cells == best
        self.share = hit / hit.sum((3, 5), keepdims=True)   # ties split the gradient
        self.shape = x.shape
        return best[:, :, :, 0, :, 0]

    def backward(self, grad):
        return (self.share * grad[:, :, :, None, :, None]).reshape(self.shape).astype(np.float32)

    def export(self, name, x, out, inits):
        return helper.make_node("MaxPool", [x], [out], name, kernel_shape=[2, 2], strides=[2, 2])


class Flatten:
    params = []

    def forward(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, grad):
        return grad.reshape(self.shape)

    def export(self, name, x, out, inits):
        return helper.make_node("Flatten", [x], [out], name, axis=1)


def he(rng, shape, fan_in):
    return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)


def named(name, array):
    return numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name)


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def forward(layers, x):
    for layer in layers:
        x = layer.forward(x)
    return x


def train(layers, x, y, rng, epochs=60, batch=32, rate=2e-3, decay=1e-4):
    """Adam on cross-entropy; the rate falls as a cosine. Images are moved by up to one pixel, which 8x8 allows."""
    params = [(layer, i) for layer in layers for i in range(len(layer.params))]
    first = [np.zeros_like(layer.params[i]) for layer, i in params]
    second = [np.zeros_like(layer.params[i]) for layer, i in params]
    steps = epochs * (len(x) // batch)
    step = 0
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for b in range(len(x) // batch):
            pick = order[b * batch:(b + 1) * batch]
            image = np.roll(x[pick], rng.integers(-1, 2), axis=3) if rng.random() < 0.5 else x[pick]
            grad = softmax(forward(layers, image))
            grad[np.arange(batch), y[pick]] -= 1
            grad /= batch
            for layer in reversed(layers):
                grad = layer.backward(grad)
            step += 1
            lr = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            for k, (layer, i) in enumerate(params):
                g = layer.grads[i] + decay * layer.params[i]
                first[k] += 0.1 * (g - first[k])
                second[k] += 0.001 * (g * g - second[k])
                scale = np.sqrt(second[k] / (1 - 0.999**step)) + 1e-8
                layer.params[i] = (layer.params[i] - lr * first[k] / (1 - 0.9**step) / scale).astype(np.float32)


def export(layers, name):
    nodes, inits, x = [], [], "image"
    for i, layer in enumerate(layers):
        kind = type(layer).__name__.lower()
        nodes.append(layer.export(f"{kind}{i}", x, f"{kind}{i}_out", inits))
        x = f"{kind}{i}_out"
    nodes.append(helper.make_node("Softmax", [x], ["probability"], "softmax", axis=1))
    graph = helper.make_graph(
        nodes, name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 10])], inits)
    model = helper.make_model(graph, producer_name="make_digits.py", ir_version=8,
                              opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)
    path = os.path.join(HERE, f"{name}.onnx")
    onnx.save(model, path)
    return path


def main():
    data = load_digits()
    ink, label = data.images.astype(np.uint8), data.target.astype(np.uint8)
    assert (ink == data.images).all()
    np.save(os.path.join(HERE, "digits_images.npy"), ink)
    np.save(os.path.join(HERE, "digits_labels.npy"), label)

    x = (ink[:, None] / 16).astype(np.float32)
    held_out = np.arange(len(x)) % 5 == 0
    models = {
        "digits": lambda rng: [Conv(rng, 1, 16), Relu(), Conv(rng, 16, 24), Relu(), MaxPool(), Flatten(),
                               Linear(rng, 24 * 16, 48), Relu(), Linear(rng, 48, 10)],
        "digits_mlp": lambda rng: [Flatten(), Linear(rng, 64, 32), Relu(), Linear(rng, 32, 10)],
    }
    for name, build in models.items():
        rng = np.random.default_rng(1797)
        layers = build(rng)
        train(layers, x[~held_out], label[~held_out], rng)
        path = export(layers, name)
        # Judged from the file, by another implementation than the one that trained it.
        right = ReferenceEvaluator(path).run(None, {"image": x})[0].argmax(1) == label
        print(f"{name}.onnx: {os.path.getsize(path)} bytes, held out {right[held_out].sum()}/{held_out.sum()} = "
              f"{right[held_out].mean():.4f}, all {right.sum()}/{len(x)} = {right.mean():.4f}")
        if name == "digits":
            assert right[held_out].mean() >= 0.98


if __name__ == "__main__":
    main()
