"""100 random tensors per element type and encoding against identity models: oip_types.py READY_FILE KEY_FILE ENGINE TYPE...

NVIDIA's Triton client with its defaults and without them, over HTTP and gRPC, plain and compressed. An answer must be the
tensor that was sent, of the same type and shape: it is what a direct computation gives.
"""

import json
import ssl
import sys
from urllib.parse import urlsplit

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http

COUNT = 100
KINDS = {
    "BOOL": np.bool_, "UINT8": np.uint8, "INT8": np.int8, "UINT16": np.uint16, "INT16": np.int16, "UINT32": np.uint32,
    "INT32": np.int32, "UINT64": np.uint64, "INT64": np.int64, "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip

ready_file, key_file, engine, *types = sys.argv[1:]
ready = json.load(open(ready_file))
key = open(key_file).read().strip()
random = np.random.default_rng(3)


def tensor(datatype):
    kind = KINDS[datatype]
    shape = (int(random.integers(1, 9)), 4)
    if kind is np.bool_:
        return random.integers(0, 2, shape).astype(bool)
    if np.issubdtype(kind, np.integer):
        # rten computes integers of 64 bits in 32.
        bounds = np.iinfo(np.int32 if engine == "rten" and datatype == "INT64" else kind)
        return random.integers(bounds.min, bounds.max, shape, dtype=kind, endpoint=True)
    values = random.standard_normal(shape) * 10.0 ** random.integers(-30, 30, shape)
    # rten computes floats of 64 bits in 32.
    return values.astype(np.float32).astype(kind) if engine == "rten" else values.astype(kind)


context = lambda **_: ssl.create_default_context(cafile=ready["ca_cert"])
http = over_http.InferenceServerClient(
    urlsplit(ready["gateway_url"]).netloc, ssl=True, ssl_context_factory=context
)
grpc = over_grpc.InferenceServerClient(
    urlsplit(ready["grpc_url"]).netloc, ssl=True, root_certificates=ready["ca_cert"]
)


def ask_http(model, sent, datatype, binary=None, algorithm=None):
    options = {} if binary is None else {"binary_data": binary}
    given = over_http.InferInput("x", list(sent.shape), datatype)
    given.set_data_from_numpy(sent, **options)
    wanted = None if binary is None else [over_http.InferRequestedOutput("y", **options)]
    answer = http.infer(
        model, [given], outputs=wanted, headers={"authorization": f"Bearer {key}"},
        request_compression_algorithm=algorithm, response_compression_algorithm=algorithm,
    )  # fmt: skip
    return answer.as_numpy("y")


def ask_grpc(model, sent, datatype, algorithm=None):
    given = over_grpc.InferInput("x", list(sent.shape), datatype)
    given.set_data_from_numpy(sent)
    answer = grpc.infer(
        model, [given], headers={"authorization": f"Bearer {key}"}, compression_algorithm=algorithm
    )
    return answer.as_numpy("y")


encodings = {
    "http, the client's defaults": ask_http,
    "http, JSON": lambda *of: ask_http(*of, binary=False),
    "http, binary, gzip": lambda *of: ask_http(*of, binary=True, algorithm="gzip"),
    "http, binary, deflate": lambda *of: ask_http(*of, binary=True, algorithm="deflate"),
    "http, JSON, gzip": lambda *of: ask_http(*of, binary=False, algorithm="gzip"),
    "grpc, the client's defaults": ask_grpc,
    "grpc, gzip": lambda *of: ask_grpc(*of, algorithm="gzip"),
    "grpc, deflate": lambda *of: ask_grpc(*of, algorithm="deflate"),
}
compared = 0
for datatype in types:
    for name, ask in encodings.items():
        for _ in range(COUNT):
            sent = tensor(datatype)
            got = ask(f"identity_{datatype.lower()}", sent, datatype)
            assert got.dtype == sent.dtype and got.shape == sent.shape, (datatype, name, got)
            assert (got == sent).all(), (datatype, name, sent, got)
            compared += 1
print(json.dumps({"compared": compared}))
