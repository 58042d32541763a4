"""Seals or opens every file of a folder with Tink's AES256_GCM_HKDF_1MB.

usage: tink_stream.py seal|open|accepts KEY_HEX ASSOCIATED_DATA_HEX FROM TO
`accepts` prints the names of the files that open, one a line.
"""

import io
import pathlib
import sys

import tink
from tink import secret_key_access, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, tink_pb2


class Buffer(io.BytesIO):
    """Keeps what was written to it after it is closed."""

    def close(self):
        self.written = self.getvalue()
        super().close()


def primitive(key):
    template = streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_1MB
    key_format = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKeyFormat.FromString(template.value)
    streaming_key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(
        version=0, params=key_format.params, key_value=key
    )
    keyset = tink_pb2.Keyset(primary_key_id=1)
    entry = keyset.key.add(key_id=1, status=tink_pb2.ENABLED, output_prefix_type=tink_pb2.RAW)
    entry.key_data.type_url = template.type_url
    entry.key_data.value = streaming_key.SerializeToString()
    entry.key_data.key_material_type = tink_pb2.KeyData.SYMMETRIC
    handle = tink.proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


def seal(stream, plaintext, associated_data):
    sealed = Buffer()
    with stream.new_encrypting_stream(sealed, associated_data) as writer:
        writer.write(plaintext)
    return sealed.written


def open_sealed(stream, sealed, associated_data):
    with stream.new_decrypting_stream(io.BytesIO(sealed), associated_data) as reader:
        return reader.read()


def main():
    operation, key, associated_data, source, target = sys.argv[1:]
    streaming_aead.register()
    stream = primitive(bytes.fromhex(key))
    associated_data = bytes.fromhex(associated_data)
    for path in sorted(pathlib.Path(source).iterdir()):
        if operation == "seal":
            made = seal(stream, path.read_bytes(), associated_data)
        elif operation == "open":
            made = open_sealed(stream, path.read_bytes(), associated_data)
        else:
            try:
                made = open_sealed(stream, path.read_bytes(), associated_data)
            except (tink.TinkError, OSError):
                continue
            print(path.name)
        (pathlib.Path(target) / path.name).write_bytes(made)


main()
