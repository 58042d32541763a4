"""Writes the query streams that `extraction` judges: `streams.py CACHE EXAMPLES WORLD HALF RUNS [BUDGET]`.

KnockoffNets, CopycatCNN, HopSkipJump, Square and Boundary are those of the Adversarial Robustness Toolbox (PyPI
`adversarial-robustness-toolbox`), against the victim as a black box; Jacobian augmentation (Papernot et al. 2017, as PRADA
measures it), its variant with real filler, mixup and the in-distribution draw are written here. A stream that is there
already is not made again. STOCKADE_TEST_DATA names the folder of data; a file HOLD in CACHE pauses the work.

CACHE/WORLD/reference.q        real rows and answers that the operator seals      CACHE/WORLD/HALF/benign.q    honest rows
CACHE/WORLD/HALF/ATTACK-N.q    the queries of one run and the full answers        CACHE/WORLD/HALF/ATTACK-N.json
A `.q` file: u32 rows, inputs, classes; f32 inputs row by row; f32 answers row by row (little-endian). The JSON holds the
fidelity of a clone trained on the first n queries, for each n of `checkpoints`.
"""

import json
import os
import struct
import sys
import time
from pathlib import Path

import numpy as np
from art.attacks.evasion import BoundaryAttack, HopSkipJump, SquareAttack
from art.attacks.extraction import CopycatCNN, KnockoffNets
from art.estimators.classification import BlackBoxClassifier, BlackBoxClassifierNeuralNetwork

from network import Network
from worlds import WORLDS, victim

CHECKPOINTS = [10, 20, 35, 50, 75, 100, 150, 300, 1000]
WALK_CHECKPOINTS = [10, 50, 200]
CLONE = {"hidden": 64, "steps": 1000}
# Real rows of each class that the attacker holds.
SEEDS_PER_CLASS = 2
SEEDS_OF_MIXTURES = 10
JACOBIAN_STEP = 0.1
# A walk has succeeded when an input this near (L2, inputs in [0, 1]) to the image gets another label.
NEAR = {"digits": 0.6, "mnist": 1.5, "adult": 0.35}


class Spent(Exception):
    """The attacker's budget is spent."""


class Oracle:
    """The served model as an attacker sees it, and what it was asked."""

    def __init__(self, answer, budget, classes):
        self.answer, self.budget, self.classes = answer, budget, classes
        self.asked, self.answers, self.count = [], [], 0

    def __call__(self, rows):
        rows = np.asarray(rows, np.float32).reshape(len(rows), -1)
        room = self.budget - self.count
        if room <= 0:
            raise Spent
        scores = self.answer(rows[:room])
        self.asked.append(rows[:room].copy())
        self.answers.append(scores)
        self.count += len(scores)
        if len(scores) < len(rows):
            raise Spent
        return scores

    def log(self):
        return np.concatenate(self.asked), np.concatenate(self.answers)


class Thief(BlackBoxClassifier):
    """The clone that ART trains; the measurement trains its own on each prefix, so this one only takes the labels."""

    def fit(self, x, y, **kwargs):
        self.stolen = len(x)


def black_box(kind, oracle, world):
    return kind(oracle, world.shape, world.classes, clip_values=(0.0, 1.0))


def seeds(world, half, answer, rng, per_class):
    rows = world.draw(half, 4000, rng)
    labels = answer(rows).argmax(axis=1)
    return np.concatenate([rows[labels == label][:per_class] for label in range(world.classes)])


def jacobian(world, half, oracle, rng, filler):
    """Papernot et al. 2017, algorithm 1, with reservoir sampling of 400 rows a round; one filler row per row if asked."""
    def ask(rows):
        if not filler:
            return oracle(rows)
        real = world.draw(half, len(rows), rng)
        mixed = np.stack([rows, real], axis=1).reshape(2 * len(rows), -1)
        return oracle(mixed)[0::2]

    known = seeds(world, half, oracle.answer, rng, SEEDS_PER_CLASS)[rng.permutation(SEEDS_PER_CLASS * world.classes)]
    scores = ask(known)
    fresh, sign = known, 1
    while True:
        substitute = Network(world.inputs, 32, world.classes, int(rng.integers(1 << 30))).fit(known, scores, 250)
        base = known if len(known) <= 400 else known[rng.choice(len(known), 400, replace=False)]
        fresh = np.clip(base + sign * JACOBIAN_STEP * np.sign(substitute.slope_of_label(base)), 0, 1)
        fresh = fresh.astype(np.float32)
        known, scores = np.concatenate([known, fresh]), np.concatenate([scores, ask(fresh)])
        sign = -sign if len(known) > 400 else sign


def mixup(world, half, oracle, rng):
    """Convex combinations of pairs of a small real set."""
    known = seeds(world, half, oracle.answer, rng, SEEDS_OF_MIXTURES)
    while True:
        share = rng.beta(1, 1, (100, 1)).astype(np.float32)
        left, right = rng.integers(0, len(known), (2, 100))
        oracle(share * known[left] + (1 - share) * known[right])


def art_extraction(kind, world, half, oracle, rng, foreign):
    pool = world.elsewhere(foreign, half, oracle.budget, rng).reshape(-1, *world.shape)
    box = black_box(BlackBoxClassifier, oracle, world)
    options = {"sampling_strategy": "random"} if kind is KnockoffNets else {}
    attack = kind(box, batch_size_fit=64, batch_size_query=64, nb_epochs=1, nb_stolen=len(pool), **options)
    attack.extract(pool, thieved_classifier=black_box(Thief, oracle.answer, world))


def walk(kind, world, half, oracle, rng, marks):
    """One image after the other until the budget is spent. `marks` gets (first query, image) of each."""
    neural = kind == "square"
    box = black_box(BlackBoxClassifierNeuralNetwork if neural else BlackBoxClassifier, oracle, world)
    attack = {
        "hopskipjump": lambda: HopSkipJump(box, max_iter=20, max_eval=500, init_eval=50, init_size=50, verbose=False),
        "boundary": lambda: BoundaryAttack(box, targeted=False, max_iter=300, num_trial=10, init_size=50, verbose=False),
        "square": lambda: SquareAttack(box, eps=0.3, max_iter=400, nb_restarts=1, batch_size=1, verbose=False),
    }[kind]()
    while True:
        image = world.draw(half, 1, rng).reshape(1, *world.shape)
        label = np.eye(world.classes)[oracle.answer(image).argmax(axis=1)]
        marks.append((oracle.count, image.ravel()))
        attack.generate(image, y=label if neural else None)


def broken_at(world, answer, asked, answers, marks):
    """The first query by which a walk had succeeded, counted from 1, or None."""
    for (start, image), end in zip(marks, [mark[0] for mark in marks[1:]] + [len(asked)]):
        label = answer(image[None]).argmax()
        near = np.linalg.norm(asked[start:end] - image, axis=1) <= NEAR[world.name]
        done = np.flatnonzero(near & (answers[start:end].argmax(axis=1) != label))
        if len(done):
            return int(start + done[0] + 1)
    return None


ATTACKS = {
    "jbda": lambda w, h, o, r, m: jacobian(w, h, o, r, filler=False),
    "jbda-filler": lambda w, h, o, r, m: jacobian(w, h, o, r, filler=True),
    "knockoff": lambda w, h, o, r, m: art_extraction(KnockoffNets, w, h, o, r, "scenes"),
    "copycat": lambda w, h, o, r, m: art_extraction(CopycatCNN, w, h, o, r, "textures"),
    "mixup": lambda w, h, o, r, m: mixup(w, h, o, r),
    "hopskipjump": lambda w, h, o, r, m: walk("hopskipjump", w, h, o, r, m),
    "square": lambda w, h, o, r, m: walk("square", w, h, o, r, m),
    "boundary": lambda w, h, o, r, m: walk("boundary", w, h, o, r, m),
    "in-distribution": lambda w, h, o, r, m: o(w.draw(h, o.budget, r)),
}


def fidelity(clone, rows, labels, classes):
    """Agreement with the victim, averaged over the victim's classes: a constant clone gets 1/classes, not the majority."""
    same = clone.predict(rows).argmax(axis=1) == labels
    return float(np.mean([same[labels == c].mean() for c in range(classes) if (labels == c).any()]))


def write(path, asked, answers):
    temporary = path.with_suffix(".part")
    with open(temporary, "wb") as file:
        file.write(struct.pack("<III", len(asked), asked.shape[1], answers.shape[1]))
        file.write(asked.astype("<f4").tobytes() + answers.astype("<f4").tobytes())
    temporary.rename(path)


def run(world, half, name, number, budget, answer, folder):
    path = folder / f"{name}-{number}.q"
    if path.with_suffix(".json").exists():
        return
    seed = [sum(name.encode()), number, half == "test"]
    rng = np.random.default_rng(seed)
    np.random.seed(rng.integers(1 << 31))
    oracle, marks, start = Oracle(answer, budget, world.classes), [], time.time()
    try:
        ATTACKS[name](world, half, oracle, rng, marks)
    except Spent:
        pass
    asked, answers = oracle.log()
    order = rng.permutation(len(asked)) if name in ("knockoff", "copycat") else slice(None)
    asked, answers = asked[order], answers[order]
    rows = world.draw(half, 2000, rng)
    labels = answer(rows).argmax(axis=1)
    points = [n for n in (WALK_CHECKPOINTS if marks else CHECKPOINTS) if n < len(asked)] + [len(asked)]
    curve = []
    for n in points:
        clone = Network(world.inputs, CLONE["hidden"], world.classes, number)
        clone.fit(asked[:n], answers[:n], CLONE["steps"])
        curve.append(round(fidelity(clone, rows, labels, world.classes), 4))
    write(path, asked, answers)
    summary = {
        "attack": name,
        "queries": len(asked),
        "checkpoints": points,
        "fidelity": curve,
        "walks": len(marks),
        "broken_at": broken_at(world, answer, asked, answers, marks) if marks else None,
        "seconds": round(time.time() - start, 2),
    }
    path.with_suffix(".json").write_text(json.dumps(summary))
    print(world.name, half, name, number, summary["seconds"], curve, summary["broken_at"], flush=True)


def main():
    cache, examples, name, half, runs = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])
    budget = int(sys.argv[6]) if len(sys.argv) > 6 else 2000
    cache.mkdir(parents=True, exist_ok=True)
    world = WORLDS[name](Path(os.environ["STOCKADE_TEST_DATA"]))
    answer = victim(world, cache, examples)
    folder = cache / name / half
    folder.mkdir(parents=True, exist_ok=True)
    if not (cache / name / "reference.q").exists():
        rows = world.draw("reference", 4000 if name != "mnist" else 3000, np.random.default_rng(11), replace=False)
        write(cache / name / "reference.q", rows, answer(rows))
    if not (folder / "benign.q").exists():
        count = 20000 if world.moves else len(world.parts[half])
        rows = world.draw(half, count, np.random.default_rng([12, half == "test"]), replace=False)
        write(folder / "benign.q", rows, answer(rows))
    for number in range(runs):
        for attack in ATTACKS:
            # Square is defined on images.
            if attack == "square" and len(world.shape) == 1:
                continue
            while (cache / "HOLD").exists():
                time.sleep(5)
            run(world, half, attack, number, budget, answer, folder)


if __name__ == "__main__":
    main()
