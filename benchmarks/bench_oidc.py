"""The verification of bearer tokens, compared with the libraries' own, and the fetches of a cold start.

Each variant checks the signature, the issuer, the audience and the times of the same token, by a key that it has
already. The variant of FastAPI is the idiom of its users: PyJWT with the key from a `PyJWKClient`, whose key set is
cached. CPU time of the thread, in shuffled rounds, as medians of the rounds' ratios. Quote the ratios, never the times.
`python benchmarks/bench_oidc.py [--rounds 31] [--tokens 100]`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import jwt as pyjwt
from authlib.jose import JsonWebKey, JsonWebToken
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from bandmaster.contrib.oidc import AuthSettings, TokenVerifier, build_verifier, open_providers

ISSUER, AUDIENCE = "https://id.example", "https://api.example"
KEYS: Mapping[str, Key] = {
    "RS256": RSAKey.generate_key(2048, {"kid": "rsa"}),
    "ES256": ECKey.generate_key("P-256", {"kid": "ec"}),
    "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
}
COLD_REQUESTS = 500
TARGET = 1.5
Verify = Callable[[str], Awaitable[Any]]

# The library warns of the name EdDSA at each use.
warnings.simplefilter("ignore")


def make_token(algorithm: str) -> str:
    """A token as providers issue them, with a few claims of their own."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": [AUDIENCE, "account"],
        "sub": "6f1a2b0c-8d94-4e0e-9f6d-0a1b2c3d4e5f",
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "jti": "c0a8012e-7c5b-4c1e-8f54-3f7a4f0d9a11",
        "azp": "shop",
        "scope": "openid profile orders:read orders:write",
        "realm_access": {"roles": ["customer", "offline_access"]},
        "email": "alice@example.com",
        "name": "Alice Example",
    }
    header = {"alg": algorithm, "typ": "JWT", "kid": str(KEYS[algorithm].kid)}
    return jwt.encode(header, claims, KEYS[algorithm], algorithms=[algorithm])


class Provider(httpx2.AsyncBaseTransport):
    """A provider that counts the requests."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.counts[request.url.path] += 1
        await asyncio.sleep(0.01)
        keys = {"keys": [key.as_dict(private=False) for key in KEYS.values()]}
        is_keys = request.url.path == "/keys"
        return httpx2.Response(200, json=keys if is_keys else {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"})


@asynccontextmanager
async def open_verifier() -> AsyncIterator[tuple[TokenVerifier, Provider]]:
    provider = Provider()
    settings = AuthSettings(issuer=ISSUER, audiences=(AUDIENCE,))
    async with (
        httpx2.AsyncClient(transport=provider) as client,
        open_providers(settings, client) as providers,
    ):
        yield build_verifier(settings, providers), provider


def by_joserfc(algorithm: str) -> Verify:
    key = type(KEYS[algorithm]).import_key(KEYS[algorithm].as_dict(private=False))
    registry = jwt.JWTClaimsRegistry(
        leeway=30,
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": AUDIENCE},
        exp={"essential": True},
    )

    async def verify(token: str) -> Any:
        decoded = jwt.decode(token, key, algorithms=[algorithm])
        registry.validate(decoded.claims)
        return decoded.claims

    return verify


def by_pyjwt(algorithm: str) -> Verify:
    key = pyjwt.PyJWK(json.loads(json.dumps(KEYS[algorithm].as_dict(private=False))), algorithm).key

    async def verify(token: str) -> Any:
        options = {"require": ["exp", "iss", "aud", "sub"]}
        return pyjwt.decode(
            token, key, algorithms=[algorithm], audience=AUDIENCE, issuer=ISSUER, leeway=30, options=options
        )

    return verify


def by_authlib(algorithm: str) -> Verify:
    key = JsonWebKey.import_key(KEYS[algorithm].as_dict(private=False))
    library = JsonWebToken([algorithm])
    demanded = {
        "iss": {"essential": True, "value": ISSUER},
        "aud": {"essential": True, "value": AUDIENCE},
        "exp": {"essential": True},
    }

    async def verify(token: str) -> Any:
        claims = library.decode(token, key, claims_options=demanded)
        claims.validate(leeway=30)
        return claims

    return verify


def by_fastapi_idiom(algorithm: str) -> Verify:
    client = pyjwt.PyJWKClient(f"{ISSUER}/keys", cache_jwk_set=True, lifespan=3600)
    keys = {"keys": [key.as_dict(private=False) for key in KEYS.values()]}

    def fetch() -> Any:
        if client.jwk_set_cache is not None:
            client.jwk_set_cache.put(keys)
        return keys

    client.fetch_data = fetch  # type: ignore[method-assign]

    async def verify(token: str) -> Any:
        key = client.get_signing_key_from_jwt(token)
        return pyjwt.decode(token, key, algorithms=[algorithm], audience=AUDIENCE, issuer=ISSUER, leeway=30)

    return verify


async def measure(verify: Verify, token: str, count: int) -> float:
    """Microseconds of CPU time for one verification."""
    began = time.thread_time_ns()
    for _ in range(count):
        await verify(token)
    return (time.thread_time_ns() - began) / count / 1000


async def compare(rounds: int, count: int) -> dict[tuple[str, str], list[float]]:
    async with open_verifier() as (verifier, _):
        variants: dict[tuple[str, str], Verify] = {}
        for algorithm in KEYS:
            variants |= {
                (algorithm, "joserfc"): by_joserfc(algorithm),
                (algorithm, "bandmaster"): verifier.verify,
                (algorithm, "PyJWT"): by_pyjwt(algorithm),
                (algorithm, "Authlib"): by_authlib(algorithm),
                (algorithm, "FastAPI idiom"): by_fastapi_idiom(algorithm),
            }
        tokens = {algorithm: make_token(algorithm) for algorithm in KEYS}
        times: dict[tuple[str, str], list[float]] = {variant: [] for variant in variants}
        for variant, verify in variants.items():
            await measure(verify, tokens[variant[0]], 10)
        for _ in range(rounds):
            for variant in random.sample(list(variants), len(variants)):
                times[variant].append(await measure(variants[variant], tokens[variant[0]], count))
        return times


async def start_cold() -> Counter[str]:
    async with open_verifier() as (verifier, provider):
        token = make_token("ES256")
        await asyncio.gather(*(verifier.verify(token) for _ in range(COLD_REQUESTS)))
        return provider.counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--tokens", type=int, default=100)
    arguments = parser.parse_args()
    times = asyncio.run(compare(arguments.rounds, arguments.tokens))
    names = list(dict.fromkeys(name for _, name in times))

    def ratio(algorithm: str, name: str) -> float:
        # The ratio of each round, since other work of the machine slows both variants of a round.
        pairs = zip(times[algorithm, name], times[algorithm, "joserfc"], strict=True)
        return statistics.median(a / b for a, b in pairs)

    print(f"| one token, over joserfc's own verification | {' | '.join(KEYS)} | target |")
    print(f"|---|{'---|' * len(KEYS)}---|")
    for name in names:
        target = f"≤ {TARGET}" if name == "bandmaster" else ""
        print(f"| {name} | {' | '.join(f'{ratio(algorithm, name):.3g}' for algorithm in KEYS)} | {target} |")
    counts = asyncio.run(start_cold())
    discovery = sum(count for path, count in counts.items() if "well-known" in path)
    print(f"\n| {COLD_REQUESTS} concurrent cold requests | measured | target |\n|---|---|---|")
    print(f"| discovery fetches | {discovery} | 1 |\n| key fetches | {counts['/keys']} | 1 |")
    print(f"\n| | {' | '.join(f'{algorithm}, µs of CPU' for algorithm in KEYS)} |\n|---|{'---|' * len(KEYS)}")
    for name in names:
        print(f"| {name} | {' | '.join(f'{statistics.median(times[one, name]):.1f}' for one in KEYS)} |")


if __name__ == "__main__":
    main()
