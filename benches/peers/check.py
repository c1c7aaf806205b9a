#!/usr/bin/env python3
"""Checks a peer: check.py [--model FILE.onnx] COMMAND [ARG..]

Starts the peer, prepares each kind of work in small sizes and compares its results with numpy in f64; a model is compared
with onnxruntime. Prints a table. What a peer refuses is shown and is no failure; a mismatch, a broken answer or a peer that
refuses everything exits with 1.
"""

import argparse
import json
import math
import subprocess
import sys

import numpy as np

from peers import attention_data, conv_data, conv_shape, data, masked

GEMM = {"kind": "gemm", "batch": 1, "dtype": "f32"}
CONV = {"kind": "conv", "stride": [1, 1], "pad": [0] * 4, "dilation": [1, 1], "groups": 1, "dtype": "f32"}
ATTENTION = {"kind": "attention", "causal": False}

# Odd sizes next to even ones: edges of tiles are where results go wrong.
CASES = {
    "gemm 64 x 64 x 64": GEMM | {"m": 64, "n": 64, "k": 64},
    "gemm 37 x 51 x 129": GEMM | {"m": 37, "n": 51, "k": 129},
    "gemm 3 of 33 x 20 x 17": GEMM | {"batch": 3, "m": 33, "n": 20, "k": 17},
    "gemm 64 x 64 x 64 f16": GEMM | {"m": 64, "n": 64, "k": 64, "dtype": "f16"},
    "conv 3x3 8 to 12, pad 1": CONV | {"n": 2, "c": 8, "h": 14, "w": 15, "oc": 12, "kernel": [3, 3], "pad": [1] * 4},
    "conv 7x7 3 to 16, stride 2": CONV
    | {"n": 1, "c": 3, "h": 32, "w": 32, "oc": 16, "kernel": [7, 7], "stride": [2, 2], "pad": [3] * 4},
    "conv 1x1 16 to 24": CONV | {"n": 1, "c": 16, "h": 9, "w": 11, "oc": 24, "kernel": [1, 1]},
    "conv 3x3 depthwise 16": CONV
    | {"n": 1, "c": 16, "h": 14, "w": 14, "oc": 16, "kernel": [3, 3], "pad": [1] * 4, "groups": 16},
    "conv 3x3 pad 0 0 1 1": CONV
    | {"n": 1, "c": 4, "h": 8, "w": 8, "oc": 4, "kernel": [3, 3], "stride": [2, 2], "pad": [0, 0, 1, 1]},
    "conv 3x3 dilated": CONV
    | {"n": 1, "c": 4, "h": 16, "w": 16, "oc": 4, "kernel": [3, 3], "pad": [2] * 4, "dilation": [2, 2]},
    "attention 2x4x48x32": ATTENTION | {"batch": 2, "heads": 4, "queries": 48, "keys": 48, "head": 32},
    "attention 1x2x17x64, 33 keys": ATTENTION | {"batch": 1, "heads": 2, "queries": 17, "keys": 33, "head": 64},
    "attention causal 1x2x40x32": ATTENTION
    | {"batch": 1, "heads": 2, "queries": 40, "keys": 40, "head": 32, "causal": True},
} | {f"map {op} 31 x 130": {"kind": "map", "op": op, "rows": 31, "cols": 130}
     for op in ["add", "relu", "gelu", "softmax", "layer_norm"]}


class Peer:
    """A peer's process."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.hello = self.read()
        if self.hello.get("protocol") != 1:
            sys.exit(f"not protocol 1: {self.hello}")

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the peer ended with {self.process.wait()}")
        return json.loads(line)

    def ask(self, **request):
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self.read()

    def quit(self):
        print(json.dumps({"do": "quit"}), file=self.process.stdin, flush=True)
        return self.process.wait(timeout=60)


def expected(work):
    """The result in f64, from the formula."""
    kind = work["kind"]
    storage = np.float16 if work.get("dtype") == "f16" else np.float32
    exact = lambda array: array.astype(storage).astype(np.float64)
    if kind == "gemm":
        batch, m, n, k = (work[name] for name in ("batch", "m", "n", "k"))
        return exact(data(0, [batch, m, k])) @ exact(data(1, [batch, k, n]))
    if kind == "conv":
        return convolution(work, *map(exact, conv_data(work)))
    if kind == "attention":
        q, k, v = map(exact, attention_data(work))
        scores = q @ k.swapaxes(2, 3) / math.sqrt(work["head"])
        if work["causal"]:
            scores[..., masked(work["queries"], work["keys"])] = -np.inf
        return softmax(scores) @ v
    shape = [work["rows"], work["cols"]]
    x = exact(data(0, shape))
    if work["op"] == "add":
        return x + exact(data(1, shape))
    if work["op"] == "gelu":
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    if work["op"] == "layer_norm":
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return softmax(x) if work["op"] == "softmax" else np.maximum(x, 0)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def convolution(work, x, w):
    """One sum over the group's channels for each tap of the kernel."""
    (top, left, bottom, right), (sh, sw), (dh, dw) = work["pad"], work["stride"], work["dilation"]
    x = np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)])
    groups, (_, _, oh, ow) = work["groups"], conv_shape(work)
    y = np.zeros(conv_shape(work))
    for group in range(groups):
        channels = slice(group * x.shape[1] // groups, (group + 1) * x.shape[1] // groups)
        outputs = slice(group * w.shape[0] // groups, (group + 1) * w.shape[0] // groups)
        for i in range(w.shape[2]):
            for j in range(w.shape[3]):
                taken = x[:, channels, i * dh :, j * dw :][:, :, : (oh - 1) * sh + 1 : sh, : (ow - 1) * sw + 1 : sw]
                y[:, outputs] += np.einsum("nchw,oc->nohw", taken, w[outputs, :, i, j])
    return y


def model_work(path):
    """The model with every symbolic dim as 1, and its first output by onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    shapes = {value.name: [dim if isinstance(dim, int) else 1 for dim in value.shape] for value in session.get_inputs()}
    feeds = {value.name: data(number, shapes[value.name], integers=value.type == "tensor(int64)")
             for number, value in enumerate(session.get_inputs())}
    return {"kind": "model", "path": path, "inputs": shapes}, session.run(None, feeds)[0]


def check(peer, work, wanted):
    """What went, and whether it was right."""
    prepared = peer.ask(do="prepare", work=work)
    if not prepared["ok"]:
        return "refused: " + prepared["why"].splitlines()[0][:90], None
    wanted = np.asarray(wanted, np.float64).reshape(-1)
    # Every element of a small result, else a spread that meets all rows and columns over time.
    at = list(range(wanted.size)) if wanted.size <= 4096 else [i * 7919 % wanted.size for i in range(4096)]
    first = peer.ask(do="result", at=at).get("values")
    timed = peer.ask(do="time", repeats=3)
    again = peer.ask(do="result", at=at).get("values")
    if first is None or again is None or not timed.get("wall", 0) > 0:
        return f"broken answers: {timed}", False
    worst = 0.0
    # NaN compares as wrong. Errors are measured against the largest result: sums cancel.
    for values in (first, again):
        if None in values:
            return "NaN or infinity", False
        worst = max(worst, float(np.abs(np.asarray(values) - wanted[at]).max() / np.abs(wanted).max()))
    # f32 sums of some hundred products in any order; f16 stores 11 bits and may also sum in them.
    bound = 2e-2 if work.get("dtype") == "f16" else 2e-5 if work["kind"] != "model" else 1e-3
    return f"error {worst:.1e}, first {prepared['first_seconds']:.3f} s", bool(worst <= bound)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], metavar="FILE.onnx", help="also run this model")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if not options.command:
        parser.error("which peer?")
    peer = Peer(options.command)
    print("{peer} {version} on {device}".format(**peer.hello))
    cases = [(name, work, expected(work)) for name, work in CASES.items()]
    cases += [(f"model {path.split('/')[-2:]}", *model_work(path)) for path in options.model]
    wrong, right = 0, 0
    for name, work, wanted in cases:
        said, ok = check(peer, work, wanted)
        wrong, right = wrong + (ok is False), right + (ok is True)
        print(f"{name:32} {'-' if ok is None else 'ok' if ok else 'WRONG':6} {said}", flush=True)
    ended = peer.quit()
    print(f"{right} right, {wrong} wrong, {len(cases) - right - wrong} refused; the peer ended with {ended}")
    sys.exit(1 if wrong or not right or ended else 0)


if __name__ == "__main__":
    main()
