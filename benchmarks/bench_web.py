"""A service with the web package, compared with the same concerns in other forms, and with bare frameworks.

The concerns: request ids, context, access log, problems, CORS, security headers, trusted hosts and body limits. In the
process: CPU time of the thread, applications awaited in a row. Over uvicorn: CPU time of the server process for each
request, on connections that stay open. Rounds are shuffled, figures are medians. Quote the ratios, never the times.
`python benchmarks/bench_web.py [--rounds 11] [--requests 400] [--no-server]`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from concerns import REQUEST_HEADERS
from measuring import make_scope, receive, send
from starlette.types import ASGIApp
from web_apps import APPS, NULL

STREAMS = ("Starlette", "bandmaster", "idiomatic layers", "packages")


def make_request(path: str) -> dict:
    return {**make_scope(), "path": path, "raw_path": path.encode()}


async def batch(app: ASGIApp, requests: int, path: str) -> float:
    scopes = [make_request(path) for _ in range(requests)]
    began = time.thread_time_ns()
    for one in scopes:
        await app(one, receive, send)
    return (time.thread_time_ns() - began) / requests / 1000


async def cyclic_objects(app: ASGIApp, requests: int = 100) -> float:
    """The number of objects of a request that only the garbage collector can free."""
    await batch(app, requests, "/")
    gc.collect()
    gc.disable()
    try:
        await batch(app, requests, "/")
        return gc.collect() / requests
    finally:
        gc.enable()


async def in_process(rounds: int, requests: int) -> tuple[dict[str, list[float]], dict[str, list[float]], float]:
    async with contextlib.AsyncExitStack() as stack:
        apps = {name: make() for name, make in APPS.items()}
        with contextlib.redirect_stdout(NULL):
            for app in apps.values():
                if hasattr(app, "running"):
                    await stack.enter_async_context(app.running())
        times: dict[str, list[float]] = {name: [] for name in apps}
        streams: dict[str, list[float]] = {name: [] for name in STREAMS}
        for _ in range(rounds):
            for name in random.sample(list(apps), len(apps)):
                times[name].append(await batch(apps[name], requests, "/"))
            for name in random.sample(STREAMS, len(STREAMS)):
                streams[name].append(await batch(apps[name], max(1, requests // 10), "/stream"))
        return times, streams, await cyclic_objects(apps["bandmaster"]) - await cyclic_objects(apps["Starlette"])


HEAD = b"".join(b"%s: %s\r\n" % pair for pair in REQUEST_HEADERS)


class Server:
    """An application on uvicorn in a process of its own, with one connection to the server."""

    def __init__(self, name: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-W", "ignore", "-m", "uvicorn", "web_apps:app", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, "--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "600"],
            cwd=Path(__file__).parent,
            env={**os.environ, "BENCH_APP": name},
            stdout=subprocess.DEVNULL,
        )
        end = time.monotonic() + 30
        while True:
            try:
                self.connection = socket.create_connection(("127.0.0.1", self.port), 30)
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def ask(self, path: bytes) -> bytes:
        self.connection.sendall(b"GET %s HTTP/1.1\r\n%s\r\n" % (path, HEAD))
        answer = b""
        while True:
            more = self.connection.recv(65536)
            if not more:
                raise ConnectionError("the server has closed the connection")
            answer += more
            head, blank, body = answer.partition(b"\r\n\r\n")
            if blank:
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                if len(body) >= length:
                    assert head.startswith(b"HTTP/1.1 200"), head
                    return body

    def measure(self, requests: int) -> float:
        """Microseconds of the server's CPU time for one request."""
        before = float(self.ask(b"/cpu"))
        for _ in range(requests):
            self.ask(b"/")
        return (float(self.ask(b"/cpu")) - before) / requests * 1e6

    def end(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.wait(30)


def over_uvicorn(rounds: int, requests: int) -> dict[str, list[float]]:
    servers: dict[str, Server] = {}
    try:
        for name in APPS:
            servers[name] = Server(name)
            servers[name].measure(200)
        times: dict[str, list[float]] = {name: [] for name in APPS}
        for _ in range(rounds):
            for name in random.sample(list(APPS), len(APPS)):
                times[name].append(servers[name].measure(requests))
        return times
    finally:
        for server in servers.values():
            server.end()


def ratio(times: dict[str, list[float]], name: str, base: str) -> float:
    """The median of the ratios of each round, since other work of the machine slows both variants of a round."""
    return statistics.median(one / other for one, other in zip(times[name], times[base], strict=True))


def added(times: dict[str, list[float]], name: str, other: str) -> float:
    """The cost that the concerns add to Starlette, as a share of the cost that they add in another form."""
    rounds = zip(times[name], times[other], times["Starlette"], strict=True)
    return statistics.median((one - bare) / (two - bare) for one, two, bare in rounds)


def table(title: str, times: dict[str, list[float]]) -> None:
    print(f"\n| {title} | / Starlette | µs of CPU |\n|---|---|---|")
    for name in times:
        print(f"| {name} | {ratio(times, name, 'Starlette'):.2f} | {statistics.median(times[name]):.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--no-server", action="store_true")
    arguments = parser.parse_args()
    times, streams, cyclic = asyncio.run(in_process(arguments.rounds, arguments.requests))
    print("| | measured | target |\n|---|---|---|")
    for other in ("idiomatic layers", "packages"):
        print(f"| cost of the concerns, bandmaster / {other} | {added(times, 'bandmaster', other):.3f} | |")
    print(f"| cyclic objects per request, above Starlette's | {cyclic:.2f} | 0 |")
    served = {} if arguments.no_server else over_uvicorn(arguments.rounds, arguments.requests)
    if served:
        lean = ratio(served, "nine lean concerns, bandmaster", "Starlette")
        headers = "Starlette, with the headers of the nine"
        print(f"| CPU over uvicorn, nine lean concerns / Starlette | {lean:.2f} | ≤ 1.40 |")
        print(f"| of that, uvicorn's cost for their headers alone | {ratio(served, headers, 'Starlette') - 1:.2f} | |")
        alone = ratio(served, "nine lean concerns, bandmaster", headers)
        print(f"| CPU over uvicorn, nine lean concerns / Starlette with their headers | {alone:.2f} | |")
        by_hand = ratio(served, "nine lean concerns, by hand in one function", "Starlette")
        print(f"| CPU over uvicorn, the nine by hand in one function / Starlette | {by_hand:.2f} | |")
        whole = ratio(served, "bandmaster", "Starlette")
        print(f"| CPU over uvicorn, the whole web package / Starlette | {whole:.2f} | |")
    table("one request, in the process", times)
    table("a stream of 101 chunks, in the process", streams)
    if served:
        table("one request, over uvicorn", served)


if __name__ == "__main__":
    main()
