"""What `mark` cannot do itself: queries with the victim's answers, and models trained on marked answers and without them.

    learners.py queries CACHE EXAMPLES WORLD RUNS
    learners.py train CACHE EXAMPLES WORLD RUNS ROWS

Between the two, `mark` decides which answers are marked. Worlds are those of `../extraction`. The networks of all runs of a row train side by side, as one batch of
matrices, each on its own data from its own seed. What is there already is not made again.

CACHE/WORLD/sample.q      real rows, to learn the form of inputs from
CACHE/WORLD/POOL-RUN.q    queries and the victim's answers       CACHE/WORLD/POOL-RUN.marks.json   [[query, honest, marked], ..]
CACHE/WORLD/ROW.json      the clones' labels for the marked queries, and their fidelity, by run
CACHE/WORLD/independent.json, forged.json   labels of models that nobody stole, for all marked queries and for forged claims
"""

import json
import os
import struct
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "extraction"))
from worlds import WORLDS, move, victim  # noqa: E402

# Queries of a run; a claim on n of them holds the marks among the first n.
MOST = 5000
POOLS = ["in-distribution", "foreign"]
# Epochs and hidden units of a clone that is trained until it knows its data; steps and hidden units of one that is stopped early.
LONG = (100, 128)
SHORT = (1000, 64)
NULL, SUSPECTS = 16, 10
FORGED, FORGED_MARKS = 20, 30


def write(path, rows, answers):
    temporary = path.with_suffix(".part")
    with open(temporary, "wb") as file:
        file.write(struct.pack("<III", len(rows), rows.shape[1], answers.shape[1]))
        file.write(rows.astype("<f4").tobytes() + answers.astype("<f4").tobytes())
    temporary.rename(path)


def read(path):
    data = path.read_bytes()
    count, inputs, classes = struct.unpack("<III", data[:12])
    floats = np.frombuffer(data, "<f4", offset=12)
    return floats[: count * inputs].reshape(count, inputs), floats[count * inputs :].reshape(count, classes)


def queries(world, answer, folder, runs):
    for number in range(runs):
        for pool in POOLS:
            path = folder / f"{pool}-{number}.q"
            if not path.exists():
                rng = np.random.default_rng([41, POOLS.index(pool), number])
                draw = world.draw("test", MOST, rng) if pool == POOLS[0] else world.elsewhere("scenes", "test", MOST, rng)
                write(path, draw, answer(draw))
    if not (folder / "sample.q").exists():
        rows = world.draw("reference", 2000, np.random.default_rng(43))
        write(folder / "sample.q", rows, answer(rows))


def marked(folder, pool, number, count):
    """The first `count` queries of a run, and what the client was told."""
    rows, answers = (part[:count].copy() for part in read(folder / f"{pool}-{number}.q"))
    marks = [mark for mark in json.loads((folder / f"{pool}-{number}.marks.json").read_text()) if mark[0] < count]
    for query, honest, label in marks:
        answers[query, [honest, label]] = answers[query, [label, honest]]
    return rows, answers, [query for query, _, _ in marks]


class Networks:
    """One network for each of several data sets: input -> hidden (ReLU) -> classes (softmax), by Adam on hard or soft labels."""

    def __init__(self, weights):
        self.weights = weights

    @classmethod
    def fresh(cls, count, inputs, hidden, classes, seed):
        dice = torch.Generator().manual_seed(seed)
        normal = lambda *shape: torch.randn(count, *shape, generator=dice)
        return cls([
            normal(inputs, hidden) * (2 / inputs) ** 0.5, torch.zeros(count, 1, hidden),
            normal(hidden, classes) * (1 / hidden) ** 0.5, torch.zeros(count, 1, classes),
        ])

    def logits(self, rows):
        first, bias, second, last = self.weights
        return torch.baddbmm(last, torch.relu(torch.baddbmm(bias, rows, first)), second)

    def fit(self, rows, answers, steps, seed, batch=128, rate=3e-3, decay=0.0):
        rows, answers = torch.as_tensor(np.asarray(rows, np.float32)), torch.as_tensor(np.asarray(answers, np.float32))
        dice = torch.Generator().manual_seed(seed)
        for weight in self.weights:
            weight.requires_grad_(True)
        adam = torch.optim.AdamW(self.weights, lr=rate, weight_decay=decay)
        which = torch.arange(len(rows))[:, None]
        for step in range(steps):
            adam.param_groups[0]["lr"] = rate * min(1.0, 2 * (1 - (step + 1) / (steps + 1)))
            drawn = torch.randint(rows.shape[1], (len(rows), batch), generator=dice)
            loss = -(answers[which, drawn] * self.logits(rows[which, drawn]).log_softmax(2)).sum() / batch
            adam.zero_grad()
            loss.backward()
            adam.step()
        self.weights = [weight.detach() for weight in self.weights]
        return self

    def labels(self, rows):
        """Rows are the same for all networks, or a set for each."""
        rows = torch.as_tensor(np.asarray(rows, np.float32))
        if rows.dim() == 2:
            rows = rows.expand(len(self.weights[0]), -1, -1)
        with torch.no_grad():
            return self.logits(rows).argmax(dim=2).numpy()

    def one(self, index):
        return Networks([weight[index : index + 1] for weight in self.weights])


def train(world, rows, answers, how):
    count, length = len(rows), len(rows[0])
    if how == "short":
        fresh = Networks.fresh(count, world.inputs, SHORT[1], world.classes, 1)
        return fresh.fit(rows, answers, SHORT[0], 2, batch=64, decay=1e-4)
    fresh = Networks.fresh(count, world.inputs, LONG[1], world.classes, 1)
    return fresh.fit(rows, answers, LONG[0] * length // 64, 2, batch=64)


# Row: (pool, queries, training, what becomes of the clone or the answers).
ROWS = {
    "in-1000": ("in-distribution", 1000, "long", None),
    "in-2000": ("in-distribution", 2000, "long", None),
    "in-5000": ("in-distribution", 5000, "long", None),
    "in-5000-labels": ("in-distribution", 5000, "long", "labels"),
    "in-5000-short": ("in-distribution", 5000, "short", None),
    "in-5000-unmarked": ("in-distribution", 5000, "long", "unmarked"),
    "in-5000-finetuned": ("in-distribution", 5000, "long", "finetuned"),
    "in-5000-pruned50": ("in-distribution", 5000, "long", "pruned50"),
    "in-5000-pruned80": ("in-distribution", 5000, "long", "pruned80"),
    "foreign-2000": ("foreign", 2000, "long", None),
    "foreign-5000": ("foreign", 5000, "long", None),
}


def changed(networks, how, world):
    """The clones after fine-tuning on 1,000 rows with true labels, or with their smallest weights set to 0."""
    networks = Networks([weight.clone() for weight in networks.weights])
    if how == "finetuned":
        own = [own_data(world, np.random.default_rng([45, run]), 1000) for run in range(len(networks.weights[0]))]
        return networks.fit([rows for rows, _ in own], [truth for _, truth in own], 500, 3, rate=1e-3)
    if how in ("pruned50", "pruned80"):
        for weights in (networks.weights[0], networks.weights[2]):
            for weight in weights:
                weight[weight.abs() < np.quantile(weight.abs().numpy(), int(how[6:]) / 100)] = 0
    return networks


def own_data(world, rng, count):
    """Real rows with their true labels."""
    images = world.parts["train"]
    chosen = rng.choice(len(images), count)
    rows = move(images[chosen].reshape(-1, *world.shape[-2:]), world.moves, rng).reshape(count, -1).astype(np.float32)
    return rows, np.eye(world.classes)[world.labels[chosen]]


def clones(world, answer, folder, runs, names):
    test = world.draw("dev", 2000, np.random.default_rng(44))
    truth = answer(test).argmax(axis=1)
    kept = {}
    for name in names:
        path = folder / f"{name}.json"
        if path.exists():
            continue
        pool, count, training, change = ROWS[name]
        told = [marked(folder, pool, run, count) for run in range(runs)]
        rows, answers = [part[0] for part in told], [part[1] for part in told]
        if change == "unmarked":
            answers = [read(folder / f"{pool}-{run}.q")[1][:count] for run in range(runs)]
        if change == "labels":
            answers = [np.eye(world.classes)[scores.argmax(axis=1)] for scores in answers]
        base = (pool, count, training, change if change in ("unmarked", "labels") else None)
        if base not in kept:
            kept[base] = train(world, rows, answers, training)
        networks = changed(kept[base], change, world)
        fidelity = (networks.labels(test) == truth).mean(axis=1)
        said = [networks.one(run).labels(rows[run][told[run][2]])[0].tolist() for run in range(runs)]
        path.write_text(json.dumps({"labels": said, "fidelity": fidelity.tolist()}))
        print(world.name, name, round(float(fidelity.mean()), 3), flush=True)


def independent(world, count, seed):
    """Models of the same task that saw no answer of the victim: two thirds of its images each, moved anew."""
    sets = []
    for number in range(count):
        rng = np.random.default_rng([46, seed, number])
        kept = rng.permutation(len(world.parts["train"]))[: 2 * len(world.parts["train"]) // 3]
        chosen = kept[rng.integers(0, len(kept), 4000)]
        images = world.parts["train"][chosen].reshape(-1, *world.shape[-2:])
        sets.append((move(images, world.moves, rng).reshape(4000, -1), np.eye(world.classes)[world.labels[chosen]]))
    fresh = Networks.fresh(count, world.inputs, 128, world.classes, 10 + seed)
    return fresh.fit([rows for rows, _ in sets], [truth for _, truth in sets], 1200, 20 + seed, decay=1e-4)


def towards(surrogates, rows, targets, steps=40, reach=0.25):
    """Inputs that all surrogates take for `targets`, at most `reach` away in each number: projected gradient descent on their mean loss."""
    start, goal = torch.as_tensor(rows), torch.as_tensor(targets)
    moved = start.clone()
    for _ in range(steps):
        moved.requires_grad_(True)
        logits = surrogates.logits(moved.expand(len(surrogates.weights[0]), -1, -1))
        loss = sum(torch.nn.functional.cross_entropy(each, goal, reduction="sum") for each in logits)
        (slope,) = torch.autograd.grad(loss, moved)
        moved = (start + (moved.detach() - 0.02 * slope.sign() - start).clamp(-reach, reach)).clamp(0, 1)
    return moved.numpy()


def others(world, answer, folder, runs):
    """Labels of independent models for all marks and for forged claims."""
    if (folder / "forged.json").exists():
        return
    models = independent(world, NULL + SUSPECTS, 0)
    surrogates = independent(world, 3, 1)
    test = world.draw("dev", 2000, np.random.default_rng(44))
    truth = answer(test).argmax(axis=1)
    claims = {}
    for run in range(runs):
        for pool in POOLS:
            rows, _, queries_marked = marked(folder, pool, run, MOST)
            claims[f"{pool}-{run}"] = models.labels(rows[queries_marked]).tolist()
    fidelity = (models.labels(test) == truth).mean(axis=1).tolist()
    (folder / "independent.json").write_text(json.dumps({"null": NULL, "fidelity": fidelity, "claims": claims}))
    rng = np.random.default_rng(47)
    forged = []
    for _ in range(FORGED):
        rows = world.draw("dev", FORGED_MARKS, rng)
        honest = answer(rows).argmax(axis=1)
        target = (honest + rng.integers(1, world.classes, len(rows))) % world.classes
        made = towards(surrogates, rows, target)
        said = models.labels(made).tolist()
        forged.append({"inputs": made.tolist(), "honest": honest.tolist(), "marked": target.tolist(), "labels": said})
    (folder / "forged.json").write_text(json.dumps(forged))
    print(world.name, "independent", round(float(np.mean(fidelity)), 3), flush=True)


def main():
    step, cache, examples, name, runs = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
    torch.set_num_threads(1)
    world = WORLDS[name](Path(os.environ["STOCKADE_TEST_DATA"]))
    folder = cache / name
    folder.mkdir(parents=True, exist_ok=True)
    answer = victim(world, cache, examples)
    if step == "queries":
        queries(world, answer, folder, runs)
    else:
        others(world, answer, folder, runs)
        clones(world, answer, folder, runs, sys.argv[6].split(","))


if __name__ == "__main__":
    main()
