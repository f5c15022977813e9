"""The whole layer for API keys, compared with the ways in which applications check keys by hand.

CPU time of the thread, in shuffled rounds, as medians, without a server: applications are awaited in a row, as in
bench_stack.py. The store is in memory for all of them. Quote the ratios, never the times.
`python benchmarks/bench_apikeys.py [--rounds 15] [--requests 300]`
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import random
import secrets
import statistics
from collections.abc import Callable

import bcrypt
from bench_stack import copy_code, plain
from fastapi import FastAPI, HTTPException, Request, Security
from fastapi.security import APIKeyHeader
from measuring import make_scope, measure
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Scope

from bandmaster.contrib.oidc import ApiKeyAuth, ApiKeys, ApiKeySettings, MemoryApiKeyStore
from bandmaster.contrib.oidc.api_keys.build import build_hasher
from bandmaster.contrib.oidc.api_keys.key_text import add_checksum
from bandmaster.contrib.oidc.api_keys.pending_updates import PendingUpdates

SETTINGS = ApiKeySettings(peppers={"2026": secrets.token_urlsafe(32)})
OLD = secrets.token_urlsafe(32)
"""A key of the applications that check keys by hand."""
HASHES = {hashlib.sha256(OLD.encode()).hexdigest(): "acme"}
PEPPER = secrets.token_bytes(32)


async def make_layer(app: ASGIApp, settings: ApiKeySettings = SETTINGS) -> tuple[ASGIApp, str]:
    """The layer as the component assembles it, and a key."""
    store = MemoryApiKeyStore()
    keys = ApiKeys(store, build_hasher(settings), settings, updates=PendingUpdates(store, interval=60))
    made = await keys.create("acme", scopes=["read"])
    return ApiKeyAuth.layer(app, settings, keys), made.key.get_secret_value()


def starlette_idiom() -> ASGIApp:
    """Starlette's AuthenticationMiddleware with a backend that looks up a SHA-256."""

    class Backend(AuthenticationBackend):
        async def authenticate(self, conn):
            key = conn.headers.get("x-api-key")
            if key is None:
                return None
            owner = HASHES.get(hashlib.sha256(key.encode()).hexdigest())
            if owner is None:
                raise AuthenticationError("invalid key")
            return AuthCredentials(["read"]), SimpleUser(owner)

    return AuthenticationMiddleware(copy_code(plain), backend=Backend())


def base_http_idiom() -> ASGIApp:
    """A BaseHTTPMiddleware that looks up a SHA-256."""

    class Check(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            key = request.headers.get("x-api-key", "")
            owner = HASHES.get(hashlib.sha256(key.encode()).hexdigest())
            if owner is None:
                return PlainTextResponse("invalid key", 401)
            request.state.owner = owner
            return await call_next(request)

    return Check(copy_code(plain))


def fastapi_host(*, checks: bool) -> ASGIApp:
    """A FastAPI route, with or without a security dependency that compares a keyed hash."""
    host = FastAPI(openapi_url=None)
    header = APIKeyHeader(name="X-API-Key", auto_error=True)
    expected = hmac.digest(PEPPER, OLD.encode(), "sha256")

    async def owner(request: Request, key: str = Security(header)) -> str:
        if not hmac.compare_digest(hmac.digest(PEPPER, key.encode(), "sha256"), expected):
            raise HTTPException(401)
        return "acme"

    if checks:

        @host.get("/")
        async def hello(owner: str = Security(owner)):
            return PlainTextResponse("hello")
    else:

        @host.get("/")
        async def hello_all():
            return PlainTextResponse("hello")

    return host


def scope_with(*headers: tuple[bytes, bytes]) -> Callable[[], Scope]:
    def make() -> Scope:
        scope = make_scope()
        scope["headers"] += headers
        return scope

    return make


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=300)
    arguments = parser.parse_args()
    loop = asyncio.new_event_loop()
    layer, key = loop.run_until_complete(make_layer(copy_code(plain)))
    header = scope_with((b"x-api-key", key.encode()))
    bearer = scope_with((b"authorization", b"Bearer " + key.encode()))
    typing_error = key[:-1] + ("0" if key[-1] != "0" else "1")
    by_hand = scope_with((b"x-api-key", OLD.encode()))
    variants: dict[str, tuple[ASGIApp, Callable[[], Scope], float]] = {
        # The number is a variant's share of a round's requests.
        "raw": (copy_code(plain), make_scope, 1),
        "layer, Authorization": (layer, bearer, 1),
        "layer, X-API-Key": (layer, header, 1),
        "layer, no key": (layer, make_scope, 1),
        "layer, typing error (refused)": (layer, scope_with((b"x-api-key", typing_error.encode())), 0.3),
        "layer, unknown key (refused)": (layer, scope_with((b"x-api-key", _forge(key).encode())), 0.3),
        "AuthenticationMiddleware, SHA-256": (starlette_idiom(), by_hand, 0.5),
        "BaseHTTPMiddleware, SHA-256": (base_http_idiom(), by_hand, 0.05),
        "FastAPI": (fastapi_host(checks=False), by_hand, 0.2),
        "FastAPI, Security(APIKeyHeader), HMAC": (fastapi_host(checks=True), by_hand, 0.2),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(arguments.rounds):
        for name in random.sample(list(variants), len(variants)):
            app, make, share = variants[name]
            times[name].append(measure(loop, app, max(1, int(arguments.requests * share)), make))
    loop.close()
    took = {name: statistics.median(rounds) for name, rounds in times.items()}
    cost = {name: microseconds - took["raw"] for name, microseconds in took.items()}
    cost["FastAPI, Security(APIKeyHeader), HMAC"] = took["FastAPI, Security(APIKeyHeader), HMAC"] - took["FastAPI"]
    own = cost["layer, Authorization"]
    rows = [
        ("whole layer, key in Authorization, µs", own, "≤ 10"),
        ("whole layer, key in X-API-Key, µs", cost["layer, X-API-Key"], "≤ 10"),
        ("layer without a key in the request, µs", cost["layer, no key"], ""),
        ("AuthenticationMiddleware with SHA-256 / layer", cost["AuthenticationMiddleware, SHA-256"] / own, ""),
        ("BaseHTTPMiddleware with SHA-256 / layer", cost["BaseHTTPMiddleware, SHA-256"] / own, ""),
        ("FastAPI's Security(APIKeyHeader) / layer", cost["FastAPI, Security(APIKeyHeader), HMAC"] / own, ""),
        ("bcrypt of cost 12 for each request / layer", _measure_bcrypt() / own, ""),
    ]
    print("| | measured | target |\n|---|---|---|")
    for name, figure, target in rows:
        print(f"| {name} | {figure:.3g} | {target} |")
    print("\n| | µs of CPU |\n|---|---|")
    for name, microseconds in took.items():
        print(f"| {name} | {microseconds:.2f} |")


def _forge(key: str) -> str:
    return add_checksum(f"{key[:9]}{'0' * 56}")


def _measure_bcrypt() -> float:
    """Microseconds of one verification by bcrypt, as applications do it for passwords."""
    import time

    stored = bcrypt.hashpw(OLD.encode(), bcrypt.gensalt(12))
    began = time.thread_time_ns()
    bcrypt.checkpw(OLD.encode(), stored)
    return (time.thread_time_ns() - began) / 1000


if __name__ == "__main__":
    main()
