"""The pytest plugin: fixtures that import the test kit when a test uses them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from bandmaster.kernel.testing.outcome import Outcome
    from bandmaster.kernel.testing.recording import Recording
    from bandmaster.kernel.testing.running import Running

Run: TypeAlias = "Callable[..., AbstractAsyncContextManager[Running]]"
Attempt: TypeAlias = "Callable[..., Awaitable[Outcome]]"

PREFIX = "BANDMASTER_"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the settings ``bandmaster_app`` and ``bandmaster_timeout``."""
    parser.addini(
        "bandmaster_app", "The application for bandmaster_run: module:attribute, an app or a factory.", default=""
    )
    parser.addini("bandmaster_timeout", "Seconds for a start, and for each step of a client.", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "bandmaster(**options): what bandmaster_run and bandmaster_attempt pass to bandmaster.kernel.testing.run; the "
        "nearest marker wins",
    )


@pytest.fixture
def bandmaster_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without ``BANDMASTER_`` variables. The test may set its own, which are removed after the test."""
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def bandmaster_app(request: pytest.FixtureRequest, bandmaster_environment: pytest.MonkeyPatch) -> Any:
    """The application for `bandmaster_run`: override the fixture, or set ``bandmaster_app`` in pytest's settings."""
    target = str(request.config.getini("bandmaster_app"))
    if not target:
        return None
    from bandmaster.kernel.hosting.targets import load

    return load(target, str(request.config.rootpath))


@pytest.fixture
def bandmaster_events() -> Recording:
    """The events of all runs of the test."""
    from bandmaster.kernel.testing.recording import Recording

    return Recording()


@pytest.fixture
def bandmaster_run(request: pytest.FixtureRequest, bandmaster_app: Any, bandmaster_events: Recording) -> Run:
    """`run` with the defaults of the test.

    ```python
    async with bandmaster_run() as running:
        response = await running.client.get("/")
    ```
    """

    def run(app: Any = bandmaster_app, /, **options: Any) -> AbstractAsyncContextManager[Running]:
        from bandmaster.kernel.testing.running import run

        options = {**_read_options(request), **options}
        return run(app, **{**options, "listeners": [bandmaster_events, *options.get("listeners", ())]})

    return run


@pytest.fixture
def bandmaster_attempt(request: pytest.FixtureRequest, bandmaster_app: Any) -> Attempt:
    """`attempt` with the defaults of the test.

    ```python
    outcome = await bandmaster_attempt(faults=[fail("database")])
    ```
    """

    def attempt(app: Any = bandmaster_app, /, **options: Any) -> Awaitable[Outcome]:
        from bandmaster.kernel.testing.outcome import attempt

        return attempt(app, **{**_read_options(request), **options})

    return attempt


def _read_options(request: pytest.FixtureRequest) -> dict[str, Any]:
    timeout = str(request.config.getini("bandmaster_timeout"))
    options: dict[str, Any] = {"timeout": float(timeout)} if timeout else {}
    for marker in reversed(list(request.node.iter_markers("bandmaster"))):
        options |= marker.kwargs
    return options
