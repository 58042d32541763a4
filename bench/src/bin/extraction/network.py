"""A multilayer perceptron of one hidden layer in numpy: victims, clones and the substitutes of Jacobian augmentation.

Everything is seeded and single-threaded, so that the same seed gives the same network on the same numpy.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Network:
    """input -> hidden (ReLU) -> classes (softmax), trained by Adam on hard or soft labels."""

    def __init__(self, inputs, hidden, classes, seed):
        self.rng = np.random.default_rng(seed)
        self.weights = [
            self.rng.normal(0, (2 / inputs) ** 0.5, (inputs, hidden)).astype(np.float32),
            np.zeros(hidden, np.float32),
            self.rng.normal(0, (1 / hidden) ** 0.5, (hidden, classes)).astype(np.float32),
            np.zeros(classes, np.float32),
        ]

    def forward(self, x):
        hidden = np.maximum(x @ self.weights[0] + self.weights[1], 0)
        logits = hidden @ self.weights[2] + self.weights[3]
        logits -= logits.max(axis=1, keepdims=True)
        scores = np.exp(logits)
        return hidden, scores / scores.sum(axis=1, keepdims=True)

    def predict(self, x):
        return self.forward(x.astype(np.float32))[1]

    def fit(self, x, y, steps, batch=64, rate=3e-3, decay=1e-4):
        x, y = x.astype(np.float32), y.astype(np.float32)
        first = [np.zeros_like(w) for w in self.weights]
        second = [np.zeros_like(w) for w in self.weights]
        for step in range(1, steps + 1):
            rows = self.rng.integers(0, len(x), batch) if len(x) > batch else np.arange(len(x))
            hidden, scores = self.forward(x[rows])
            error = (scores - y[rows]) / len(rows)
            back = (error @ self.weights[2].T) * (hidden > 0)
            slopes = [x[rows].T @ back, back.sum(0), hidden.T @ error, error.sum(0)]
            pace = rate * min(1.0, 2 * (1 - step / (steps + 1)))
            for w, g, m, v in zip(self.weights, slopes, first, second):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                w -= pace * (m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8) + decay * w)
        return self

    def slope_of_label(self, x):
        """The gradient of the probability of each row's own label with respect to its input."""
        hidden, scores = self.forward(x.astype(np.float32))
        rows, label = np.arange(len(x)), scores.argmax(axis=1)
        error = -scores * scores[rows, label][:, None]
        error[rows, label] += scores[rows, label]
        return ((error @ self.weights[2].T) * (hidden > 0)) @ self.weights[0].T

    def save(self, path, scale):
        """As ONNX: input `x` [N, inputs], multiplied by `scale` first; output `probabilities`."""
        constants = dict(zip(("w1", "b1", "w2", "b2"), self.weights)) | {"scale": np.array(scale, np.float32)}
        nodes = [
            helper.make_node("Mul", ["x", "scale"], ["scaled"]),
            helper.make_node("Gemm", ["scaled", "w1", "b1"], ["sum"]),
            helper.make_node("Relu", ["sum"], ["hidden"]),
            helper.make_node("Gemm", ["hidden", "w2", "b2"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ]
        graph = helper.make_graph(
            nodes,
            "victim",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", self.weights[0].shape[0]])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(self.weights[3])])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        onnx.save(model, path)
