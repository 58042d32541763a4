"""Signatures, key encodings and certificates with pyca/cryptography and dilithium-py.

usage: signatures.py FOLDER UNIX_TIME

Reads from FOLDER what Stockade wrote and fails on the first disagreement:
    ALGORITHM.{pem,message,signature}   a public key and a signature by it
    ALGORITHM.pkcs8                     the private key (not for ml-dsa-44: its seed form is read here)
    ca.pem, leaf.der                    a certificate authority and what it issued for localhost and 127.0.0.1
Writes to FOLDER, for Stockade to verify:
    theirs-ALGORITHM.{pem,signature}    its own key, and its signature over ALGORITHM.message
"""

import base64
import datetime
import ipaddress
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509 import verification
from dilithium_py.ml_dsa import ML_DSA_44

CURVES = {
    "ecdsa-p256-sha256": (ec.SECP256R1, hashes.SHA256),
    "ecdsa-p384-sha384": (ec.SECP384R1, hashes.SHA384),
    "ecdsa-p521-sha512": (ec.SECP521R1, hashes.SHA512),
}
# RFC 9881: SubjectPublicKeyInfo and the seed form of the private key, up to the key itself.
ML_DSA_44_SPKI = bytes.fromhex("30820532300b06096086480165030403110382052100")
ML_DSA_44_SEED = bytes.fromhex("3034020100300b060960864801650304031104228020")


def public_pem(key):
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def ecdsa(folder, name, curve, digest):
    message = (folder / f"{name}.message").read_bytes()
    ours = serialization.load_pem_public_key((folder / f"{name}.pem").read_bytes())
    assert isinstance(ours.curve, curve), name
    ours.verify((folder / f"{name}.signature").read_bytes(), message, ec.ECDSA(digest()))
    assert public_pem(ours) == (folder / f"{name}.pem").read_bytes(), f"{name}: PEM text differs"
    private = serialization.load_der_private_key((folder / f"{name}.pkcs8").read_bytes(), None)
    assert public_pem(private.public_key()) == public_pem(ours), name
    theirs = ec.generate_private_key(curve())
    (folder / f"theirs-{name}.pem").write_bytes(public_pem(theirs.public_key()))
    (folder / f"theirs-{name}.signature").write_bytes(theirs.sign(message, ec.ECDSA(digest())))


def eddsa(folder, name="ed25519"):
    message = (folder / f"{name}.message").read_bytes()
    ours = serialization.load_pem_public_key((folder / f"{name}.pem").read_bytes())
    ours.verify((folder / f"{name}.signature").read_bytes(), message)
    assert public_pem(ours) == (folder / f"{name}.pem").read_bytes(), f"{name}: PEM text differs"
    private = serialization.load_der_private_key((folder / f"{name}.pkcs8").read_bytes(), None)
    assert public_pem(private.public_key()) == public_pem(ours), name
    theirs = ed25519.Ed25519PrivateKey.generate()
    (folder / f"theirs-{name}.pem").write_bytes(public_pem(theirs.public_key()))
    (folder / f"theirs-{name}.signature").write_bytes(theirs.sign(message))


def ml_dsa(folder, name="ml-dsa-44"):
    message = (folder / f"{name}.message").read_bytes()
    lines = (folder / f"{name}.pem").read_text().strip().splitlines()
    der = base64.b64decode("".join(lines[1:-1]), validate=True)
    assert der.startswith(ML_DSA_44_SPKI) and len(der) == len(ML_DSA_44_SPKI) + 1312, name
    ours = der[len(ML_DSA_44_SPKI) :]
    assert ML_DSA_44.verify(ours, message, (folder / f"{name}.signature").read_bytes()), name
    pkcs8 = (folder / f"{name}.pkcs8").read_bytes()
    assert pkcs8.startswith(ML_DSA_44_SEED) and len(pkcs8) == len(ML_DSA_44_SEED) + 32, name
    assert ML_DSA_44.key_derive(pkcs8[len(ML_DSA_44_SEED) :])[0] == ours, f"{name}: another public key"
    public, secret = ML_DSA_44.keygen()
    text = base64.encodebytes(ML_DSA_44_SPKI + public).decode()
    pem = f"-----BEGIN PUBLIC KEY-----\n{text}-----END PUBLIC KEY-----\n"
    (folder / f"theirs-{name}.pem").write_text(pem)
    (folder / f"theirs-{name}.signature").write_bytes(ML_DSA_44.sign(secret, message))


def certificates(folder, unix_time):
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    leaf = x509.load_der_x509_certificate((folder / "leaf.der").read_bytes())
    now = datetime.datetime.fromtimestamp(unix_time, datetime.timezone.utc)
    policy = verification.PolicyBuilder().store(verification.Store([authority])).time(now)
    for name in [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]:
        policy.build_server_verifier(name).verify(leaf, [])
    try:
        policy.build_server_verifier(x509.DNSName("other")).verify(leaf, [])
    except verification.VerificationError:
        return
    raise AssertionError("the certificate verified for another name")


def main():
    folder = pathlib.Path(sys.argv[1])
    for name, (curve, digest) in CURVES.items():
        ecdsa(folder, name, curve, digest)
    eddsa(folder)
    ml_dsa(folder)
    certificates(folder, int(sys.argv[2]))


main()
