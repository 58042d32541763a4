"""Models written node by node: what no exporter at hand writes, and forms that only old opsets have.

    python handmade.py
"""

import numpy as np
from fixture import write
from onnx import TensorProto, helper

SEED = 13


def model(nodes, inputs, outputs, opset=18, initializers=(), ml=3):
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ml)]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(initializers))
    return helper.make_model(graph, opset_imports=imports, ir_version=4 if opset < 13 else 8)


def floats(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def ints(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.INT64, list(shape))


def strings(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.STRING, list(shape))


def tree_modes(generator):
    """Every comparison, a missing value going both ways, one tree for each of two targets, sums over trees."""
    modes = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
    columns = {key: [] for key in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids", "missing")}
    weights = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    # The thresholds lie exactly on values of the sample.
    grid = np.array([-1.5, -0.1, 0.0, 0.1, 0.7, 2.0], dtype=np.float32)
    for tree, mode in enumerate(modes * 2):
        for node in range(7):
            inner = node < 3
            columns["treeids"].append(tree)
            columns["nodeids"].append(node)
            columns["featureids"].append(int(generator.integers(3)) if inner else 0)
            columns["modes"].append(mode if inner else "LEAF")
            columns["values"].append(float(generator.choice(grid)) if inner else 0.0)
            columns["truenodeids"].append(2 * node + 1 if inner else 0)
            columns["falsenodeids"].append(2 * node + 2 if inner else 0)
            columns["missing"].append(int(inner and (tree + node) % 2))
            if not inner:
                for target in range(2) if node % 2 else [tree % 2]:
                    weights["treeids"].append(tree)
                    weights["nodeids"].append(node)
                    weights["ids"].append(target)
                    weights["weights"].append(float(generator.integers(-8, 9)) / 4)
    sample = generator.choice(grid, (40, 3)).astype(np.float32)
    sample[generator.random(sample.shape) < 0.15] = np.nan
    for aggregate in ("SUM", "AVERAGE", "MIN", "MAX"):
        node = helper.make_node(
            "TreeEnsembleRegressor",
            ["x"],
            ["y"],
            domain="ai.onnx.ml",
            n_targets=2,
            aggregate_function=aggregate,
            base_values=[0.25, -1.0],
            nodes_missing_value_tracks_true=columns["missing"],
            **{f"nodes_{key}": value for key, value in columns.items() if key != "missing"},
            **{f"target_{key}": value for key, value in weights.items()},
        )
        proto = model([node], [floats("x", None, 3)], [floats("y", None, 2)])
        write(f"tree_modes_{aggregate.lower()}", proto, {"x": sample})


def linear_posts(generator):
    """LinearClassifier under each post-transform, and one coefficient row for two classes."""
    sample = generator.normal(size=(9, 4)).astype(np.float32)
    nodes, outputs = [], []
    for post in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"):
        nodes.append(
            helper.make_node(
                "LinearClassifier",
                ["x"],
                [f"label_{post}", f"scores_{post}"],
                domain="ai.onnx.ml",
                coefficients=generator.normal(size=12).tolist(),
                intercepts=generator.normal(size=3).tolist(),
                classlabels_ints=[4, 5, 9],
                post_transform=post,
            )
        )
        outputs += [ints(f"label_{post}", None), floats(f"scores_{post}", None, 3)]
    proto = model(nodes, [floats("x", None, 4)], outputs)
    write("linear_posts", proto, {"x": sample})
    nodes, outputs = [], []
    for post in ("NONE", "LOGISTIC", "SOFTMAX"):
        nodes.append(
            helper.make_node(
                "LinearClassifier",
                ["x"],
                [f"label_{post}", f"scores_{post}"],
                domain="ai.onnx.ml",
                coefficients=generator.normal(size=4).tolist(),
                intercepts=[0.1],
                classlabels_strings=["no", "yes"],
                post_transform=post,
            )
        )
        outputs += [strings(f"label_{post}", None), floats(f"scores_{post}", None, 2)]
    write("linear_one_row", model(nodes, [floats("x", None, 4)], outputs), {"x": sample})


def linear_regressors(generator):
    nodes, outputs = [], []
    for post in ("NONE", "LOGISTIC", "SOFTMAX"):
        nodes.append(
            helper.make_node(
                "LinearRegressor",
                ["x"],
                [f"y_{post}"],
                domain="ai.onnx.ml",
                coefficients=generator.normal(size=6).tolist(),
                intercepts=[0.5, -0.5],
                targets=2,
                post_transform=post,
            )
        )
        outputs.append(floats(f"y_{post}", None, 2))
    for norm in ("MAX", "L1", "L2"):
        nodes.append(helper.make_node("Normalizer", ["x"], [f"n_{norm}"], domain="ai.onnx.ml", norm=norm))
        outputs.append(floats(f"n_{norm}", None, 3))
    sample = generator.normal(size=(6, 3)).astype(np.float32)
    sample[0] = 0.0
    sample[1] = -np.abs(sample[1])
    write("linear_regressors", model(nodes, [floats("x", None, 3)], outputs), {"x": sample})


def encoded_labels():
    """Class numbers looked up as text at the output, with a default for the rest."""
    nodes = [
        helper.make_node("ArgMax", ["x"], ["best"], axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder",
            ["best"],
            ["label"],
            domain="ai.onnx.ml",
            keys_int64s=[2, 0, 1],
            values_strings=["two", "zero", "one"],
            default_string="many",
        ),
    ]
    sample = np.eye(5, dtype=np.float32)[[0, 1, 2, 3, 4, 2]]
    proto = model(nodes, [floats("x", None, 5)], [strings("label", None)])
    write("encoded_labels", proto, {"x": sample})


def old_forms(generator):
    """Opset 9 and 10: axes, bounds, pads and sizes as attributes; Softmax over all axes from `axis` on; Upsample."""
    nodes = [
        helper.make_node("Unsqueeze", ["x"], ["a"], axes=[1]),
        helper.make_node("Pad", ["a"], ["b"], pads=[0, 0, 1, 0, 0, 0, 0, 2], value=0.5),
        helper.make_node("Slice", ["b"], ["c"], starts=[0, 1], ends=[9, 6], axes=[2, 3]),
        helper.make_node("Clip", ["c"], ["d"], min=-0.5, max=1.0),
        helper.make_node("Upsample", ["d", "scales"], ["e"], mode="nearest"),
        helper.make_node("Split", ["e"], ["f", "g"], axis=3, split=[4, 6]),
        helper.make_node("ReduceSum", ["f"], ["h"], axes=[3], keepdims=1),
        helper.make_node("Dropout", ["h"], ["i"], ratio=0.5),
        helper.make_node("Squeeze", ["i"], ["j"], axes=[1, 3]),
        helper.make_node("Softmax", ["g"], ["k"], axis=1),
        helper.make_node("ReduceMean", ["k"], ["l"], axes=[1, 3], keepdims=0),
        helper.make_node("Add", ["j", "l"], ["y"]),
        helper.make_node("LogSoftmax", ["g"], ["z"]),
    ]
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1.0, 1.0, 2.0, 2.0])
    sample = generator.normal(size=(2, 3, 4)).astype(np.float32)
    proto = model(
        nodes, [floats("x", "n", 3, 4)], [floats("y", "n", 8), floats("z", "n", 1, 8, 6)], 9, [scales], ml=1
    )
    write("old_forms", proto, {"x": sample})


def numbers(generator):
    """Integers, booleans and doubles at the border; the result of a run on whole numbers."""
    nodes = [
        helper.make_node("Cast", ["d"], ["df"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["i"], ["if"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["df", "if"], ["sum"]),
        helper.make_node("Where", ["b", "sum", "if"], ["chosen"]),
        helper.make_node("Cast", ["chosen"], ["y"], to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["chosen"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Greater", ["chosen", "if"], ["more"]),
        helper.make_node("TopK", ["chosen", "two"], ["best", "where"], axis=1),
    ]
    inputs = [
        helper.make_tensor_value_info("d", TensorProto.DOUBLE, ["n", 4]),
        ints("i", "n", 4),
        helper.make_tensor_value_info("b", TensorProto.BOOL, ["n", 4]),
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["n", 4]),
        ints("whole", "n", 4),
        helper.make_tensor_value_info("more", TensorProto.BOOL, ["n", 4]),
        floats("best", "n", 2),
        ints("where", "n", 2),
    ]
    two = helper.make_tensor("two", TensorProto.INT64, [1], [2])
    sample = {
        "d": generator.normal(size=(3, 4)),
        "i": generator.integers(-5, 6, size=(3, 4)),
        "b": generator.random((3, 4)) < 0.5,
    }
    write("numbers", model(nodes, inputs, outputs, 18, [two]), sample)


def ties():
    """Of equal values the first index wins, or the last where the node says so."""
    sample = np.array([[1, 3, 3, 2], [5, 5, 5, 5], [0, -1, -1, 0], [2, 1, 1, 3]], dtype=np.float32)
    nodes, outputs = [], []
    for op in ("ArgMax", "ArgMin"):
        for last in (0, 1):
            for axis, keep in ((1, 0), (0, 1), (-1, 1)):
                name = f"{op}_{last}_{axis + 1}_{keep}"
                nodes.append(
                    helper.make_node(op, ["x"], [name], axis=axis, keepdims=keep, select_last_index=last)
                )
                outputs.append(ints(name, *([None] if not keep else [1, 4] if axis == 0 else [None, 1])))
    nodes.append(helper.make_node("TopK", ["x", "three"], ["best", "where"], axis=1))
    nodes.append(helper.make_node("TopK", ["x", "three"], ["worst", "there"], axis=1, largest=0))
    for name in ("best", "worst"):
        outputs.append(floats(name, None, 3))
    for name in ("where", "there"):
        outputs.append(ints(name, None, 3))
    three = helper.make_tensor("three", TensorProto.INT64, [1], [3])
    write("ties", model(nodes, [floats("x", None, 4)], outputs, 18, [three]), {"x": sample})


def main():
    generator = np.random.default_rng(SEED)
    tree_modes(generator)
    linear_posts(generator)
    linear_regressors(generator)
    encoded_labels()
    old_forms(generator)
    numbers(generator)
    ties()


if __name__ == "__main__":
    main()
