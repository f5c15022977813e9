"""Key sets, imported key by key."""

import warnings

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from tests.contrib.oidc.verifier.issuer import encode, key_for, make_key, publish

from bandmaster.contrib.oidc import ProviderRefusedError
from bandmaster.contrib.oidc.algorithms import KNOWN, expand_algorithms
from bandmaster.contrib.oidc.issuers.keys import import_keys

ALL = frozenset(KNOWN)
GOOD = publish(key_for("ES256"), "good")


def load(*members, allowed=ALL, **options):
    return import_keys({"keys": list(members)}, allowed, source="https://id.example/keys", **options)


def rsa(bits):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RSAKey.generate_key(bits)


BAD = {
    "a secret": {**OctKey.generate_key(256).as_dict(private=True), "kid": "bad"},
    "a private RSA key": {**key_for("RS256").as_dict(private=True), "kid": "bad"},
    "a private EC key": {**key_for("ES256").as_dict(private=True), "kid": "bad"},
    "an RSA key of 1024 bits": publish(rsa(1024), "bad"),
    "a large exponent": publish(key_for("RS256"), "bad", e="_" * 12),
    "an even modulus": publish(key_for("RS256"), "bad", n="g" + "A" * 341),
    "for encryption": publish(key_for("RS256"), "bad", use="enc"),
    "use is a list": publish(key_for("RS256"), "bad", use=["sig"]),
    "for signing alone": publish(key_for("RS256"), "bad", key_ops=["sign"]),
    "key_ops is a text": publish(key_for("RS256"), "bad", key_ops="verify"),
    "alg of encryption": publish(key_for("RS256"), "bad", alg="RSA-OAEP"),
    "alg of another kind": publish(key_for("RS256"), "bad", alg="ES256"),
    "alg is a list": publish(key_for("RS256"), "bad", alg=["RS256"]),
    "secp256k1": publish(ECKey.generate_key("secp256k1"), "bad"),
    "X25519": publish(OKPKey.generate_key("X25519"), "bad"),
    "an unknown kind": {"kty": "AKP", "kid": "bad", "pub": "x"},
    "no kind": {"kid": "bad"},
    "kind is a list": {"kty": ["RSA"], "kid": "bad"},
    "a point beside the curve": publish(key_for("ES256"), "bad", y=publish(key_for("ES256", 1))["y"]),
    "no coordinate": {name: value for name, value in publish(key_for("ES256"), "bad").items() if name != "y"},
    "coordinate is a number": publish(key_for("ES256"), "bad", x=1),
    "coordinate isn't base64url": publish(key_for("ES256"), "bad", x="###"),
    "a short Ed25519 key": publish(key_for("EdDSA"), "bad", x="AAAA"),
    "a modulus of a megabyte": publish(key_for("RS256"), "bad", n="A" * 1_000_000),
    "the id is a number": publish(key_for("ES256"), 7),
    "the id is empty": publish(key_for("ES256"), ""),
    "the id is long": publish(key_for("ES256"), "x" * 10_000),
    "the id is taken": publish(key_for("ES256", "other"), "good"),
    "null": None,
    "a list": ["RSA"],
}


@pytest.mark.requirement("AU-2", "AU-15")
@pytest.mark.parametrize("member", BAD.values(), ids=BAD.keys())
def test_a_key_that_cannot_be_used_spoils_no_other(member):
    """The key is left out with a reason for the log, and the good one beside it is used."""
    found = load(GOOD, member)
    assert (["good"], 1, 1) == (list(found.named), len(found), len(found.left_out))
    assert key_for("ES256").as_dict(private=False)["x"] == found.named["good"][0].key.as_dict()["x"]
    assert len(found.left_out[0]) < 200


@pytest.mark.parametrize("name", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
def test_a_key_with_any_private_member_is_left_out(name):
    """Whoever publishes one has published a secret, also where the others are left out."""
    found = load(GOOD, publish(key_for("RS256"), "bad", **{name: "AQAB"}))
    assert ["key 2: is a secret or a private key"] == list(found.left_out)


@pytest.mark.parametrize(("bits", "usable"), [(2047, False), (2048, True), (8192, True), (8193, False)])
def test_the_bits_of_an_rsa_key(bits, usable):
    """From 2048 to 8192, counted exactly."""
    n = ((1 << (bits - 1)) | 1).to_bytes((bits + 7) // 8)
    found = load(GOOD, publish(key_for("RS256"), "k", n=encode(n)))
    assert usable is ("k" in found.named)
    assert usable or f"has {bits} bits" in found.left_out[0]


def test_a_set_without_a_usable_key_is_refused():
    """The error says why no key is left, and names the setting."""
    with pytest.raises(ProviderRefusedError, match=r"no key for ES256: key 1: is for RS256.*Is algorithms right"):
        load(publish(key_for("RS256"), alg="RS256"), allowed=frozenset({"ES256"}))
    with pytest.raises(ProviderRefusedError, match="the list is empty"):
        load()
    with pytest.raises(ProviderRefusedError, match="has no list of keys"):
        import_keys({"keys": {}}, ALL, source="x")


@pytest.mark.requirement("AU-15")
def test_the_number_of_keys_is_bounded():
    """Keys beyond the bound are ignored, and the log says so."""
    found = load(*(publish(key_for("ES256"), f"k{number}") for number in range(9)), max_keys=3)
    assert (["k0", "k1", "k2"], ("6 keys are beyond max_keys",)) == (list(found.named), found.left_out)


@pytest.mark.requirement("AU-1", "CA-11")
@pytest.mark.parametrize(
    ("kind", "members", "expected"),
    [
        ("RSA", {}, {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ("RSA", {"alg": "PS384"}, {"PS384"}),
        ("P-256", {}, {"ES256"}),
        ("P-384", {"alg": "ES384"}, {"ES384"}),
        ("P-521", {}, {"ES512"}),
        ("Ed25519", {}, {"EdDSA", "Ed25519"}),
        ("Ed25519", {"alg": "EdDSA"}, {"EdDSA", "Ed25519"}),
        ("Ed25519", {"alg": "Ed25519"}, {"EdDSA", "Ed25519"}),
        ("Ed448", {}, {"Ed448"}),
        ("Ed448", {"alg": "Ed448"}, {"Ed448"}),
    ],
)
def test_the_algorithms_are_computed_from_the_key(kind, members, expected):
    """A key's algorithms depend on the kind and the alg of the key, never on the token."""
    key = load(publish(make_key(kind), "k", **members)).named["k"][0]
    assert expected == set(key.algorithms)


@pytest.mark.requirement("CA-11")
def test_an_ed448_key_is_no_eddsa_key():
    """Settings that allow EdDSA or Ed25519 don't admit an Ed448 key, also if it calls itself EdDSA."""
    for name in ("EdDSA", "Ed25519"):
        for members in ({}, {"alg": "EdDSA"}):
            found = load(publish(make_key("Ed448"), "k", **members), GOOD, allowed=expand_algorithms([name, "ES256"]))
            assert ["good"] == list(found.named)


def test_keys_of_several_kinds_may_share_an_id():
    """The algorithm of the token tells which is meant (RFC 7517, section 4.5)."""
    found = load(publish(key_for("ES256"), "k"), publish(key_for("RS256"), "k"))
    assert 2 == len(found)
    assert ["ECKey", "RSAKey"] == [type(found.find("k", name)[0].key).__name__ for name in ("ES256", "RS256")]
    assert () == found.find("k", "ES512")
    assert found.find("other", "ES256") is None


def test_a_token_without_an_id_may_fit_several_keys():
    """A few of those of its algorithm are tried, with and without ids."""
    keys = [publish(key_for("ES256", number), None) for number in range(12)]
    found = load(*keys, GOOD, publish(key_for("RS256"), None))
    assert 8 == len(found.find(None, "ES256"))
    assert 1 == len(found.find(None, "RS256"))
    assert "good" == load(GOOD).find(None, "ES256")[0].kid


@pytest.mark.requirement("AU-17")
def test_a_key_shows_no_material():
    """The text of a key set has no key."""
    assert GOOD["x"] not in repr(load(GOOD))


def test_the_library_does_not_warn():
    """Small keys and the older name of Ed25519, of which the library warns, don't reach the log."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load(GOOD, BAD["an RSA key of 1024 bits"], publish(key_for("EdDSA"), "ed", alg="EdDSA"))
        assert found.named["ed"][0].verify("EdDSA", b"x", bytes(64)) is False
