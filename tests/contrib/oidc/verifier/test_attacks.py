"""Tokens of attackers, all refused alike, in little time and without a further request."""

import base64
import hashlib
import hmac
import json
import time

import pytest
from tests.contrib.oidc.verifier.issuer import (
    AUDIENCE,
    ISSUER,
    Issuer,
    encode,
    key_for,
    make_claims,
    make_token,
    publish,
    sign,
    verifying,
)

from bandmaster.contrib.oidc import InvalidTokenError

pytestmark = pytest.mark.anyio

ALGORITHMS = ("RS256", "ES256", "EdDSA")
KIDS = {"RS256": "rsa", "ES256": "one", "EdDSA": "ed"}
NOW = int(time.time())
MOST_CPU = 0.25
"""Seconds of the processor that a refusal may take; it takes a few milliseconds at the most."""


def unsigned(header, claims=None, signature=""):
    return f"{encode(header)}.{encode(claims or make_claims())}.{signature}"


def with_hmac(secret, *, algorithm="HS256", kid="one", **header):
    signed = f"{encode({'alg': algorithm, 'typ': 'JWT', 'kid': kid, **header})}.{encode(make_claims())}"
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
    return f"{signed}.{encode(hmac.new(secret, signed.encode(), digest).digest())}"


def change(token, part, function):
    parts = token.split(".")
    parts[part] = function(parts[part])
    return ".".join(parts)


def raw_claims(**changes):
    """Claims as JSON text, with members appended as they are written."""
    text = json.dumps(make_claims())[:-1]
    return "".join([text, *(f", {json.dumps(name)}: {value}" for name, value in changes.items()), "}"]).encode()


def without(name, value):
    """Claims with one member written as it is."""
    claims = {key: one for key, one in make_claims().items() if key != name}
    return f"{json.dumps(claims)[:-1]}, {json.dumps(name)}: {value}}}".encode()


def flip(segment):
    data = bytearray(base64.urlsafe_b64decode(segment + "=="))
    data[0] ^= 1
    return encode(bytes(data))


def pem(algorithm):
    return key_for(algorithm).as_pem(private=False)


def der(algorithm):
    return key_for(algorithm).as_der(private=False)


def good(algorithm="ES256", **changes):
    return make_token(algorithm=algorithm, kid=KIDS[algorithm], **changes)


def stranger(algorithm="ES256", **options):
    """A token that is signed by a key of its sender."""
    return sign(make_claims(), algorithm=algorithm, key=key_for(algorithm, "stranger"), **options)


def stranger_key(algorithm="ES256"):
    return publish(key_for(algorithm, "stranger"), "one")


ATTACKS = {
    # no signature
    **{
        f"alg {name}": unsigned({"alg": name, "typ": "JWT", "kid": "one"})
        for name in ("none", "None", "NONE", "nOnE", "none ", "")
    },
    "alg none with a signature": unsigned({"alg": "none", "kid": "one"}, signature=encode(b"x" * 64)),
    "alg none without kid": unsigned({"alg": "none"}),
    "signature stripped": change(good(), 2, lambda part: ""),
    "two parts": good().rpartition(".")[0],
    "only a header": good().partition(".")[0] + "..",
    # the public key as a shared secret
    "HS256 with the PEM of the RSA key": with_hmac(pem("RS256"), kid="rsa"),
    "HS256 with the DER of the RSA key": with_hmac(der("RS256"), kid="rsa"),
    "HS384 with the PEM of the RSA key": with_hmac(pem("RS256"), kid="rsa", algorithm="HS384"),
    "HS512 with the PEM of the EC key": with_hmac(pem("ES256"), algorithm="HS512"),
    "HS256 with the PEM of the EC key": with_hmac(pem("ES256")),
    "HS256 with the PEM of the Ed25519 key": with_hmac(pem("EdDSA"), kid="ed"),
    "HS256 with the JWK of the RSA key": with_hmac(
        json.dumps(publish(key_for("RS256"), "rsa"), separators=(",", ":")).encode(), kid="rsa"
    ),
    "HS256 with an empty secret": with_hmac(b""),
    "HS256 without kid": with_hmac(pem("RS256"), kid="rsa"),
    # algorithm and key don't fit
    "RS256 named ES256": change(good("RS256"), 0, lambda part: encode({"alg": "ES256", "kid": "rsa"})),
    "ES256 with the kid of the RSA key": good(header={"kid": "rsa"}),
    "RS256 with the kid of the EC key": good("RS256", header={"kid": "one"}),
    "PS256, which isn't allowed": make_token(algorithm="PS256", kid="rsa"),
    "RS512, which isn't allowed": make_token(algorithm="RS512", kid="rsa"),
    "RS1": change(good("RS256"), 0, lambda part: encode({"alg": "RS1", "kid": "rsa"})),
    "es256 in lower case": change(good(), 0, lambda part: encode({"alg": "es256", "kid": "one"})),
    "Ed448 named EdDSA": make_token(algorithm="EdDSA", kid="ed", key=key_for("Ed448")),
    "alg is a list": unsigned({"alg": ["ES256"], "kid": "one"}, signature=encode(b"x" * 64)),
    "alg is null": unsigned({"alg": None, "kid": "one"}, signature=encode(b"x" * 64)),
    "alg is missing": unsigned({"kid": "one"}, signature=encode(b"x" * 64)),
    "RSA-OAEP": unsigned({"alg": "RSA-OAEP", "kid": "rsa"}, signature=encode(b"x" * 64)),
    # signatures
    **{f"{name} with a changed signature": change(good(name), 2, flip) for name in ALGORITHMS},
    **{
        f"{name} with changed claims": change(good(name), 1, lambda part: encode(make_claims(sub="admin")))
        for name in ALGORITHMS
    },
    **{f"{name} by a stranger": stranger(name, kid=KIDS[name]) for name in ALGORITHMS},
    "stranger without kid": stranger(kid=None),
    "ES256 with zeros (CVE-2022-21449)": change(good(), 2, lambda part: encode(bytes(64))),
    "ES256 with r = 0": change(good(), 2, lambda part: encode(bytes(32) + b"\1" * 32)),
    "ES256 with the order as s": change(
        good(),
        2,
        lambda part: encode(
            b"\1" * 32 + bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
        ),
    ),
    "ES256 as DER": change(good(), 2, lambda part: encode(b"\x30\x44\x02\x20" + b"\1" * 32 + b"\x02\x20" + b"\1" * 32)),
    "ES256 with one byte more": change(good(), 2, lambda part: encode(base64.urlsafe_b64decode(part + "==") + b"\0")),
    "ES256 with one byte less": change(good(), 2, lambda part: encode(base64.urlsafe_b64decode(part + "==")[:-1])),
    "RS256 with an empty signature": change(good("RS256"), 2, lambda part: ""),
    "RS256 with one byte": change(good("RS256"), 2, lambda part: "AA"),
    "a signature of 10000 bytes": change(good(), 2, lambda part: encode(b"x" * 10_000)),
    # keys from the sender
    "jwk in the header": stranger(header={"jwk": stranger_key()}),
    "jwk in the header, unknown kid": stranger(kid="theirs", header={"jwk": stranger_key()}),
    "jku in the header": stranger(header={"jku": "https://attacker.example/keys"}),
    "jku to this provider": stranger(header={"jku": f"{ISSUER}/keys"}),
    "x5u in the header": stranger(header={"x5u": "https://attacker.example/chain.pem"}),
    "x5c in the header": stranger(header={"x5c": [base64.b64encode(b"certificate").decode()]}),
    **{
        f"kid {kid[:24]!r}": stranger(kid=kid)
        for kid in (
            "../../../../dev/null",
            "/dev/null",
            "file:///etc/passwd",
            "https://attacker.example/keys",
            "' OR 1=1 --",
            "one\0",
            "${jndi:ldap://attacker.example/a}",
            "| sleep 9",
            "ONE",
            "x" * 400,
        )
    },
    "kid is a number": sign(make_claims(), kid=1),
    "kid is a list": sign(make_claims(), kid=["one"]),
    "kid is empty": sign(make_claims(), kid=""),
    "kid has 10000 characters": sign(make_claims(), kid="x" * 10_000),
    # extensions of the header
    "crit with exp": good(header={"crit": ["exp"], "exp": NOW}),
    "crit with an unknown name": good(header={"crit": ["http://example.com/x"], "http://example.com/x": True}),
    "crit is empty": good(header={"crit": []}),
    "crit is a text": good(header={"crit": "b64"}),
    "crit is null": good(header={"crit": None}),
    "b64 false": good(header={"b64": False, "crit": ["b64"]}),
    "b64 false without crit": good(header={"b64": False}),
    "b64 true": good(header={"b64": True}),
    "b64 false with the payload as it is": f"{encode({'alg': 'ES256', 'kid': 'one', 'b64': False, 'crit': ['b64']})}."
    f"{{}}.{encode(b'x' * 64)}",
    "zip": good(header={"zip": "DEF"}),
    "enc in a signed token": good(header={"enc": "A128GCM"}),
    "nested by cty": good(header={"cty": "JWT"}),
    "a token inside of a token": sign(good().encode(), header={"cty": "JWT"}),
    "an encrypted token": ".".join([encode({"alg": "RSA-OAEP", "enc": "A128GCM"}), "a", "b", "c", "d"]),
    **{
        f"typ {kind!r}": good(header={"typ": kind})
        for kind in ("logout+jwt", "dpop+jwt", "id+jwt", "rt+jwt", "secevent+jwt", "JWE", 1, None, ["JWT"])
    },
    # JSON that parsers read differently
    "alg twice in the header": sign(make_claims(), header=b'{"alg":"none","alg":"ES256","kid":"one"}'),
    "kid twice in the header": sign(make_claims(), header=b'{"alg":"ES256","kid":"one","kid":"two"}'),
    "sub twice": sign(raw_claims(sub='"admin"')),
    "exp twice": sign(raw_claims(exp="99999999999")),
    "aud twice": sign(raw_claims(aud='"x"')),
    "a key twice inside of a claim": sign(raw_claims(act='{"sub": "a", "sub": "b"}')),
    "iss twice": sign(raw_claims(iss='"x"')),
    "header with a comment": sign(make_claims(), header=b'{"alg":"ES256",/**/"kid":"one"}'),
    "header with single quotes": sign(make_claims(), header=b"{'alg':'ES256','kid':'one'}"),
    "header is a list": sign(make_claims(), header=b'["ES256"]'),
    "header is a text": sign(make_claims(), header=b'"ES256"'),
    "header in UTF-16": sign(make_claims(), header='{"alg":"ES256","kid":"one"}'.encode("utf-16")),
    "header with a byte order mark": sign(make_claims(), header=b'\xef\xbb\xbf{"alg":"ES256","kid":"one"}'),
    "claims are a list": sign(b"[1]"),
    "claims are null": sign(b"null"),
    "claims are a text": sign(b'"alice"'),
    "claims are a number": sign(b"1"),
    "claims are empty": sign(b""),
    "claims in UTF-16": sign(json.dumps(make_claims()).encode("utf-16")),
    "claims in Latin-1": sign(json.dumps(make_claims(sub="Zoë"), ensure_ascii=False).encode("latin-1")),
    "claims with half of a pair": sign(raw_claims(name='"\\ud800"')),
    "claims with rubbish behind": sign(json.dumps(make_claims()).encode() + b"{}"),
    "claims that nest 20000 deep": sign(raw_claims(x="[" * 5000 + "]" * 5000)),
    "claims with a number of 5000 digits": sign(raw_claims(x="9" * 5000)),
    # base64url
    "padding": change(good(), 1, lambda part: part + "="),
    "padding of the signature": good() + "==",
    "a line end": change(good(), 1, lambda part: part + "\n"),
    "a line end behind the token": good() + "\n",
    "a blank in front": " " + good(),
    "the alphabet of base64": change(good(), 2, lambda part: "+/" + part[2:]),
    "bits behind the end": change(good(), 2, lambda part: part[:-1] + chr(ord(part[-1]) + 1)),
    "characters beyond ASCII": good() + "é",
    "a full-width dot": good().replace(".", "．"),
    "NUL": good() + "\0",
    "four parts": good() + ".x",
    "empty": "",
    "dots": "..",
    "dots without end": "." * 10_000,
    "rubbish": "rubbish",
    "a JSON serialization": json.dumps(
        dict(zip(("protected", "payload", "signature"), good().split("."), strict=True))
    ),
    "200 kB": change(good(), 1, lambda part: part + "A" * 200_000),
    # claims
    **{f"no {name}": good(**{name: ...}) for name in ("iss", "aud", "sub", "exp")},
    **{
        f"exp {value}": sign(without("exp", value))
        for value in (
            '"9999999999"',
            '"2099-12-31T23:59:59Z"',
            "NaN",
            "Infinity",
            "-Infinity",
            "1e999",
            "-1",
            "null",
            "true",
            "[9999999999]",
            '{"$gt": 0}',
            "1" + "0" * 400,
            "9" * 13,
        )
    },
    "expired": good(exp=NOW - 3600),
    "expired beyond the leeway": good(exp=NOW - 31),
    "expired in the year 1970": good(exp=0),
    "not yet valid": good(nbf=NOW + 3600),
    "not yet valid beyond the leeway": good(nbf=NOW + 600),
    "nbf as a text": good(nbf="0"),
    "nbf is null": good(nbf=None),
    "iat in the future": good(iat=NOW + 3600),
    "iat as a text": good(iat=str(NOW)),
    "iat is true": good(iat=True),
    "another issuer": good(iss="https://attacker.example"),
    "the issuer with a slash": good(iss=f"{ISSUER}/"),
    "the issuer in capitals": good(iss=ISSUER.upper()),
    "the issuer with a blank": good(iss=f"{ISSUER} "),
    "the issuer in a list": good(iss=[ISSUER]),
    "the issuer in an object": good(iss={"url": ISSUER}),
    "the issuer as a prefix": good(iss=f"{ISSUER}.attacker.example"),
    "the issuer is empty": good(iss=""),
    "another audience": good(aud="https://other.example"),
    "another audience in a list": good(aud=["https://other.example"]),
    "an empty list of audiences": good(aud=[]),
    "audience is null": good(aud=None),
    "audience is an object": good(aud={AUDIENCE: True}),
    "audience with a blank": good(aud=f"{AUDIENCE} "),
    "audience as a part": good(aud=AUDIENCE[:-1]),
    "two audiences in one text": good(aud=f"{AUDIENCE} https://other.example"),
    "audience is a list with a number": good(aud=[AUDIENCE, 1]),
    "azp instead of an audience": good(aud="https://other.example", azp=AUDIENCE),
    "azp is a list": good(azp=["client"]),
    "sub is a number": good(sub=1),
    "sub is empty": good(sub=""),
    "sub is a list": good(sub=["alice"]),
    "sub with a line end": good(sub="alice\nadmin"),
    "sub with NUL": good(sub="alice\0"),
    "sub of 5000 characters": good(sub="x" * 5000),
    "jti is an object": good(jti={"$ne": ""}),
    "an ID token": good(at_hash="x"),
    "an ID token without at_hash": good(nonce="n"),
    "an ID token of Keycloak": good(typ="ID"),
    "a refresh token of Keycloak": good(typ="Refresh"),
    "an ID token of Cognito": good(token_use="id"),
    "a logout token": good(events={"http://schemas.openid.net/event/backchannel-logout": {}}),
    "bound to a key (DPoP)": good(cnf={"jkt": "x"}),
    "bound to a certificate": good(cnf={"x5t#S256": "x"}),
}


@pytest.fixture
def issuer():
    return Issuer(publish(key_for("RS256"), "rsa"), publish(key_for("ES256"), "one"), publish(key_for("EdDSA"), "ed"))


def test_the_matrix_is_large():
    """At least 80 different attacks are tried."""
    assert len(set(ATTACKS.values())) >= 80


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_the_token_that_attackers_change_is_accepted(issuer, algorithm) -> None:
    """The tokens that the matrix starts from hold, so that only the change is refused."""
    async with verifying(issuer) as (verifier, _):
        principal = await verifier.verify(good(algorithm))
    assert ("alice", ISSUER) == (principal.subject, principal.issuer)


@pytest.mark.requirement("AU-1", "AU-5", "AU-8")
@pytest.mark.parametrize("token", ATTACKS.values(), ids=ATTACKS.keys())
async def test_the_token_of_an_attacker_is_refused(issuer, token) -> None:
    """Each is refused with the same status and code, in bounded time, and the error shows neither token nor key."""
    async with verifying(issuer) as (verifier, providers):
        await providers["default"].keys.warm()
        begin = time.thread_time()
        with pytest.raises(InvalidTokenError) as refused:
            await verifier.verify(token)
        assert time.thread_time() - begin < MOST_CPU
    error = refused.value
    assert (401, "invalid_token") == (error.status, error.code)
    assert len(str(error)) < 700
    assert not any(len(part) > 20 and part in str(error) for part in token.split("."))
    # At most the one fetch that an unknown key may cause, and no request to anywhere else.
    assert set(issuer.counts) == {f"{ISSUER}/.well-known/openid-configuration", f"{ISSUER}/keys"}
    assert issuer.requests in ((1, 1), (1, 2))
