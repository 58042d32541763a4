"""Sends random tensors of every type to MLServer directly and through Stockade, and demands equal answers.

Usage: mlserver_client.py READY_FILE KEY_FILE MLSERVER_URL PREFIX...

Each PREFIX is the beginning of a family of models in Stockade, followed by a type in lower case, as in `http-fp32`.
"""

import json
import random
import ssl
import struct
import sys
import time
import urllib.error
import urllib.request

EACH = 100
INTEGERS = {
    "INT8": (-(2**7), 2**7 - 1),
    "INT16": (-(2**15), 2**15 - 1),
    "INT32": (-(2**31), 2**31 - 1),
    "INT64": (-(2**63), 2**63 - 1),
    "UINT8": (0, 2**8 - 1),
    "UINT16": (0, 2**16 - 1),
    "UINT32": (0, 2**32 - 1),
    "UINT64": (0, 2**64 - 1),
}
TYPES = [*INTEGERS, "BOOL", "FP32", "FP64", "BYTES"]
RANDOM = random.Random(20261122)


def element(datatype):
    if datatype in INTEGERS:
        least, most = INTEGERS[datatype]
        return RANDOM.choice([least, most, 0, RANDOM.randint(least, most)])
    if datatype == "BOOL":
        return RANDOM.random() < 0.5
    if datatype == "FP32":
        return struct.unpack("<f", struct.pack("<f", RANDOM.uniform(-1e6, 1e6)))[0]
    if datatype == "FP64":
        return RANDOM.uniform(-1e300, 1e300)
    return "".join(RANDOM.choice("abc äöü 漢字") for _ in range(RANDOM.randint(0, 9)))


def post(url, body, context=None, key=None):
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{url}: {error.code} {error.read().decode()}\nfor {body}") from error


def wait_for(url, context, key):
    """Stockade asks MLServer for its models' tensors before it serves them."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    for _ in range(600):
        try:
            with urllib.request.urlopen(request, context=context, timeout=30):
                return
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
        time.sleep(0.05)
    raise SystemExit(f"{url} never was ready")


def plain(answer):
    """An answer's elements, bit for bit as their type has them, without what names the server."""
    output = answer["outputs"][0]
    data = output["data"]
    if output["datatype"] == "FP32":
        # 0.1 and 0.10000000149011612 are one FP32.
        data = [struct.pack("<f", value) for value in data]
    return output["name"], output["datatype"], output["shape"], data


def main():
    ready, key, direct, *prefixes = sys.argv[1:]
    with open(ready, encoding="utf-8") as file:
        ready = json.load(file)
    with open(key, encoding="utf-8") as file:
        key = file.read().strip()
    context = ssl.create_default_context(cafile=ready["ca_cert"])
    for prefix in prefixes:
        for datatype in TYPES:
            wait_for(f"{ready['gateway_url']}/v2/models/{prefix}-{datatype.lower()}/ready", context, key)
    compared = {}
    for datatype in TYPES:
        for _ in range(EACH):
            rows = RANDOM.randint(1, 4)
            data = [element(datatype) for _ in range(rows * 3)]
            tensor = {"name": "x", "datatype": datatype, "shape": [rows, 3], "data": data}
            body = {"inputs": [tensor]}
            model = datatype.lower()
            expected = plain(post(f"{direct}/v2/models/{model}/infer", body))
            for prefix in prefixes:
                url = f"{ready['gateway_url']}/v2/models/{prefix}-{model}/infer"
                given = plain(post(url, body, context, key))
                if given != expected:
                    raise SystemExit(f"{prefix} {datatype}: {given} is not {expected}")
            compared[datatype] = compared.get(datatype, 0) + 1
    print(json.dumps(compared))


main()
