"""Train the digits classifier and export it to ONNX, with expected outputs.

Data: UCI "Optical Recognition of Handwritten Digits" (test part, 1,797 images of 8x8 pixels, values 0 to 16), as scikit-learn's load_digits ships it.
The split is stratified and seeded; every number in README.md comes from this script. Run it in a virtual environment with requirements.txt:

    python train.py
"""

import json
import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import sklearn
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).resolve().parent
SEED = 20_240_617
TEST_SHARE = 0.25
EPOCHS = 60
BATCH = 64


class Digits(nn.Module):
    """Two convolutions, max-pool, two linear layers; takes 64 raw pixels and gives ten probabilities."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.hidden = nn.Linear(32 * 4 * 4, 64)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(64, 10)

    def logits(self, pixels):
        image = (pixels / 16.0).reshape(-1, 1, 8, 8)
        image = torch.relu(self.first(image))
        image = self.pool(torch.relu(self.second(image)))
        hidden = torch.relu(self.hidden(image.reshape(-1, 32 * 4 * 4)))
        return self.out(self.drop(hidden))

    def forward(self, pixels):
        return torch.softmax(self.logits(pixels), dim=1)


def wilson(correct, total, z=1.959964):
    """The Wilson score interval of a proportion (Wilson 1927), 95% by default."""
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return centre - half, centre + half


def shifted(images, generator):
    """Each image moved by at most one pixel, the edge filled with 0."""
    padded = nn.functional.pad(images.reshape(-1, 1, 8, 8), (1, 1, 1, 1))
    out = torch.empty(len(images), 64)
    moves = torch.randint(0, 3, (len(images), 2), generator=generator)
    for index, (row, column) in enumerate(moves.tolist()):
        out[index] = padded[index, 0, row : row + 8, column : column + 8].reshape(64)
    return out


def train(pixels, labels):
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(SEED)
    model = Digits()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    loss = nn.CrossEntropyLoss()
    for _ in range(EPOCHS):
        order = torch.randperm(len(pixels), generator=generator)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            optimiser.zero_grad()
            loss(model.logits(shifted(pixels[chosen], generator)), labels[chosen]).backward()
            optimiser.step()
        schedule.step()
    return model.eval()


def export(model, path):
    torch.onnx.export(
        model,
        (torch.zeros(2, 64),),
        path,
        input_names=["pixels"],
        output_names=["probabilities"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=18,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    proto = onnx.load(path)
    for node in proto.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    del proto.graph.value_info[:]
    del proto.metadata_props[:]
    del proto.graph.metadata_props[:]
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def main():
    data = load_digits()
    pixels = data.data.astype(np.float32)
    labels = data.target.astype(np.int64)
    train_rows, test_rows = train_test_split(
        np.arange(len(labels)), test_size=TEST_SHARE, random_state=SEED, stratify=labels
    )
    model = train(torch.from_numpy(pixels[train_rows]), torch.from_numpy(labels[train_rows]))
    export(model, HERE / "digits.onnx")

    session = onnxruntime.InferenceSession(HERE / "digits.onnx", providers=["CPUExecutionProvider"])
    scores = session.run(["probabilities"], {"pixels": pixels[test_rows]})[0]
    with torch.no_grad():
        difference = np.abs(model(torch.from_numpy(pixels[test_rows])).numpy() - scores).max()
    assert difference < 1e-5, difference
    correct = int((scores.argmax(axis=1) == labels[test_rows]).sum())
    low, high = wilson(correct, len(test_rows))

    images = [
        {
            "row": int(row),
            "label": int(labels[row]),
            "pixels": [int(value) for value in pixels[row]],
            "probabilities": [float(f"{value:.7g}") for value in score],
        }
        for row, score in zip(test_rows, scores)
    ]
    summary = {
        "seed": SEED,
        "train": len(train_rows),
        "test": len(test_rows),
        "correct": correct,
        "accuracy": round(correct / len(test_rows), 4),
        "wilson_95": [round(low, 4), round(high, 4)],
        "versions": {
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "scikit-learn": sklearn.__version__,
            "torch": torch.__version__.split("+")[0],
        },
    }
    lines = ",\n".join(json.dumps(image, separators=(",", ":")) for image in images)
    (HERE / "expected.json").write_text(
        '{"summary":' + json.dumps(summary, separators=(",", ":")) + ',\n"images":[\n' + lines + "\n]}\n"
    )

    example = max(
        (image for image in images if image["label"] == 7 and np.argmax(image["probabilities"]) == 7),
        key=lambda image: max(image["probabilities"]),
    )
    request = {
        "inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": example["pixels"]}]
    }
    (HERE / "request.json").write_text(json.dumps(request, separators=(",", ":")) + "\n")
    answer = {"row": example["row"], "label": 7, "probability": max(example["probabilities"])}
    (HERE / "answer.json").write_text(json.dumps(answer, separators=(",", ":")) + "\n")
    print(json.dumps(summary, indent=2), difference)


if __name__ == "__main__":
    main()
