"""The ML-DSA-44 cosignature of C2SP tlog-cosignature, with PyPI dilithium-py and nothing of Stockade's.

verify KEY_FILE CHECKPOINT_FILE   rebuilds the signed message from the checkpoint and verifies its second line
sign CHECKPOINT_BODY_FILE TIME    makes a key, prints its verifier key and the signature line for this body
"""

import base64
import hashlib
import struct
import sys

from dilithium_py.ml_dsa import ML_DSA_44

TYPE = b"\x06"


def key_id(name: str, public_key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + TYPE + public_key).digest()[:4]


def cosigned_message(body: str, name: str, time: int) -> bytes:
    origin, size, root, end = body.split("\n")
    assert end == ""

    def vector(text: str) -> bytes:
        return struct.pack("B", len(text.encode())) + text.encode()

    message = b"subtree/v1\n\0" + vector(name) + struct.pack(">Q", time) + vector(origin)
    return message + struct.pack(">QQ", 0, int(size)) + base64.b64decode(root, validate=True)


def verify(key_file: str, checkpoint_file: str) -> None:
    with open(key_file, encoding="utf-8") as file:
        name, identifier, material = file.read().strip().split("+", 2)
    material = base64.b64decode(material, validate=True)
    assert material[:1] == TYPE and len(material) == 1 + 1312
    public_key = material[1:]
    assert key_id(name, public_key).hex() == identifier

    with open(checkpoint_file, encoding="utf-8") as file:
        body, lines = file.read().split("\n\n")
    second = lines.split("\n")[1]
    dash, signer, blob = second.split(" ")
    assert (dash, signer) == ("—", name)
    blob = base64.b64decode(blob, validate=True)
    assert blob[:4].hex() == identifier and len(blob) == 4 + 8 + 2420
    (time,) = struct.unpack(">Q", blob[4:12])
    body += "\n"
    message, signature = cosigned_message(body, name, time), blob[12:]
    assert ML_DSA_44.verify(public_key, message, signature), "the cosignature does not verify"
    later = cosigned_message(body, name, time + 1)
    assert not ML_DSA_44.verify(public_key, later, signature), "another time verifies"
    assert not ML_DSA_44.verify(public_key, message + b"\0", signature), "a longer message verifies"
    print(time)


def sign(body_file: str, time: str) -> None:
    with open(body_file, encoding="utf-8") as file:
        body = file.read()
    name = body.split("\n")[0]
    public_key, secret_key = ML_DSA_44.keygen()
    identifier = key_id(name, public_key)
    signature = ML_DSA_44.sign(secret_key, cosigned_message(body, name, int(time)))
    blob = identifier + struct.pack(">Q", int(time)) + signature
    print(f"{name}+{identifier.hex()}+{base64.b64encode(TYPE + public_key).decode()}")
    print(f"— {name} {base64.b64encode(blob).decode()}")


if __name__ == "__main__":
    {"verify": verify, "sign": sign}[sys.argv[1]](*sys.argv[2:])
