"""Write one fixture: a model and what it must answer.

NAME.onnx is the model. NAME.json holds its inputs, and the outputs of ONNX Runtime after they were compared with the library that trained the model:
`{"inputs": [tensor], "outputs": [tensor]}` with tensor `{"name", "datatype", "shape", "data"}`, the data types named as the Open Inference Protocol V2 names them; NaN is null.
A ZipMap output (a list of maps) is written as the FP32 tensor of its values, the classes in the model's order.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

HERE = Path(__file__).resolve().parent
DATATYPES = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32", "bool": "BOOL"}


def number(value):
    """Nine digits hold every 32-bit number; JSON has no NaN, so it is written as null."""
    return None if np.isnan(value) else float(f"{value:.9g}")


def tensor(name, array):
    if isinstance(array, list):
        array = np.array([list(row.values()) for row in array], dtype=np.float32)
    array = np.asarray(array)
    if array.dtype.kind in "OU":
        datatype, data = "BYTES", [str(value) for value in array.reshape(-1)]
    else:
        datatype = DATATYPES[array.dtype.name]
        flat = array.reshape(-1).tolist()
        data = [number(value) for value in flat] if array.dtype.kind == "f" else flat
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": data}


def slim(proto):
    """Drop what the exporter notes about itself (source lines, inferred values) and what changes from run to run."""
    for node in proto.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    proto.graph.name = "graph"
    imports = sorted(proto.opset_import, key=lambda entry: entry.domain)
    del proto.opset_import[:]
    proto.opset_import.extend(imports)
    del proto.graph.value_info[:], proto.metadata_props[:], proto.graph.metadata_props[:]
    return proto


def write(name, proto, inputs, reference=None, tolerance=1e-5):
    """Write NAME.onnx and NAME.json. `reference` maps output names to what the training library says."""
    proto = slim(proto)
    onnx.checker.check_model(proto)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = [tensor(key, value) for key, value in zip(names, session.run(None, inputs))]
    for output in outputs:
        expected = (reference or {}).get(output["name"])
        if expected is None:
            continue
        if output["datatype"] in ("FP32", "FP64"):
            difference = np.abs(np.array(output["data"]) - np.asarray(expected).reshape(-1)).max()
            assert difference < tolerance, (name, output["name"], difference)
        else:
            assert output["data"] == np.asarray(expected).reshape(-1).tolist(), (name, output["name"])
    (HERE / f"{name}.onnx").write_bytes(proto.SerializeToString(deterministic=True))
    body = {"inputs": [tensor(key, value) for key, value in inputs.items()], "outputs": outputs}
    (HERE / f"{name}.json").write_text(json.dumps(body, separators=(",", ":")) + "\n")
    print(name, (HERE / f"{name}.onnx").stat().st_size, sorted({node.op_type for node in proto.graph.node}))
