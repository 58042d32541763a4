"""NVIDIA's Triton client with its defaults, over TLS, against a running gateway: oip_client.py READY_FILE EXPECTED_FILE

Over HTTP (binary tensors) and over gRPC: asks for what is told, then for all test images in one request, and compares with
what ONNX Runtime said; then asks for a classification, and for what is refused.
"""

import json
import ssl
import sys
from urllib.parse import urlsplit

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tritonclient.utils import InferenceServerException

ready = json.load(open(sys.argv[1]))
expected = json.load(open(sys.argv[2]))["images"]
pixels = np.array([image["pixels"] for image in expected], dtype=np.float32)
probabilities = np.array([image["probabilities"] for image in expected])

bearer = lambda file: {"authorization": f"Bearer {open(ready[file]).read().strip()}"}
client, admin = bearer("client_key_file"), bearer("admin_key_file")
context = lambda **_: ssl.create_default_context(cafile=ready["ca_cert"])
http = over_http.InferenceServerClient(
    urlsplit(ready["gateway_url"]).netloc, ssl=True, ssl_context_factory=context
)
grpc = over_grpc.InferenceServerClient(
    urlsplit(ready["grpc_url"]).netloc, ssl=True, root_certificates=ready["ca_cert"]
)


def check_answer(triton, server):
    image = triton.InferInput("pixels", list(pixels.shape), "FP32")
    image.set_data_from_numpy(pixels)
    # Over HTTP the client writes into the headers that it is given.
    answer = server.infer("digits", [image], headers=dict(client)).as_numpy("probabilities")
    difference = float(np.abs(answer - probabilities).max())
    assert difference < 1e-4, difference
    assert (answer.argmax(1) == probabilities.argmax(1)).all()
    wanted = [triton.InferRequestedOutput("probabilities", class_count=2)]
    ranked = server.infer("digits", [image], outputs=wanted, headers=dict(client)).as_numpy("probabilities")
    best = [int(row[0].decode().split(":")[1]) for row in ranked]
    assert ranked.shape == (len(expected), 2) and (best == probabilities.argmax(1)).all()
    return difference


def refused(status, ask, *given, **options):
    try:
        ask(*given, **options)
    except InferenceServerException as refusal:
        assert refusal.status() == status, refusal
        return
    raise SystemExit(f"{ask} was not refused")


assert http.is_server_live(headers=client) and http.is_server_ready(headers=client)
assert http.is_model_ready("digits", headers=client)
metadata = http.get_model_metadata("digits", headers=client)
assert metadata["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": [-1, 64]}], metadata
assert metadata["outputs"][0]["name"] == "probabilities", metadata
assert http.get_server_metadata(headers=client)["name"] == "stockade"
config = http.get_model_config("digits", headers=admin)
assert config["input"] == [{"name": "pixels", "data_type": "TYPE_FP32", "dims": [-1, 64]}], config
difference = check_answer(over_http, http)
statistics = http.get_inference_statistics("digits", headers=admin)["model_stats"][0]
assert statistics["inference_count"] == 2 * len(expected), statistics
assert http.get_model_repository_index(headers=admin)[0]["state"] == "READY"
refused("401", http.get_model_metadata, "digits", headers={"Authorization": "Bearer wrong"})
refused("403", http.get_model_config, "digits", headers=client)
refused("403", http.load_model, "digits", headers=admin)
refused("403", http.unregister_system_shared_memory, headers=admin)

assert grpc.is_server_live(headers=client) and grpc.is_server_ready(headers=client)
assert grpc.is_model_ready("digits", headers=client)
metadata = grpc.get_model_metadata("digits", headers=client, as_json=True)
assert metadata["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": ["-1", "64"]}], metadata
assert grpc.get_server_metadata(headers=client).name == "stockade"
config = grpc.get_model_config("digits", headers=admin, as_json=True)["config"]
assert config["input"] == [{"name": "pixels", "data_type": "TYPE_FP32", "dims": ["-1", "64"]}], config
difference = max(difference, check_answer(over_grpc, grpc))
statistics = grpc.get_inference_statistics("digits", headers=admin).model_stats[0]
assert statistics.inference_stats.success.count == 4, statistics
assert grpc.get_model_repository_index(headers=admin).models[0].state == "READY"
refused("StatusCode.UNAUTHENTICATED", grpc.get_model_metadata, "digits", headers={"authorization": "Bearer wrong"})
refused("StatusCode.PERMISSION_DENIED", grpc.get_model_config, "digits", headers=client)
refused("StatusCode.PERMISSION_DENIED", grpc.load_model, "digits", headers=admin)
refused("StatusCode.PERMISSION_DENIED", grpc.get_log_settings, headers=admin)
refused("StatusCode.NOT_FOUND", grpc.get_model_metadata, "nothing", headers=client)

print(json.dumps({"images": len(expected), "difference": difference}))
