"""Networks in PyTorch, small and with seeded random weights, exported at several opsets.

    python networks.py
"""

import io

import numpy as np
import onnx
import torch
from fixture import write
from torch import nn

SEED = 7


class PaddedPool(nn.Module):
    """Convolutions with stride and groups; a max-pool whose padding must never win against negative values."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.out = nn.Linear(8 * 3 * 3, 5)

    def forward(self, x):
        x = self.pool(self.first(x) - 3.0)
        x = torch.relu(self.second(x) + 2.0)
        return torch.softmax(self.out(torch.flatten(x, 1)), dim=1)


class Normalised(nn.Module):
    """BatchNormalization where no convolution can swallow it, and behind one."""

    def __init__(self):
        super().__init__()
        self.before = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 6, 3, bias=False)
        self.after = nn.BatchNorm2d(6)
        self.out = nn.Linear(6 * 4 * 4, 4)
        for norm in (self.before, self.after):
            nn.init.normal_(norm.weight, 1.0, 0.2)
            nn.init.normal_(norm.bias, 0.0, 0.2)
            norm.running_mean.normal_(0.0, 0.3)
            norm.running_var.uniform_(0.5, 2.0)

    def forward(self, x):
        x = self.after(torch.relu(self.conv(self.before(x))))
        return torch.softmax(self.out(torch.flatten(x, 1)), dim=1)


class Residual(nn.Module):
    """A residual block with a projected shortcut, then the mean over all positions."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.first = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.shortcut = nn.Conv2d(8, 16, 1, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.out = nn.Linear(16, 10)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(self.shortcut(x) + self.second(torch.relu(self.first(x))))
        return torch.softmax(self.out(self.pool(x).flatten(1)), dim=1)


class Recurrent(nn.Module):
    """A bidirectional LSTM over a sequence; the last step is read."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 8, batch_first=True, bidirectional=True)
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        steps, _ = self.lstm(x)
        return torch.softmax(self.out(steps[:, -1]), dim=1)


class Attention(nn.Module):
    """One pre-norm transformer block over 6 tokens, two heads, GELU; then a classifier."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(20, 16)
        self.norm1 = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.project = nn.Linear(16, 16)
        self.norm2 = nn.LayerNorm(16)
        self.up = nn.Linear(16, 32)
        self.down = nn.Linear(32, 16)
        self.out = nn.Linear(16, 4)

    def forward(self, ids):
        x = self.tokens(ids)
        batch = x.shape[0]
        q, k, v = self.qkv(self.norm1(x)).reshape(batch, 6, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-1, -2) / 8.0**0.5, dim=-1)
        x = x + self.project((weights @ v).transpose(1, 2).reshape(batch, 6, 16))
        x = x + self.down(nn.functional.gelu(self.up(self.norm2(x))))
        return torch.softmax(self.out(x.mean(dim=1)), dim=-1)


def export(model, example, input_name, opset, dynamo):
    if dynamo:
        program = torch.onnx.export(
            model,
            (example,),
            input_names=[input_name],
            output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
        return program.model_proto
    buffer = io.BytesIO()
    torch.onnx.export(
        model,
        (example,),
        buffer,
        input_names=[input_name],
        output_names=["probabilities"],
        dynamic_axes={input_name: {0: "batch"}, "probabilities": {0: "batch"}},
        opset_version=opset,
        dynamo=False,
    )
    return onnx.load_from_string(buffer.getvalue())


def fixture(name, model, example, opset, input_name="x", dynamo=True):
    model = model.eval()
    proto = export(model, example, input_name, opset, dynamo)
    with torch.no_grad():
        reference = {"probabilities": model(example).numpy()}
    write(name, proto, {input_name: example.numpy()}, reference)


def main():
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    mlp = nn.Sequential(
        nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3), nn.Softmax(dim=1)
    )
    fixture("mlp", mlp, torch.randn(5, 12), 18)
    fixture("mlp_opset9", mlp, torch.randn(3, 12), 9, dynamo=False)
    pool = PaddedPool()
    fixture("cnn_padded_pool", pool, torch.randn(3, 2, 12, 12), 20)
    fixture("cnn_padded_pool_opset11", pool, torch.randn(2, 2, 12, 12), 11, dynamo=False)
    fixture("batch_norm", Normalised(), torch.randn(3, 3, 6, 6), 17, dynamo=False)
    fixture("residual", Residual(), torch.randn(3, 1, 10, 10), 18)
    fixture("residual_opset13", Residual(), torch.randn(2, 1, 10, 10), 13, dynamo=False)
    fixture("lstm", Recurrent(), torch.randn(4, 7, 5), 14, dynamo=False)
    attention = Attention()
    fixture("attention", attention, torch.randint(0, 20, (3, 6)), 20, input_name="ids")
    fixture("attention_opset17", attention, torch.randint(0, 20, (2, 6)), 17, "ids", dynamo=False)


if __name__ == "__main__":
    main()
