"""Seals and opens the first 256 MiB of a file with PyPI tink (AES256_GCM_HKDF_1MB), in memory; prints GB/s."""

import importlib.metadata
import io
import os
import statistics
import sys
import time

import tink
from tink import streaming_aead

LENGTH, PIECE, ROUNDS = 256 << 20, 1 << 20, 3


class Kept(io.BytesIO):
    def close(self):
        self.kept = self.getvalue()
        super().close()


streaming_aead.register()
primitive = tink.new_keyset_handle(
    streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_1MB
).primitive(streaming_aead.StreamingAead)
with open(sys.argv[1], "rb") as source:
    plaintext = source.read(LENGTH)
seal, unseal = [], []
for _ in range(ROUNDS):
    sealed = Kept()
    start = time.perf_counter()
    with primitive.new_encrypting_stream(sealed, b"context") as stream:
        for at in range(0, LENGTH, PIECE):
            rest = memoryview(plaintext)[at : at + PIECE]
            while rest:
                rest = rest[stream.write(bytes(rest)) :]
    seal.append(LENGTH / 1e9 / (time.perf_counter() - start))
    start = time.perf_counter()
    opened = 0
    with primitive.new_decrypting_stream(io.BytesIO(sealed.kept), b"context") as stream:
        while piece := stream.read(PIECE):
            opened += len(piece)
    unseal.append(LENGTH / 1e9 / (time.perf_counter() - start))
    assert opened == LENGTH
version = importlib.metadata.version("tink")
print(
    f"PyPI tink {version}, in memory, no hash: seal {statistics.median(seal):.2f} GB/s, "
    f"open {statistics.median(unseal):.2f} GB/s (256 MiB, {ROUNDS} rounds, {len(os.sched_getaffinity(0))} core(s))"
)
