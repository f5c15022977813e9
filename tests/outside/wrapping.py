"""A pytest plugin for the test suites of other projects: wraps every application that a client of the tests calls.

`tests.outside.suites` loads the plugin in the other project's pytest, with the variable WAY and a file for the
outcomes. Applications that a test calls itself, or serves by a real server, stay as they are.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import sys
import threading
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import anyio.to_thread
import sniffio
import starlette.testclient

from bandmaster.kernel import Application, Kernel, KernelSettings, create_app

WAY = os.environ.get("WAY", "bare")
DISTRIBUTIONS = {"kernel": (), "web": ("bandmaster-web", "bandmaster-fastapi")}.get(WAY, ())
PARTS = [point.load() for name in DISTRIBUTIONS for point in distribution(name).entry_points]


class Trivial:
    """An ASGI application that only calls another one."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class Background:
    """An event loop of its own, in which applications run until the tests end."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def start(self, application: Application) -> None:
        """Start an application, and return once requests are served."""
        # In an empty context: the caller's may say that the event loop is trio's.
        context = contextvars.Context()
        context.run(asyncio.run_coroutine_threadsafe, self._start(application), self._loop).result()

    async def _start(self, application: Application) -> None:
        started = asyncio.Event()
        task = asyncio.create_task(self._run(application, started))
        self._tasks.add(task)
        task.add_done_callback(lambda _: started.set())
        await started.wait()
        if task.done():
            task.result()

    async def _run(self, application: Application, started: asyncio.Event) -> None:
        async with application.running():
            started.set()
            await asyncio.Event().wait()


BACKGROUND = Background()


def is_watched() -> bool:
    """Whether a test runs here, in an event loop, under blockbuster, which refuses calls that block the loop."""
    try:
        sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return False
    return "blockbuster" in sys.modules


class Composed:
    """An application of bandmaster's around a host, which serves without a lifespan as well.

    These suites seldom enter a client. Without that no lifespan is started, and an application of bandmaster's answers
    503. So requests outside of a lifespan are served by a second application, without the lifespan of the host.
    """

    def __init__(self, host: Any) -> None:
        self.entered = 0
        self.application = create_app(host, contributions=PARTS, discover=False)
        settings = KernelSettings(mounted_lifespans=False)
        kernel = Kernel(contributions=PARTS, discover=False, role="web", serves=True, settings=settings)
        self.without_lifespan = Application(kernel, host)
        self.is_started = not is_watched()
        if self.is_started:
            BACKGROUND.start(self.without_lifespan)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            self.entered += 1
            try:
                await self.application(scope, receive, send)
            finally:
                self.entered -= 1
        elif self.entered:
            await self.application(scope, receive, send)
        else:
            if not self.is_started:
                self.is_started = True
                await anyio.to_thread.run_sync(BACKGROUND.start, self.without_lifespan)
            await self.without_lifespan(scope, receive, send)


WRAPPERS = {"trivial": Trivial, "kernel": Composed, "web": Composed}


def _patch(kind: Any) -> None:
    """Let a class wrap the application that is the first argument of its constructor."""
    original = kind.__init__

    def __init__(self: Any, app: Any, *arguments: Any, **options: Any) -> None:
        is_asgi3 = getattr(starlette.testclient, "_is_asgi3", lambda app: True)
        original(self, WRAPPERS[WAY](app) if is_asgi3(app) else app, *arguments, **options)

    kind.__init__ = __init__


if WAY in WRAPPERS:
    _patch(starlette.testclient.TestClient)
    for name in ("httpx", "httpx2"):
        try:
            _patch(__import__(name).ASGITransport)
        except ImportError:
            pass


class Outcomes:
    """Keeps the outcome of every test for the program that has started pytest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, str] = {}
        self._reports: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note the worst outcome of a test: of the set-up, the call and the tear-down."""
        if report.failed:
            self._outcomes[report.nodeid] = "failed"
            self._reports[report.nodeid] = "\n".join(_list_error_lines(str(report.longrepr)))
        elif report.when == "call" or report.skipped:
            self._outcomes.setdefault(report.nodeid, report.outcome)

    def pytest_sessionfinish(self) -> None:
        """Write the outcomes."""
        self._path.write_text(json.dumps({"outcomes": self._outcomes, "reports": self._reports}))


def _list_error_lines(report: str) -> list[str]:
    """The lines of a report that tell the error, without those of the source."""
    lines = report.strip().splitlines()
    return [line[1:].strip() for line in lines if line.startswith("E ")] or lines[-1:]


def pytest_configure(config: Any) -> None:
    """Keep the outcomes, in the process that collects those of all workers."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Outcomes(Path(os.environ["OUTCOMES"])))
