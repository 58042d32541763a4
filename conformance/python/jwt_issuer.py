"""A token issuer that is not ours: PyJWT. jwt_issuer.py FOLDER ISSUER AUDIENCE NOW

Makes keys of every kind, writes FOLDER/jwks.json, and FOLDER/tokens.json: a list of {"name", "token", "accepted"}.
"""

import base64
import hashlib
import hmac
import json
import sys

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

folder, issuer, audience, now = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])

RSA = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
keys = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in RSA}
keys["ES256"] = ec.generate_private_key(ec.SECP256R1())
keys["ES384"] = ec.generate_private_key(ec.SECP384R1())
keys["EdDSA"] = ed25519.Ed25519PrivateKey.generate()
makers = {"ES256": ECAlgorithm, "ES384": ECAlgorithm, "EdDSA": OKPAlgorithm}

jwks = []
for name, key in keys.items():
    jwk = json.loads(makers.get(name, RSAAlgorithm).to_jwk(key.public_key()))
    jwks.append({**jwk, "kid": name, "use": "sig", "alg": name})
# What a reader has to leave out: a shared secret, a weak key, a curve that is not taken, a key for encryption.
weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
foreign = ec.generate_private_key(ec.SECP256K1())
jwks.append({"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "HS256"})
jwks.append({**json.loads(RSAAlgorithm.to_jwk(weak.public_key())), "kid": "weak"})
jwks.append({**json.loads(ECAlgorithm.to_jwk(foreign.public_key())), "kid": "foreign"})
jwks.append({**jwks[0], "kid": "encryption", "use": "enc"})
json.dump({"keys": jwks}, open(f"{folder}/jwks.json", "w"))

claims = {"iss": issuer, "aud": audience, "sub": "svc-1", "iat": now, "nbf": now, "exp": now + 600}
tokens = []


def token(name, accepted, *, algorithm="RS256", kid=None, key=None, headers=None, **over):
    payload = {name: value for name, value in {**claims, **over}.items() if value is not None}
    headers = {"kid": kid or algorithm, **(headers or {})}
    text = jwt.encode(payload, key or keys[algorithm], algorithm=algorithm, headers=headers)
    tokens.append({"name": name, "token": text, "accepted": accepted})


for name in keys:
    token(name, True, algorithm=name)
token("several audiences", True, aud=["other", audience])
token("access token type", True, headers={"typ": "at+jwt"})
token("further claims", True, scope="a b", roles=["admin"], nested={"a": [1]})

token("wrong audience", False, aud="other")
token("no audience", False, aud=None)
token("wrong issuer", False, iss=issuer + "/")
token("expired", False, iat=now - 900, nbf=now - 900, exp=now - 300)
token("no expiry", False, exp=None)
token("not yet valid", False, nbf=now + 300)
token("issued later", False, iat=now + 300)
token("no subject", False, sub=None)
token("another subject", False, sub="svc-2")
token("key of another algorithm", False, kid="RS384")
token("key for encryption", False, kid="encryption")
token("unknown key", False, kid="nobody")
token("weak key", False, kid="weak", key=weak)
token("foreign key", False, key=rsa.generate_private_key(public_exponent=65537, key_size=2048))
token("another type", False, headers={"typ": "logout+jwt"})
token("unknown extension", False, headers={"crit": ["x"], "x": 1})
token("shared secret", False, algorithm="HS256", kid="shared", key="secret" * 8)
tokens.append(
    {"name": "none", "token": jwt.encode(claims, None, algorithm="none", headers={"kid": "RS256"}), "accepted": False}
)

# PyJWT refuses to sign with a public key as a secret, so this one is made by hand.
text = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
pem = keys["RS256"].public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
signed = text(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "RS256"}).encode()) + b"." + text(json.dumps(claims).encode())
mac = text(hmac.new(pem, signed, hashlib.sha256).digest())
tokens.append({"name": "public key as secret", "token": (signed + b"." + mac).decode(), "accepted": False})

json.dump(tokens, open(f"{folder}/tokens.json", "w"))
