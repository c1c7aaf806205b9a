#!/usr/bin/env python3
"""Runs benchmark work with numpy, onnxruntime or PyTorch: peers.py numpy|onnxruntime|torch

Speaks the peer protocol of README.md on stdin and stdout. numpy and onnxruntime run on the CPU; torch runs on the
first CUDA device where there is one, else on the CPU.
"""

import json
import math
import os
import sys
import time

import numpy as np


class Refused(Exception):
    """Work that this library, or this file, does not do."""


def data(tensor, shape, integers=False):
    """Element i of tensor number t is a hash of both, the same in every peer; multiples of 2^-23 in [-1, 1)."""
    count = math.prod(shape)
    u = (np.arange(1, count + 1, dtype=np.uint64) & 0xFFFFFFFF).astype(np.uint32) * np.uint32(747796405)
    u += np.uint32((tensor + 1) * 2891336453 & 0xFFFFFFFF)
    u = ((u >> ((u >> np.uint32(28)) + np.uint32(4))) ^ u) * np.uint32(277803737)
    u ^= u >> np.uint32(22)
    if integers:
        return (u % np.uint32(100)).astype(np.int64).reshape(shape)
    return ((u >> np.uint32(8)).astype(np.float32) / np.float32(2**23) - np.float32(1)).reshape(shape)


class Eager:
    """Work as a function that runs once and gives its output; `wait` returns when all runs are done."""

    def __init__(self, step, read=np.asarray, wait=None):
        self.step, self.read, self.wait, self.last = step, read, wait, None

    def run(self, repeats):
        for _ in range(repeats):
            self.last = self.step()
        if self.wait:
            self.wait()

    def output(self):
        return np.asarray(self.read(self.last), dtype=np.float32).reshape(-1)


def sizes(work, *names):
    return [work[name] for name in names]


def masked(queries, keys):
    """Where a causal attention looks ahead: key j of query i with j > i."""
    return np.arange(keys)[None, :] > np.arange(queries)[:, None]


# ---------------------------------------------------------------------------------------------------------------- numpy


class Numpy:
    name = "numpy-cpu"
    version = np.__version__

    def __init__(self):
        self.device = "CPU, " + self.blas()

    @staticmethod
    def blas():
        """The BLAS and its threads, checked against the cores: OPENBLAS_NUM_THREADS would limit them unseen."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        try:
            import threadpoolctl
        except ImportError:
            return "BLAS and its threads unknown (no threadpoolctl)"
        np.ones((2, 2), np.float32) @ np.ones((2, 2), np.float32)
        pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
        if not pools:
            return "BLAS unknown"
        pool = pools[0]
        if pool["num_threads"] != cores:
            print(f"warning: BLAS runs {pool['num_threads']} threads on {cores} cores", file=sys.stderr)
        kind = f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".strip()
        return f"{kind}, {pool['num_threads']} threads"

    def prepare(self, work):
        if work.get("dtype", "f32") != "f32":
            raise Refused("numpy has no BLAS for f16")
        kind = work["kind"]
        if kind == "gemm":
            batch, m, n, k = sizes({"batch": 1, **work}, "batch", "m", "n", "k")
            lead = [] if batch == 1 else [batch]
            a, b = data(0, [*lead, m, k]), data(1, [*lead, k, n])
            out = np.empty([*lead, m, n], np.float32)
            return Eager(lambda: np.matmul(a, b, out=out))
        if kind == "map":
            return Eager(self.map(work))
        raise Refused(f"numpy has no {kind}")

    @staticmethod
    def map(work):
        shape = sizes(work, "rows", "cols")
        x, y = data(0, shape), data(1, shape)
        out = np.empty(shape, np.float32)

        def softmax():
            np.subtract(x, x.max(axis=1, keepdims=True), out=out)
            np.exp(out, out=out)
            np.divide(out, out.sum(axis=1, keepdims=True), out=out)
            return out

        def layer_norm():
            np.subtract(x, x.mean(axis=1, keepdims=True), out=out)
            variance = np.square(out).mean(axis=1, keepdims=True)
            np.divide(out, np.sqrt(variance + np.float32(1e-5)), out=out)
            return out

        steps = {
            "add": lambda: np.add(x, y, out=out),
            "relu": lambda: np.maximum(x, np.float32(0), out=out),
            "softmax": softmax,
            "layer_norm": layer_norm,
        }
        if work["op"] not in steps:
            raise Refused(f"numpy has no {work['op']}")
        return steps[work["op"]]


# ---------------------------------------------------------------------------------------------------------- onnxruntime


class OnnxRuntime:
    name = "onnxruntime-cpu"

    def __init__(self):
        # onnx makes the graphs; imported here, so that no first run pays for it.
        import onnx
        import onnxruntime

        self.onnx, self.ort = onnx, onnxruntime
        self.version = onnxruntime.__version__
        self.cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self.device = f"CPU, {self.cores} threads"

    def session(self, model):
        options = self.ort.SessionOptions()
        # All logical cores, as the other peers do; the default is one thread for each physical core.
        options.intra_op_num_threads = self.cores
        # Threads that wait would spin, which is processor time without work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return self.ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def prepare(self, work):
        if work["kind"] == "model":
            return self.model(work)
        nodes, inputs, constants, shape = graph_of(work)
        session = self.session(onnx_model(self.onnx, work, nodes, inputs, constants, shape))
        storage = np.float16 if work.get("dtype") == "f16" else np.float32
        binding = session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, self.ort.OrtValue.ortvalue_from_numpy(array.astype(storage)))
        # A bound output is written in place: no allocation in a run.
        out = self.ort.OrtValue.ortvalue_from_numpy(np.empty(shape, storage))
        binding.bind_ortvalue_output("y", out)

        def step():
            session.run_with_iobinding(binding)
            return out

        return Eager(step, read=lambda value: value.numpy())

    def model(self, work):
        session = self.session(work["path"])
        feeds = {}
        for number, value in enumerate(session.get_inputs()):
            if value.name not in work["inputs"]:
                raise Refused(f"the request gives no shape of input {value.name}")
            array = data(number, work["inputs"][value.name], integers=value.type == "tensor(int64)")
            feeds[value.name] = array.astype(np.float16) if value.type == "tensor(float16)" else array
        return Eager(lambda: session.run(None, feeds)[0])


def graph_of(work):
    """Nodes as (op, inputs, output, attributes), inputs and constants as name -> f32 array, and the shape of `y`."""
    kind = work["kind"]
    if kind == "gemm":
        batch, m, n, k = sizes({"batch": 1, **work}, "batch", "m", "n", "k")
        lead = [] if batch == 1 else [batch]
        a, b = {"a": data(0, [*lead, m, k])}, {"b": data(1, [*lead, k, n])}
        # One matrix is a constant weight, which onnxruntime packs ahead.
        inputs, constants = (a, b) if batch == 1 else (a | b, {})
        return [("MatMul", ["a", "b"], "y", {})], inputs, constants, [*lead, m, n]
    if kind == "conv":
        attributes = {"kernel_shape": work["kernel"], "strides": work.get("stride", [1, 1]),
                      "pads": work.get("pad", [0] * 4), "dilations": work.get("dilation", [1, 1]),
                      "group": work.get("groups", 1)}
        x, w = conv_data(work)
        return [("Conv", ["x", "w"], "y", attributes)], {"x": x}, {"w": w}, conv_shape(work)
    if kind == "attention":
        q, k, v = attention_data(work)
        constants = {"scale": np.array(1 / math.sqrt(work["head"]), np.float32)}
        nodes = [("Transpose", ["k"], "kt", {"perm": [0, 1, 3, 2]}), ("MatMul", ["q", "kt"], "qk", {}),
                 ("Mul", ["qk", "scale"], "scores", {})]
        if work.get("causal"):
            mask = masked(work["queries"], work["keys"])
            constants["mask"] = np.where(mask, np.float32(-np.inf), np.float32(0))
            nodes.append(("Add", ["scores", "mask"], "open", {}))
        nodes += [("Softmax", [nodes[-1][2]], "p", {"axis": -1}), ("MatMul", ["p", "v"], "y", {})]
        return nodes, {"q": q, "k": k, "v": v}, constants, list(q.shape)
    if kind == "map":
        shape = sizes(work, "rows", "cols")
        inputs = {"x": data(0, shape)}
        if work["op"] == "add":
            return [("Add", ["x", "x2"], "y", {})], inputs | {"x2": data(1, shape)}, {}, shape
        if work["op"] == "layer_norm":
            node = ("LayerNormalization", ["x", "ones"], "y", {"axis": -1, "epsilon": 1e-5})
            return [node], inputs, {"ones": np.ones(shape[1], np.float32)}, shape
        op, attributes = {"relu": ("Relu", {}), "gelu": ("Gelu", {}), "softmax": ("Softmax", {"axis": -1})}[work["op"]]
        return [(op, ["x"], "y", attributes)], inputs, {}, shape
    raise Refused(f"no {kind} here")


def onnx_model(onnx, work, nodes, inputs, constants, shape):
    TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper
    half = work.get("dtype") == "f16"
    element, storage = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    graph = helper.make_graph(
        [helper.make_node(op, given, [made], **attributes) for op, given, made, attributes in nodes],
        "work",
        [helper.make_tensor_value_info(name, element, array.shape) for name, array in inputs.items()],
        [helper.make_tensor_value_info("y", element, shape)],
        [numpy_helper.from_array(array.astype(storage), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return model.SerializeToString()


def conv_data(work):
    weights = [work["oc"], work["c"] // work.get("groups", 1), *work["kernel"]]
    return data(0, sizes(work, "n", "c", "h", "w")), data(1, weights)


def conv_shape(work):
    top, left, bottom, right = work.get("pad", [0] * 4)
    padded = [work["h"] + top + bottom, work["w"] + left + right]
    window = [d * (k - 1) + 1 for d, k in zip(work.get("dilation", [1, 1]), work["kernel"])]
    out = [(p - w) // s + 1 for p, w, s in zip(padded, window, work.get("stride", [1, 1]))]
    return [work["n"], work["oc"], *out]


def attention_data(work):
    batch, heads, queries, keys, head = sizes(work, "batch", "heads", "queries", "keys", "head")
    return [data(t, [batch, heads, length, head]) for t, length in enumerate([queries, keys, keys])]


# ---------------------------------------------------------------------------------------------------------------- torch


class Torch:
    def __init__(self):
        import torch

        self.torch = torch
        self.version = torch.__version__
        self.cuda = torch.cuda.is_available()
        self.name = "torch-cuda" if self.cuda else "torch-cpu"
        if self.cuda:
            self.device = f"{torch.cuda.get_device_name(0)}, cuDNN {torch.backends.cudnn.version()}"
            # f32 is f32: no TF32 in products or convolutions.
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False
            # cuDNN times its algorithms for each new shape and keeps the fastest.
            torch.backends.cudnn.benchmark = True
        else:
            self.device = f"CPU, {torch.get_num_threads()} threads"

    def prepare(self, work):
        with self.torch.inference_mode():
            step, reads = self.step(work), work["kind"] == "model"
            read = lambda value: value.float().cpu().numpy()
            if not self.cuda:
                return Eager(self.inferring(step), read)
            step = self.captured(step)
            if reads:
                return Eager(lambda: step().cpu(), read, self.torch.cuda.synchronize)
            return Eager(step, read, self.torch.cuda.synchronize)

    def inferring(self, step):
        def run():
            with self.torch.inference_mode():
                return step()

        return run

    def captured(self, step):
        """The step as a CUDA graph: one launch a run, so that Python's and the dispatcher's time do not count."""
        torch = self.torch
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        # Libraries choose algorithms and allocate in their first runs, which a capture does not allow.
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = step()

        def replay():
            graph.replay()
            return out

        return replay

    def tensor(self, array, work):
        dtype = self.torch.float16 if work.get("dtype") == "f16" else self.torch.float32
        return self.torch.from_numpy(array).to("cuda" if self.cuda else "cpu", dtype)

    def step(self, work):
        torch, functional = self.torch, self.torch.nn.functional
        kind = work["kind"]
        if kind == "gemm":
            batch, m, n, k = sizes({"batch": 1, **work}, "batch", "m", "n", "k")
            lead = [] if batch == 1 else [batch]
            a, b = self.tensor(data(0, [*lead, m, k]), work), self.tensor(data(1, [*lead, k, n]), work)
            return lambda: torch.matmul(a, b)
        if kind == "conv":
            return self.conv(work)
        if kind == "attention":
            q, k, v = [self.tensor(array, work) for array in attention_data(work)]
            causal = bool(work.get("causal"))
            return lambda: functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        if kind == "map":
            shape = sizes(work, "rows", "cols")
            x, y = self.tensor(data(0, shape), work), self.tensor(data(1, shape), work)
            return {
                "add": lambda: x + y,
                "relu": lambda: functional.relu(x),
                "gelu": lambda: functional.gelu(x),
                "softmax": lambda: functional.softmax(x, dim=1),
                "layer_norm": lambda: functional.layer_norm(x, shape[1:], eps=1e-5),
            }[work["op"]]
        if kind == "model":
            return self.model(work)
        raise Refused(f"no {kind} here")

    def conv(self, work):
        functional = self.torch.nn.functional
        x, w = [self.tensor(array, work) for array in conv_data(work)]
        top, left, bottom, right = work.get("pad", [0] * 4)
        if (top, left) != (bottom, right):
            raise Refused("torch pads both ends of an axis alike")
        options = {"stride": work.get("stride", [1, 1]), "padding": (top, left),
                   "dilation": work.get("dilation", [1, 1]), "groups": work.get("groups", 1)}
        return lambda: functional.conv2d(x, w, **options)

    def model(self, work):
        """torch reads no ONNX: the nodes of an image classifier are run by the functions that its modules would call."""
        import onnx
        from onnx import helper, numpy_helper

        graph = onnx.load(work["path"]).graph
        values = {t.name: self.constant(numpy_helper.to_array(t)) for t in graph.initializer}
        inputs = [value.name for value in graph.input if value.name not in values]
        for number, name in enumerate(inputs):
            values[name] = self.tensor(data(number, work["inputs"][name]), {})
        steps, fixed = [], set(values) - set(inputs)
        for node in graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                values[node.output[0]] = self.constant(numpy_helper.to_array(attributes["value"]))
                fixed.add(node.output[0])
                continue
            if node.op_type not in OPERATORS:
                raise Refused(f"this peer runs no {node.op_type} on torch")
            steps.append((OPERATORS[node.op_type], list(node.input), node.output[0], attributes))
        output = graph.output[0].name

        def step():
            live = dict(values)
            for operator, given, made, attributes in steps:
                live[made] = operator(self.torch, attributes, *[live[name] if name else None for name in given])
            return live[output]

        return step

    def constant(self, array):
        # Scalars are bounds of Clip, which must be numbers on the host.
        if array.ndim == 0:
            return array.item()
        return self.torch.from_numpy(array.copy()).to("cuda" if self.cuda else "cpu")


def symmetric(attributes):
    pads = attributes.get("pads", [0, 0, 0, 0])
    half = len(pads) // 2
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or pads[:half] != pads[half:]:
        raise Refused("this peer pads both ends of an axis alike")
    return pads[:half]


def torch_conv(torch, a, x, w, bias=None):
    return torch.nn.functional.conv2d(x, w, bias, a.get("strides", 1), symmetric(a), a.get("dilations", 1), a.get("group", 1))


def torch_max_pool(torch, a, x):
    return torch.nn.functional.max_pool2d(
        x, a["kernel_shape"], a.get("strides", 1), symmetric(a), a.get("dilations", 1), bool(a.get("ceil_mode", 0)))


def torch_gemm(torch, a, x, w, bias=None):
    if a.get("alpha", 1.0) != 1.0 or a.get("beta", 1.0) != 1.0 or a.get("transA", 0):
        raise Refused("Gemm with factors or a transposed A")
    return torch.nn.functional.linear(x, w if a.get("transB", 0) else w.t(), bias)


def torch_batch_norm(torch, a, x, scale, bias, mean, variance):
    return torch.nn.functional.batch_norm(x, mean, variance, scale, bias, eps=a.get("epsilon", 1e-5))


OPERATORS = {
    "Add": lambda torch, a, x, y: x + y,
    "BatchNormalization": torch_batch_norm,
    "Clip": lambda torch, a, x, low=None, high=None: torch.clamp(x, low, high),
    "Concat": lambda torch, a, *xs: torch.cat(xs, a["axis"]),
    "Conv": torch_conv,
    "Flatten": lambda torch, a, x: torch.flatten(x, a.get("axis", 1)),
    "Gemm": torch_gemm,
    "GlobalAveragePool": lambda torch, a, x: torch.nn.functional.adaptive_avg_pool2d(x, 1),
    "Identity": lambda torch, a, x: x,
    "MaxPool": torch_max_pool,
    "MatMul": lambda torch, a, x, y: torch.matmul(x, y),
    "Mul": lambda torch, a, x, y: x * y,
    "Relu": lambda torch, a, x: torch.relu(x),
    "Sigmoid": lambda torch, a, x: torch.sigmoid(x),
    "Softmax": lambda torch, a, x: torch.softmax(x, a.get("axis", -1)),
}


# ----------------------------------------------------------------------------------------------------------------- loop


class Server:
    def __init__(self, peer):
        self.peer, self.prepared = peer, None

    def answer(self, request):
        do = request["do"]
        if do == "prepare":
            # The old work's memory is given back before the new is made.
            self.prepared = None
            start = time.perf_counter()
            prepared = self.peer.prepare(request["work"])
            prepared.run(1)
            self.prepared = prepared
            return {"ok": True, "first_seconds": time.perf_counter() - start}
        if do not in ("result", "time"):
            raise Refused(f"no request {do}")
        if self.prepared is None:
            raise Refused("no work is prepared")
        if do == "result":
            output = self.prepared.output()
            values = [float(output[i]) for i in request["at"]]
            # JSON has no NaN and no infinity.
            return {"values": [value if math.isfinite(value) else None for value in values]}
        # process_time: of all threads of the process.
        start, cpu = time.perf_counter(), time.process_time()
        self.prepared.run(request["repeats"])
        return {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu}


def main():
    peers = {"numpy": Numpy, "onnxruntime": OnnxRuntime, "torch": Torch}
    if len(sys.argv) != 2 or sys.argv[1] not in peers:
        sys.exit(f"usage: peers.py {'|'.join(peers)}")
    # What a library prints must not stand between answers.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer = peers[sys.argv[1]]()
    hello = {"protocol": 1, "peer": peer.name, "version": peer.version, "device": peer.device}
    print(json.dumps(hello), file=out, flush=True)
    server = Server(peer)
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            request = json.loads(line)
            if request["do"] == "quit":
                break
            answer = server.answer(request)
        except Exception as error:  # whatever a library raises, the next request may work
            answer = {"ok": False, "why": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
