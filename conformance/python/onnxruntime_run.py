"""Run ONNX Runtime on every model of a folder with 100 random inputs, or name its library.

    python onnxruntime_run.py library
    python onnxruntime_run.py run MODELS OUT SEED

For each MODELS/NAME.onnx, OUT/NAME.json holds `{"inputs": [tensor], "outputs": [tensor]}`; tensors as in examples/models/fixture.py. A batch of 100 is used where the first dimension is free.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

ROWS = 100
DATATYPES = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32", "bool": "BOOL"}
RANDOM = {
    "tensor(float)": lambda rng, shape: (rng.normal(size=shape) * 3).astype(np.float32),
    "tensor(double)": lambda rng, shape: rng.normal(size=shape).astype(np.float32).astype(np.float64),
    "tensor(int64)": lambda rng, shape: rng.integers(0, 20, size=shape),
    "tensor(bool)": lambda rng, shape: rng.random(shape) < 0.5,
}


def tensor(name, array):
    if isinstance(array, list):
        array = np.array([list(row.values()) for row in array], dtype=np.float32)
    array = np.asarray(array)
    if array.dtype.kind in "OU":
        datatype, data = "BYTES", [str(value) for value in array.reshape(-1)]
    else:
        datatype, data = DATATYPES[array.dtype.name], array.reshape(-1).tolist()
    if array.dtype.kind == "f":
        data = [None if np.isnan(value) else float(f"{value:.9g}") for value in data]
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": data}


def main():
    if sys.argv[1] == "library":
        folder = Path(onnxruntime.__file__).resolve().parent / "capi"
        (library,) = folder.glob("libonnxruntime.so.*")
        print(library)
        return
    models, out, seed = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    for path in sorted(models.glob("*.onnx")):
        rng = np.random.default_rng([seed, *path.stem.encode()])
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        inputs = {}
        for value in session.get_inputs():
            free = not isinstance(value.shape[0], int)
            shape = [ROWS if free else value.shape[0], *value.shape[1:]]
            shape = [7 if not isinstance(size, int) else size for size in shape]
            inputs[value.name] = RANDOM[value.type](rng, shape)
        names = [value.name for value in session.get_outputs()]
        outputs = session.run(None, inputs)
        body = {
            "inputs": [tensor(name, array) for name, array in inputs.items()],
            "outputs": [tensor(name, array) for name, array in zip(names, outputs)],
        }
        (out / f"{path.stem}.json").write_text(json.dumps(body))


if __name__ == "__main__":
    main()
