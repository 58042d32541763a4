"""NVIDIA's Triton client, over TLS, against a running gateway: oip_client.py READY_FILE EXPECTED_FILE

Asks for the metadata, then for all test images in one request, and compares with what ONNX Runtime said. The client's
binary extension is switched off: the gateway speaks JSON tensors.
"""

import json
import ssl
import sys
from urllib.parse import urlsplit

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

ready = json.load(open(sys.argv[1]))
expected = json.load(open(sys.argv[2]))["images"]
pixels = np.array([image["pixels"] for image in expected], dtype=np.float32)
probabilities = np.array([image["probabilities"] for image in expected])

key = open(ready["client_key_file"]).read()
auth = {"Authorization": f"Bearer {key}"}
context = lambda **_: ssl.create_default_context(cafile=ready["ca_cert"])
client = triton.InferenceServerClient(
    urlsplit(ready["gateway_url"]).netloc, ssl=True, ssl_context_factory=context
)

assert client.is_model_ready("digits", headers=auth)
metadata = client.get_model_metadata("digits", headers=auth)
assert metadata["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": [-1, 64]}], metadata
assert metadata["outputs"][0]["name"] == "probabilities", metadata

image = triton.InferInput("pixels", list(pixels.shape), "FP32")
image.set_data_from_numpy(pixels, binary_data=False)
output = triton.InferRequestedOutput("probabilities", binary_data=False)
answer = client.infer("digits", [image], outputs=[output], headers=auth).as_numpy("probabilities")
difference = float(np.abs(answer - probabilities).max())
assert difference < 1e-4, difference
assert (answer.argmax(1) == probabilities.argmax(1)).all()

try:
    client.get_model_metadata("digits", headers={"Authorization": "Bearer wrong"})
    raise SystemExit("a wrong key was accepted")
except InferenceServerException as refusal:
    assert refusal.status() == "401", refusal

print(json.dumps({"images": len(expected), "difference": difference}))
