"""The nine concerns in hook form, compared with nested layers, and the cost of one more layer of each kind.

CPU time of the thread, in shuffled rounds, as medians, without a server: applications are awaited in a row. Quote the
ratios, never the times. `python benchmarks/bench_stack.py [--rounds 15] [--requests 300]`
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
from collections.abc import Callable
from types import FunctionType

from concerns import CHUNKS, CONTENT
from concerns_as_closures import lean
from concerns_as_hooks import HOOKS, OneMore, build_stack
from concerns_as_layers import idiomatic
from concerns_by_hand import by_hand
from measuring import cyclic_objects, measure
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"18")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": CONTENT})


async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(CHUNKS - 1):
        await send({"type": "http.response.body", "body": CONTENT, "more_body": True})
    await send({"type": "http.response.body", "body": CONTENT, "more_body": False})


def copy_code(app: ASGIApp) -> ASGIApp:
    """A copy of the application with its own code object, since the interpreter specializes code by its calls."""
    return FunctionType(app.__code__.replace(), app.__globals__)  # type: ignore[attr-defined]


def closure(app: ASGIApp) -> ASGIApp:
    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return layer


def closures(app: ASGIApp, count: int) -> ASGIApp:
    for _ in range(count):
        app = closure(app)
    return app


class PassThrough(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        return await call_next(request)


def base_http(app: ASGIApp) -> ASGIApp:
    for _ in range(9):
        app = PassThrough(app)
    return app


VARIANTS: dict[str, tuple[Callable[[], ASGIApp], float]] = {
    # The number is a variant's share of a round's requests. Expensive variants need fewer for the same precision.
    "raw": (lambda: copy_code(plain), 1),
    "fused": (lambda: build_stack(copy_code(plain), *HOOKS), 1),
    "lean": (lambda: lean(copy_code(plain)), 1),
    "idiomatic": (lambda: idiomatic(copy_code(plain)), 1),
    "by hand": (lambda: by_hand(copy_code(plain)), 1),
    "9 BaseHTTPMiddleware": (lambda: base_http(copy_code(plain)), 0.02),
    "10 closures": (lambda: closures(copy_code(plain), 10), 2),
    "1 hook": (lambda: build_stack(copy_code(plain), OneMore), 2),
    "11 hooks": (lambda: build_stack(copy_code(plain), *[OneMore] * 11), 2),
    "raw stream": (lambda: copy_code(streaming), 0.2),
    "fused stream": (lambda: build_stack(copy_code(streaming), *HOOKS), 0.2),
    "lean stream": (lambda: lean(copy_code(streaming)), 0.2),
    "idiomatic stream": (lambda: idiomatic(copy_code(streaming)), 0.2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=300)
    arguments = parser.parse_args()
    apps = {name: make() for name, (make, _) in VARIANTS.items()}
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    loop = asyncio.new_event_loop()
    for _ in range(arguments.rounds):
        for name in random.sample(list(VARIANTS), len(VARIANTS)):
            times[name].append(measure(loop, apps[name], max(1, int(arguments.requests * VARIANTS[name][1]))))
    loop.close()
    took = {name: statistics.median(rounds) for name, rounds in times.items()}

    def ratio(one: str, other: str) -> float:
        # The ratio of each round, since other work of the machine slows both variants of a round.
        return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))

    layer = (took["10 closures"] - took["raw"]) / 10
    hook = (took["11 hooks"] - took["1 hook"]) / 10
    rows = [
        ("nine concerns, fused / idiomatic", ratio("fused", "idiomatic"), "≤ 0.30"),
        ("nine concerns, lean closures / idiomatic", ratio("lean", "idiomatic"), ""),
        ("nine concerns, by hand in one function / idiomatic", ratio("by hand", "idiomatic"), ""),
        ("9 BaseHTTPMiddleware that do nothing / idiomatic", ratio("9 BaseHTTPMiddleware", "idiomatic"), ""),
        ("one more hook / closure layer", hook / layer, "≤ 0.5"),
        (f"{CHUNKS}-chunk stream, fused / raw", ratio("fused stream", "raw stream"), "≤ 2.5"),
        (f"{CHUNKS}-chunk stream, lean closures / raw", ratio("lean stream", "raw stream"), ""),
        (f"{CHUNKS}-chunk stream, idiomatic / raw", ratio("idiomatic stream", "raw stream"), ""),
        ("cyclic objects per request", cyclic_objects(apps["fused"]), "0"),
    ]
    print("| | measured | target |\n|---|---|---|")
    for name, figure, target in rows:
        print(f"| {name} | {figure:.3g} | {target} |")
    print("\n| | µs of CPU |\n|---|---|")
    for name, microseconds in took.items():
        print(f"| {name} | {microseconds:.2f} |")


if __name__ == "__main__":
    main()
