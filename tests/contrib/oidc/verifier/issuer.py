"""A provider of tokens for tests: keys, documents and tokens, served by a transport that counts its requests."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from contextlib import asynccontextmanager
from functools import cache

import anyio
import httpx2
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from bandmaster.contrib.oidc import build_verifier, open_providers
from bandmaster.contrib.oidc.settings import AuthSettings

ISSUER = "https://id.example"
AUDIENCE = "https://api.example"
DISCOVERY = f"{ISSUER}/.well-known/openid-configuration"
JWKS = f"{ISSUER}/keys"


@cache
def make_key(kind, which=0):
    """A private key. ``which`` tells several of a kind apart."""
    del which
    if kind == "RSA":
        return RSAKey.generate_key(2048)
    return OKPKey.generate_key(kind) if kind.startswith("Ed") else ECKey.generate_key(kind)


KINDS = {"RS": "RSA", "PS": "RSA", "ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


def key_for(algorithm, which=0):
    """A private key for an algorithm."""
    kind = KINDS.get(algorithm) or KINDS.get(algorithm[:2]) or ("Ed448" if algorithm == "Ed448" else "Ed25519")
    return make_key(kind, which)


def encode(data):
    """Bytes, or anything else as JSON, in base64url."""
    if not isinstance(data, bytes):
        data = json.dumps(data, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(claims, *, algorithm="ES256", kid="one", header=None, key=None):
    """A token. ``claims`` and ``header`` are objects, or bytes that are taken as they are."""
    head = {"alg": algorithm, "typ": "JWT"}
    head |= {} if kid is None else {"kid": kid}
    protected = header if isinstance(header, bytes) else {**head, **(header or {})}
    signed = f"{encode(protected)}.{encode(claims)}"
    model = JWSRegistry.algorithms["Ed25519" if algorithm == "EdDSA" else algorithm]
    return f"{signed}.{encode(model.sign(signed.encode(), key or key_for(algorithm)))}"


def make_claims(**changes):
    """The claims of a good token; a change to ``...`` leaves a claim out."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 300, "scope": "read write"}
    return {name: value for name, value in {**claims, **changes}.items() if value is not ...}


def make_token(*, header=None, algorithm="ES256", kid="one", key=None, **changes):
    """A good token, with changes to its claims."""
    return sign(make_claims(**changes), algorithm=algorithm, kid=kid, header=header, key=key)


def publish(key, kid="one", **members):
    """The public half of a key, as a member of a key set."""
    named = {} if kid is None else {"kid": kid}
    return {**key.as_dict(private=False), **named, **members}


class Issuer(httpx2.AsyncBaseTransport):
    """Answers the requests of a client as a provider, and counts them by address.

    ``answers`` maps addresses to documents, to bytes, or to functions of the request that return a response. ``away``
    makes every connection fail, ``hangs`` lets every request wait for ever, and ``slow`` is a number of seconds.
    """

    def __init__(self, *keys, issuer=ISSUER):
        self.keys = list(keys or [publish(key_for("ES256"))])
        self.document = {"issuer": issuer, "jwks_uri": f"{issuer.removesuffix('/')}/keys"}
        self.answers = {
            f"{issuer.removesuffix('/')}/.well-known/openid-configuration": lambda request: self.document,
            f"{issuer.removesuffix('/')}/keys": lambda request: {"keys": self.keys},
        }
        self.away = self.hangs = False
        self.slow = 0.0
        self.counts = Counter()
        self.headers = []

    async def handle_async_request(self, request):
        self.counts[str(request.url)] += 1
        self.headers.append(request.headers)
        if self.away:
            raise httpx2.ConnectError("connection refused", request=request)
        if self.hangs:
            await anyio.sleep_forever()
        await anyio.sleep(self.slow)
        answer = self.answers.get(str(request.url), httpx2.Response(404))
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, httpx2.Response):
            return answer
        return httpx2.Response(200, content=answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    @property
    def requests(self):
        """How many requests for discovery documents and for keys there were."""
        found = Counter()
        for url, count in self.counts.items():
            found["discovery" if "well-known" in url else "keys"] += count
        return found["discovery"], found["keys"]


def make_settings(**changes):
    """Settings with one provider."""
    return AuthSettings(**{"issuer": ISSUER, "audiences": [AUDIENCE], **changes})


@asynccontextmanager
async def verifying(transport, /, *, clock=None, opaque=None, allow_loopback=True, **changes):
    """A verifier of tokens, and the providers, until the block ends."""
    settings = make_settings(**changes)
    options = {} if clock is None else {"clock": clock}
    async with (
        httpx2.AsyncClient(transport=transport) as client,
        open_providers(settings, client, allow_loopback=allow_loopback, **options) as providers,
    ):
        yield build_verifier(settings, providers, opaque), providers
