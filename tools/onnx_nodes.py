#!/usr/bin/env python3
"""Judges a runner by the operator tests that the onnx package carries in code.

    onnx_nodes.py WORK 'RUNNER {list} {out}'       (needs onnx and numpy)

Writes every test whose inputs and outputs are numeric tensors to WORK/suite/node/NAME (model.onnx, test_data_set_K/
input_I.pb, output_I.pb), runs the runner once with a list of the folders, and compares WORK/out/node/NAME/test_data_set_K/
output_I.pb with each test's own tolerance. Prints FAIL lines and `# onnx: PASSED/TESTS`; fails only if nothing ran.
"""
import os
import shutil
import subprocess
import sys

import numpy as np
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases

NUMERIC = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.BOOL,
           TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
           TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64}


def in_scope(model):
    """Numeric tensors in and out, of the standard domain, and not of the operators that train."""
    types = [value.type for value in [*model.graph.input, *model.graph.output]]
    return (all(t.HasField("tensor_type") and t.tensor_type.elem_type in NUMERIC for t in types)
            and all(entry.domain in ("", "ai.onnx") for entry in model.opset_import))


def proto(value, name):
    return value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name)


def write(case, folder):
    os.makedirs(folder)
    with open(f"{folder}/model.onnx", "wb") as file:
        file.write(case.model.SerializeToString())
    for k, (inputs, outputs) in enumerate(case.data_sets):
        os.makedirs(f"{folder}/test_data_set_{k}")
        for kind, values, infos in (("input", inputs, case.model.graph.input),
                                    ("output", outputs, case.model.graph.output)):
            for i, (value, info) in enumerate(zip(values, infos)):
                with open(f"{folder}/test_data_set_{k}/{kind}_{i}.pb", "wb") as file:
                    file.write(proto(value, info.name).SerializeToString())


def read(path):
    tensor = TensorProto()
    with open(path, "rb") as file:
        tensor.ParseFromString(file.read())
    return numpy_helper.to_array(tensor)


def why_not(case, folder, answer):
    """None if the answer agrees, else the reason."""
    for k, (_, outputs) in enumerate(case.data_sets):
        for i in range(len(outputs)):
            name = f"test_data_set_{k}/output_{i}.pb"
            if not os.path.exists(f"{answer}/{name}"):
                return f"no {name}"
            got, want = read(f"{answer}/{name}"), read(f"{folder}/{name}")
            if got.shape != want.shape or got.dtype != want.dtype:
                return f"{name}: {got.dtype}{list(got.shape)}, expected {want.dtype}{list(want.shape)}"
            if want.dtype.kind in "biu":
                close = got == want
            else:
                with np.errstate(all="ignore"):
                    close = np.isclose(got.astype(np.float64), want.astype(np.float64), case.rtol, case.atol,
                                       equal_nan=True)
            if not close.all():
                return f"{name}: {(~close).sum()} of {close.size} values differ"
    return None


def main():
    work, runner = sys.argv[1:]
    shutil.rmtree(work, ignore_errors=True)
    out = f"{work}/out"
    os.makedirs(out)
    cases = {f"node/{case.name}": case for case in collect_testcases(None) if in_scope(case.model)}
    for name, case in cases.items():
        write(case, f"{work}/suite/{name}")
    with open(f"{work}/list", "w") as file:
        file.writelines(f"{work}/suite/{name}\n" for name in cases)
    subprocess.run(runner.replace("{list}", f"{work}/list").replace("{out}", out), shell=True, timeout=1800, check=False)
    reasons = {}
    if os.path.exists(f"{out}/errors.txt"):
        with open(f"{out}/errors.txt", errors="replace") as file:
            reasons = dict(line.rstrip("\n").partition("\t")[::2] for line in file)
    passed = 0
    for name, case in sorted(cases.items()):
        reason = reasons.get(name) or why_not(case, f"{work}/suite/{name}", f"{out}/{name}")
        passed += reason is None
        if reason:
            print(f"FAIL {name} {reason}")
    print(f"# onnx: {passed}/{len(cases)}")


if __name__ == "__main__":
    main()
