"""Median times of one run, in microseconds: of Python's onnxruntime, then of the library that the model comes from (`-` where it is not installed).

    peer.py MODEL INPUT SHAPE WARM RUNS

PyTorch runs the networks of examples/ without gradients (its time does not hang on the weights), scikit-learn the trees, grown again as examples/models/trees.py grew
them. One thread each.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
SEED = 11


def onnx(model, name, data):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {name: data})


def network(stem, data):
    import torch

    torch.set_num_threads(1)
    folder, kind = {"digits": ("digits", "train.Digits"), "residual": ("models", "networks.Residual")}[stem]
    sys.path.insert(0, str(EXAMPLES / folder))
    module, name = kind.split(".")
    model = getattr(__import__(module), name)().eval()
    tensor = torch.from_numpy(data)

    def run():
        with torch.inference_mode():
            return model(tensor)

    return run


def trees(stem, data):
    from sklearn.datasets import load_digits, load_iris
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

    if stem == "forest_deep":
        known = load_digits()
        model = RandomForestClassifier(6, max_depth=None, random_state=SEED, n_jobs=1)
    else:
        known = load_iris()
        model = GradientBoostingClassifier(n_estimators=15, random_state=SEED)
    model.fit(known.data, known.target)
    return lambda: model.predict_proba(data)


def median(run, warm, runs):
    times = []
    for number in range(warm + runs):
        start = time.perf_counter()
        run()
        if number >= warm:
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def main():
    model, name, shape, warm, runs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
    stem = Path(model).stem
    data = (np.arange(np.prod(shape)) * 7919 % 17).astype(np.float32).reshape(shape)
    print(median(onnx(model, name, data), warm, runs))
    try:
        source = (network if stem in ("digits", "residual") else trees)(stem, data)
    except ImportError as error:
        print("-")
        print(f"{stem}: {error}", file=sys.stderr)
    else:
        print(median(source, warm, runs))


if __name__ == "__main__":
    main()
