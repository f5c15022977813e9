"""What every contribution must stand, tried out on one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from starlette.types import Receive, Scope, Send

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.decorators import lifespan
from bandmaster.kernel.contributions.layer_classes import LayerClass
from bandmaster.kernel.contributions.model import (
    Contribution,
    LifespanContribution,
    MiddlewareContribution,
    RouteContribution,
    ValueContribution,
)
from bandmaster.kernel.errors import BandmasterError, CrashError, StartError, StopError
from bandmaster.kernel.hosting.application import Application
from bandmaster.kernel.lifecycle.composition import check_contributions
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.testing.client import Client
from bandmaster.kernel.testing.compose import compose
from bandmaster.kernel.testing.faults import Fault, InjectedError, crash
from bandmaster.kernel.testing.importing import import_elsewhere
from bandmaster.kernel.testing.injection import wrapped
from bandmaster.kernel.testing.leaks import Leaks, unclosed
from bandmaster.kernel.testing.outcome import Outcome, attempt
from bandmaster.kernel.testing.running import Running, run
from bandmaster.kernel.testing.steps import Cut, CutAt, WentOn
from bandmaster.kernel.testing.websocket import WebSocketRefused
from bandmaster.kernel.text import listed, near

NEIGHBOUR = "bandmaster-neighbour"
_PLAIN = (str, bytes, int, float, complex, tuple, frozenset, type, type(None), type(len), type(lambda: None))
"""Values of which there may well be one for all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a contribution doesn't stand."""

    check: str
    message: str

    def __str__(self) -> str:
        return f"{self.check}: {self.message}"


@dataclass(frozen=True, slots=True)
class Conformance:
    """What came of the checks."""

    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    """The checks that were made."""
    skipped: Mapping[str, str]
    """The checks that weren't, or weren't in full, and why."""


class NonconformingError(AssertionError):
    """A contribution that doesn't stand all checks; ``findings`` tells what."""

    def __init__(self, conformance: Conformance) -> None:
        self.findings = conformance.findings
        lines = "".join(f"\n  - {finding}" for finding in self.findings)
        super().__init__(f"{len(self.findings)} finding{'' if len(self.findings) == 1 else 's'}:{lines}")


async def check_contribution(
    *contributions: Contribution | LayerClass,
    beside: Iterable[Contribution | LayerClass] = (),
    overrides: Mapping[Any, Any] | None = None,
    settings: KernelSettings | None = None,
    role: str | None = None,
    skip: Iterable[str] = (),
    most_steps: int = 50,
    timeout: float | None = 10.0,  # noqa: ASYNC109
) -> Conformance:
    """Try out on contributions what every contribution must stand.

    That they fit together; that they start and stop, twice in one process and side by side, and leave no task, thread
    or unclosed resource; that a start which is cancelled, at each of its first ``most_steps`` steps, ends by it; that
    they stop in order when a neighbour fails; that they don't swallow what kills them; that layers let requests,
    disconnects, errors and WebSockets through; that importing them, with an empty environment, opens nothing.

    ``beside`` are contributions that these need but that aren't examined, ``skip`` names checks to leave out. The other arguments are those of `run`; by
    default everything is started, whatever its role.

    ```python
    async def test_the_plugin_is_a_good_neighbour():
        await check_contribution(database, overrides={DatabaseSettings: DatabaseSettings(url=url)})
    ```

    Raises:
        NonconformingError: an `AssertionError` with all findings.
        ValueError: ``skip`` names a check that isn't there.
    """
    skip = frozenset((skip,) if isinstance(skip, str) else skip)
    for name in sorted(skip - _CHECKS.keys()):
        raise ValueError(f"skip: there is no check {name!r}.{near(name, _CHECKS)} There is: {listed(_CHECKS)}")
    subject = Subject(
        check_contributions(contributions),
        check_contributions(beside),
        dict(overrides or {}),
        settings,
        role,
        skip,
        most_steps,
        timeout,
    )
    conformance = await examine(subject)
    if conformance.findings:
        raise NonconformingError(conformance)
    return conformance


@dataclass
class Subject:
    """What is examined, and with what."""

    contributions: tuple[Contribution, ...]
    beside: tuple[Contribution, ...]
    overrides: dict[Any, Any]
    settings: KernelSettings | None
    role: str | None
    skip: frozenset[str]
    most_steps: int
    timeout: float | None

    def compose(self, *more: Contribution) -> Application:
        """A new application of it."""
        return compose(
            _host,
            contributions=[*self.contributions, *self.beside, *more],
            overrides=self.overrides,
            settings=self.settings,
            role=self.role,
        )

    async def attempt(
        self,
        *more: Contribution,
        app: Application | None = None,
        faults: Iterable[Fault] = (),
        body: Callable[[Running], Awaitable[object]] | None = None,
    ) -> Outcome:
        """Run it once."""
        return await attempt(app or self.compose(*more), faults=faults, body=body, timeout=self.timeout)

    @property
    def components(self) -> list[str]:
        """The components that are examined and started."""
        planned = self.compose().plan.by_name
        return [
            part.name for part in self.contributions if isinstance(part, LifespanContribution) and part.name in planned
        ]


async def examine(subject: Subject) -> Conformance:
    """Make all checks, but for those that can't be made because an earlier one failed."""
    findings: list[Finding] = []
    skipped: dict[str, str] = {}
    made: list[str] = []
    with unclosed() as left:
        for name, check in _CHECKS.items():
            if name in subject.skip:
                skipped[name] = "as asked"
            elif name != _OPENS_NOTHING and any(finding.check in (_FITS, _STARTS) for finding in findings):
                skipped[name] = "an earlier check failed"
            else:
                made.append(name)
                leaks = Leaks()
                said = [message async for message in check(subject, partial(skipped.__setitem__, name))]
                findings += [Finding(name, message) for message in dict.fromkeys([*said, *await leaks.found()])]
    findings += [Finding(_CLOSES, f"something was thrown away open: {what}") for what in dict.fromkeys(left)]
    return Conformance(tuple(findings), (*made, _CLOSES), skipped)


Skip = Callable[[str], None]
Check = Callable[[Subject, Skip], AsyncIterator[str]]


async def _plans(subject: Subject, skip: Skip) -> AsyncIterator[str]:
    try:
        subject.compose()
    except BandmasterError as error:
        yield str(error)


async def _starts_and_stops(subject: Subject, skip: Skip) -> AsyncIterator[str]:
    outcome = await subject.attempt()
    if outcome.error is not None:
        yield f"it doesn't start and stop: {_told(outcome.error)}"


async def _starts_again(subject: Subject, skip: Skip) -> AsyncIterator[str]:
    app = subject.compose()
    for which in ("first", "second"):
        outcome = await subject.attempt(app=app)
        if outcome.error is not None:
            yield f"the {which} of two runs in one process fails: {_told(outcome.error)}. Is there state in a module?"
            return


async def _runs_side_by_side(subject: Subject, skip: Skip) -> AsyncIterator[str]:
    shared: list[str] = []

    async def beside(one: Running) -> None:
        async def look(other: Running) -> None:
            for key, name in one.plan.provided.items():
                value = one.resources[key]
                if name in names and value is other.resources[key] and not isinstance(value, _PLAIN):
                    shared.append(f"two runs side by side have one {key} between them, from {name!r}")

        outcomes.append(await subject.attempt(body=look))

    names, outcomes = subject.components, list[Outcome]()
    outcomes.append(await subject.attempt(body=beside))
    for outcome in outcomes:
        if outcome.error is not None:
            yield f"it doesn't run twice side by side: {_told(outcome.error)}. Is there state in a module?"
            return
    for message in shared:
        yield message


async def _ends_when_cancelled(subject: Subject, skip: Skip) -> AsyncIterator[str]:
    for name in subject.components:
        for step in range(1, subject.most_steps + 1):
            cut, app = CutAt(step), subject.compose()
            with app.kernel.substitute_plan(wrapped(app.plan, name, cut)):
                error = (await subject.attempt(app=app)).error
            if not cut.reached:
                break
            at = f"the start of {name!r}, cancelled at step {step},"
            cause = error.__cause__ if isinstance(error, StartError) else error
            if isinstance(cause, WentOn) and cause.knew:
                yield f"{at} goes on as if it weren't: it swallows the cancellation"
            elif not isinstance(cause, Cut | WentOn):
                yield f"{at} ends by {_told(cause)}"
            elif isinstance(error, StartError) and error.rollback_errors:
                yield f"{at} lets others fail: {_told(error.rollback_errors[0])}"
        else:
            skip(f"only the first {subject.most_steps} steps of {name!r}")


async def _stops_beside_failures(subject: Subject, skip: Skip) -> AsyncIterator[str]:
    for neighbour, kind in ((_fails_to_start, StartError), (_fails_to_stop, StopError)):
        error = (await subject.attempt(neighbour)).error
        if not isinstance(error, kind):
            yield f"beside a neighbour that fails, {_told(error)} came of it instead of a {kind.__name__}"
            continue
        others = error.rollback_errors if isinstance(error, StartError) else error.exceptions
        for other in others:
            if not isinstance(other, _NeighbourError):
                yield f"it doesn't stop when a neighbour has failed: {_told(other)}"


async def _lets_crashes_through(subject: Subject, skip: Skip) -> AsyncIterator[str]:
    for name in subject.components:
        error = (await subject.attempt(faults=[crash(name)])).error
        if not isinstance(error, CrashError) or not _holds(error, InjectedError):
            yield f"{name!r} swallows what it dies of: its __aexit__ must not return True, nor its except clause go on"


async def _lets_requests_through(subject: Subject, skip: Skip) -> AsyncIterator[str]:
    if not any(isinstance(part, MiddlewareContribution) for part in subject.contributions):
        skip("there is no layer")
        return
    trials = {
        "a request": _plain,
        "a stream whose client leaves": _left,
        "an error of the application": _failing,
        "a WebSocket": _echo,
    }
    app = subject.compose()
    for what, trial in trials.items():
        try:
            async with run(app, timeout=subject.timeout) as running:
                wrong = await trial(running.http)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what is wrong
            wrong = _told(error)
        if wrong:
            yield f"{what} doesn't get through: {wrong}"


async def _opens_nothing_when_imported(subject: Subject, skip: Skip) -> AsyncIterator[str]:
    for module in sorted({_module_of(part) for part in subject.contributions}):
        imported = await anyio.to_thread.run_sync(import_elsewhere, module)
        if imported.missing:
            skip(f"{module} can't be imported in another process")
        elif imported.error:
            yield f"{module} can't be imported with an empty environment: {imported.error}"
        for what in imported.happened:
            yield f"importing {module} does more than define things: {what}"


_CLOSES = "closes what it opens"
_FITS = "fits together"
_STARTS = "starts and stops"
_OPENS_NOTHING = "opens nothing when imported"
_CHECKS: Mapping[str, Check] = {
    _OPENS_NOTHING: _opens_nothing_when_imported,
    _FITS: _plans,
    _STARTS: _starts_and_stops,
    "starts again": _starts_again,
    "runs side by side": _runs_side_by_side,
    "ends when its start is cancelled": _ends_when_cancelled,
    "stops beside failures": _stops_beside_failures,
    "lets crashes through": _lets_crashes_through,
    "lets requests through": _lets_requests_through,
}


# -- a neighbour -----------------------------------------------------------------------------------------------------


class _NeighbourError(Exception):
    """What the neighbour fails with."""


@lifespan(band=LifespanBand.APPLICATION, priority=LifespanBand.APPLICATION.priorities[-1], name=NEIGHBOUR)
async def _fails_to_start() -> AsyncIterator[None]:
    raise _NeighbourError("the neighbour fails to start")
    yield


@lifespan(band=LifespanBand.APPLICATION, priority=LifespanBand.APPLICATION.priorities[-1], name=NEIGHBOUR)
async def _fails_to_stop() -> AsyncIterator[None]:
    yield
    raise _NeighbourError("the neighbour fails to stop")


# -- requests --------------------------------------------------------------------------------------------------------


class _HostError(Exception):
    """What the host raises when it is asked to."""


async def _host(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers, streams, fails or echoes, by path."""
    if scope["type"] == "lifespan":
        raise NotImplementedError("no lifespan")
    if scope["type"] == "websocket":
        await _host_socket(receive, send)
        return
    if scope["path"] == "/fail":
        raise _HostError("the application fails")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello", "more_body": True})
    if scope["path"] == "/stream":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    await send({"type": "http.response.body", "body": b" world", "more_body": False})


async def _host_socket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def _plain(http: Client) -> str:
    response = await http.get("/")
    changed = response.status == 200 and response.body != b"hello world" and "content-encoding" not in response.headers
    return f"its body has become {response.body!r}" if changed else ""


async def _left(http: Client) -> str:
    async with http.stream("GET", "/stream") as response:
        # A layer may hold back what it compresses, but the client leaves all the same.
        if response.status == 200 and "content-encoding" not in response.headers:
            await response.receive()
    return ""


async def _failing(http: Client) -> str:
    try:
        response = await http.get("/fail")
    except _HostError:
        return ""
    return "" if response.status >= 400 else f"a {response.status} was made of it"


async def _echo(http: Client) -> str:
    try:
        async with http.websocket("/") as socket:
            await socket.send_text("hello")
            answer = await socket.receive_text()
    except WebSocketRefused:
        return ""
    return "" if answer == "hello" else f"its message has become {answer!r}"


# -- words -----------------------------------------------------------------------------------------------------------


def _told(error: BaseException | None) -> str:
    if error is None:
        return "nothing"
    if isinstance(error, BaseExceptionGroup):
        return f"{type(error).__name__} of {', '.join(map(_told, error.exceptions))}"
    return f"{type(error).__name__}: {error}"


def _holds(error: BaseException | None, kind: type[BaseException]) -> bool:
    if error is None:
        return False
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return isinstance(error, kind) or any(_holds(other, kind) for other in (error.__cause__, error.__context__, *inner))


def _module_of(part: Contribution) -> str:
    defined: Any
    if isinstance(part, LifespanContribution):
        defined = part.factory
    elif isinstance(part, MiddlewareContribution):
        defined = part.layer
    elif isinstance(part, RouteContribution):
        defined = part.routes
    elif isinstance(part, ValueContribution):
        defined = part.value
    else:
        defined = part.handler
    while isinstance(defined, partial):
        defined = defined.func
    return str(getattr(defined, "__module__", None) or type(defined).__module__)
