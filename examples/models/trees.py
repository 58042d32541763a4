"""Classifiers and regressors in scikit-learn, converted by skl2onnx to operators of ai.onnx.ml.

    python trees.py
"""

import numpy as np
from fixture import write
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

SEED = 11
ROWS = 12


def rows(features, generator):
    return features[generator.choice(len(features), ROWS, replace=False)].astype(np.float32)


def classifier(name, model, features, labels, generator, options=None):
    model.fit(features, labels)
    proto = to_onnx(model, features[:1].astype(np.float32), target_opset={"": 18, "ai.onnx.ml": 3}, options=options)
    sample = rows(features, generator)
    reference = {proto.graph.output[0].name: model.predict(sample)}
    if hasattr(model, "predict_proba"):
        reference[proto.graph.output[1].name] = model.predict_proba(sample)
    write(name, proto, {proto.graph.input[0].name: sample}, reference, tolerance=5e-5)


def regressor(name, model, features, targets, generator):
    model.fit(features, targets)
    proto = to_onnx(model, features[:1].astype(np.float32), target_opset={"": 18, "ai.onnx.ml": 3})
    sample = rows(features, generator)
    reference = {proto.graph.output[0].name: model.predict(sample)}
    write(name, proto, {proto.graph.input[0].name: sample}, reference, tolerance=1e-3)


def main():
    generator = np.random.default_rng(SEED)
    iris = load_iris()
    names = np.array([iris.target_names[label] for label in iris.target])
    # Cast first, so that scikit-learn and the model see the same numbers.
    flowers = iris.data.astype(np.float32).astype(np.float64)
    cells = load_breast_cancer().data.astype(np.float32).astype(np.float64)
    grown = load_breast_cancer().target
    digits = load_digits()

    classifier("logistic", LogisticRegression(max_iter=500), flowers, iris.target, generator)
    classifier(
        "logistic_strings", make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)), flowers, names, generator
    )
    classifier(
        "logistic_binary", make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)), cells, grown + 5, generator
    )
    classifier(
        "logistic_normalized", make_pipeline(Normalizer("l1"), LogisticRegression(C=50)), flowers, names, generator
    )
    classifier(
        "forest", RandomForestClassifier(20, max_depth=4, random_state=SEED), flowers, iris.target, generator
    )
    classifier(
        "forest_strings", RandomForestClassifier(20, max_depth=6, random_state=SEED), flowers, names, generator
    )
    classifier(
        "forest_deep",
        RandomForestClassifier(6, max_depth=None, random_state=SEED),
        digits.data,
        digits.target,
        generator,
        {"zipmap": False},
    )
    classifier("forest_binary", RandomForestClassifier(10, random_state=SEED), cells, grown, generator)
    classifier("tree_binary", DecisionTreeClassifier(random_state=SEED), cells, grown * 2 - 1, generator)
    classifier(
        "boosting", GradientBoostingClassifier(n_estimators=15, random_state=SEED), flowers, iris.target, generator
    )
    classifier(
        "boosting_binary", GradientBoostingClassifier(n_estimators=20, random_state=SEED), cells, grown, generator
    )
    classifier(
        "perceptron_strings",
        make_pipeline(StandardScaler(), MLPClassifier((12,), max_iter=800, random_state=SEED)),
        flowers,
        names,
        generator,
    )
    classifier(
        "perceptron",
        make_pipeline(StandardScaler(), MLPClassifier((12,), max_iter=800, random_state=SEED)),
        flowers,
        iris.target * 10,
        generator,
    )

    targets = np.stack([flowers[:, 3], flowers[:, 2] * 2 - 1], axis=1)
    regressor("linear_multi", LinearRegression(), flowers[:, :2], targets, generator)
    regressor("forest_multi", RandomForestRegressor(8, max_depth=5, random_state=SEED), flowers[:, :2], targets, generator)
    regressor(
        "boosting_regressor",
        GradientBoostingRegressor(n_estimators=25, random_state=SEED),
        flowers[:, :3],
        flowers[:, 3],
        generator,
    )
    regressor("linear", make_pipeline(StandardScaler(), LinearRegression()), flowers[:, :3], flowers[:, 3], generator)


if __name__ == "__main__":
    main()
