"""The median time of one run in Python's onnxruntime, in microseconds: MODEL INPUT SHAPE WARM RUNS."""

import json
import statistics
import sys
import time

import numpy as np
import onnxruntime

model, name, shape, warm, runs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
data = (np.arange(np.prod(shape)) * 7919 % 17).astype(np.float32).reshape(shape)
times = []
for run in range(warm + runs):
    start = time.perf_counter()
    session.run(None, {name: data})
    if run >= warm:
        times.append(time.perf_counter() - start)
print(statistics.median(times) * 1e6)
