"""The three worlds of the measurement: digits, MNIST and Adult. Each is a victim, real data and data from elsewhere.

Images are real ones moved at random (rotation, scale, shear, shift; values kept on the 8-bit or 16-level grid), so that a
client-month of 10,000 queries has fresh images. The base images are split before they are moved: those of the victim's
training, of the sealed reference sample, of the development half and of the test half share no image. Adult's rows are
real and unchanged. All inputs are in [0, 1].
"""

import gzip
from pathlib import Path

import numpy as np
import onnxruntime
from sklearn.datasets import load_digits

from network import Network

VICTIM_SEED = 7


class World:
    """What a run needs to know of one data set; `draw` gives fresh real rows of a part, `elsewhere` foreign ones."""

    def __init__(self, name, shape, classes, parts, moves, levels, foreign):
        self.name, self.shape, self.classes = name, shape, classes
        self.parts, self.moves, self.levels, self.foreign = parts, moves, levels, foreign
        self.inputs = int(np.prod(shape))

    def draw(self, part, count, rng, replace=True):
        rows = self.parts[part]
        chosen = rng.choice(len(rows), count, replace=replace or count > len(rows))
        if self.moves is None:
            return rows[chosen]
        moved = move(rows[chosen].reshape(-1, *self.shape[-2:]), self.moves, rng)
        return (np.round(moved * self.levels) / self.levels).reshape(count, -1).astype(np.float32)

    def elsewhere(self, kind, part, count, rng):
        return self.foreign(kind, part, count, rng)


def move(images, moves, rng):
    """Each image under its own affine map, bilinear, zero outside."""
    count, height, width = images.shape
    angle = rng.uniform(-1, 1, count) * np.deg2rad(moves["angle"])
    scale = 1 + rng.uniform(-1, 1, count) * moves["scale"]
    shear = rng.uniform(-1, 1, count) * moves["shear"]
    shift = rng.uniform(-1, 1, (count, 2)) * moves["shift"]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y.ravel() - (height - 1) / 2, x.ravel() - (width - 1) / 2
    cos, sin = (np.cos(angle) / scale)[:, None], (np.sin(angle) / scale)[:, None]
    from_y = cos * y - sin * x + shift[:, :1] + (height - 1) / 2
    from_x = sin * y + cos * x + shear[:, None] * y + shift[:, 1:] + (width - 1) / 2
    padded = np.pad(images, ((0, 0), (1, 2), (1, 2)))
    from_y, from_x = np.clip(from_y, -1, height) + 1, np.clip(from_x, -1, width) + 1
    top, left = from_y.astype(int), from_x.astype(int)
    down, right = from_y - top, from_x - left
    rows = np.arange(count)[:, None]
    value = (1 - down) * ((1 - right) * padded[rows, top, left] + right * padded[rows, top, left + 1])
    value += down * ((1 - right) * padded[rows, top + 1, left] + right * padded[rows, top + 1, left + 1])
    return value.reshape(images.shape)


def split(rows, sizes, seed):
    order = np.random.default_rng(seed).permutation(len(rows))
    ends = np.cumsum(sizes)
    assert ends[-1] <= len(rows), (ends, len(rows))
    return [order[end - size : end] for size, end in zip(sizes, ends)]


def idx(path):
    with gzip.open(path) as file:
        data = file.read()
    dims = data[3]
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dims).reshape(shape)


def photographs(data, size):
    """CIFAR-10 in grey: whole (`scenes`) or enlarged crops (`textures`), the development half apart from the test half."""
    archive = np.load(data / "cifar10" / "cifar10-subset.npz")
    grey = np.concatenate([archive["x_train"], archive["x_test"]]).astype(np.float32).mean(axis=3) / 255
    halves = {"dev": grey[0::2], "test": grey[1::2]}

    def draw(kind, part, count, rng):
        chosen = halves[part][rng.choice(len(halves[part]), count, replace=count > len(halves[part]))]
        side = 32 if kind == "scenes" else 16
        corner = rng.integers(0, 33 - side, (count, 2))
        step = (np.arange(size) + 0.5) * side / size
        y = corner[:, :1] + step[None].astype(int)
        x = corner[:, 1:] + step[None].astype(int)
        picked = chosen[np.arange(count)[:, None, None], y[:, :, None], x[:, None, :]]
        flip = rng.random(count) < 0.5
        picked[flip] = picked[flip, :, ::-1]
        return (np.round(picked * 255) / 255).reshape(count, -1).astype(np.float32)

    return draw


def mnist(data):
    images = idx(data / "mnist" / "t10k-images-idx3-ubyte.gz").astype(np.float32) / 255
    labels = idx(data / "mnist" / "t10k-labels-idx1-ubyte.gz").astype(int)
    train, reference, dev, test = split(images, [3500, 3000, 1500, 2000], 1)
    parts = {"train": images[train], "reference": images[reference], "dev": images[dev], "test": images[test]}
    moves = {"angle": 12, "scale": 0.1, "shear": 0.1, "shift": 1.5}
    world = World("mnist", (1, 28, 28), 10, parts, moves, 255, photographs(data, 28))
    world.labels = labels[train]
    return world


def digits(data):
    raw = load_digits()
    images = (raw.images / 16).astype(np.float32)
    train, dev, test = split(images, [897, 400, 500], 2)
    # The victim of examples/ was trained on rows of each part, so no part of it is fresh to the victim.
    parts = {"train": images[train], "reference": images[train], "dev": images[dev], "test": images[test]}
    moves = {"angle": 12, "scale": 0.1, "shear": 0.1, "shift": 0.6}
    world = World("digits", (1, 8, 8), 10, parts, moves, 16, photographs(data, 8))
    world.labels = raw.target[train]
    return world


def adult(data):
    names = ["adult-train.csv", "adult-test.csv"]
    text = [[cell.strip() for cell in line.split(",")] for name in names for line in open(data / "adult" / name)]
    rows = [row for row in text if len(row) == 15]
    label = np.array([row[14].startswith(">50K") for row in rows]).astype(int)
    numbers = np.array([[float(row[i]) for i in (0, 4, 10, 11, 12)] for row in rows])
    numbers[:, 2:4] = np.log1p(numbers[:, 2:4])
    numbers = (numbers - numbers.min(axis=0)) / np.ptp(numbers, axis=0)
    columns, groups = [numbers], []
    for i in (1, 5, 6, 7, 8, 9, 13):
        values = sorted({row[i] for row in rows})
        columns.append(np.array([[row[i] == value for value in values] for row in rows], dtype=np.float32))
        groups.append(len(values))
    table = np.concatenate(columns, axis=1).astype(np.float32)
    train, reference, dev, test = split(table, [14000, 4000, 14500, 16000], 3)
    parts = {"train": table[train], "reference": table[reference], "dev": table[dev], "test": table[test]}

    def draw(kind, part, count, rng):
        """`scenes`: each column's value from a row of its own (product of marginals); `textures`: uniform values."""
        made = np.zeros((count, table.shape[1]), np.float32)
        bounds = np.cumsum([0] + [1] * 5 + groups)
        for low, high in zip(bounds[:-1], bounds[1:]):
            if kind == "scenes":
                made[:, low:high] = parts[part][rng.choice(len(parts[part]), count), low:high]
            elif high - low == 1:
                made[:, low] = rng.random(count)
            else:
                made[np.arange(count), low + rng.integers(0, high - low, count)] = 1
        return made

    world = World("adult", (table.shape[1],), 2, parts, None, None, draw)
    world.labels = label[train]
    return world


WORLDS = {"digits": digits, "mnist": mnist, "adult": adult}


def victim(world, cache, examples):
    """The victim's ONNX file, made once; a function from rows to probabilities, run by onnxruntime on one thread."""
    path = cache / f"{world.name}.onnx"
    scale = 1.0
    if world.name == "digits":
        path, scale = Path(examples) / "digits" / "digits.onnx", 16.0
    elif not path.exists():
        rng = np.random.default_rng(VICTIM_SEED)
        copies = 6 if world.moves else 1
        order = np.tile(np.arange(len(world.parts["train"])), copies)
        x = world.parts["train"][order].reshape(len(order), -1)
        if world.moves:
            x = move(x.reshape(-1, *world.shape[-2:]), world.moves, rng).reshape(len(order), -1)
        y = np.eye(world.classes)[world.labels[order]]
        network = Network(world.inputs, 128, world.classes, VICTIM_SEED).fit(x, y, 4000, batch=128)
        network.save(path, 1.0)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def answer(rows):
        rows = np.asarray(rows, np.float32).reshape(len(rows), -1) * np.float32(scale)
        return session.run(None, {name: rows})[0].reshape(len(rows), world.classes).astype(np.float32)

    return answer
