"""Write models that give back what they get, one per element type: identity_models.py FOLDER TYPE...

The ONNX files are written byte by byte after onnx/onnx, `onnx/onnx.proto`: one `Identity` node from `x` to `y`, of the shape
[rows, 4].
"""

import pathlib
import sys

# TensorProto.DataType
NUMBERS = {
    "FP32": 1, "UINT8": 2, "INT8": 3, "UINT16": 4, "INT16": 5, "INT32": 6, "INT64": 7,
    "BOOL": 9, "FP64": 11, "UINT32": 12, "UINT64": 13,
}  # fmt: skip


def varint(number):
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def model(datatype):
    shape = field(1, field(2, "rows")) + field(1, field(1, 4))
    of_type = field(1, field(1, NUMBERS[datatype]) + field(2, shape))
    value = lambda name: field(1, name) + field(2, of_type)
    node = field(1, "x") + field(2, "y") + field(3, "same") + field(4, "Identity")
    graph = field(1, node) + field(2, "identity") + field(11, value("x")) + field(12, value("y"))
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 18))


folder = pathlib.Path(sys.argv[1])
for datatype in sys.argv[2:]:
    (folder / f"{datatype}.onnx").write_bytes(model(datatype))
