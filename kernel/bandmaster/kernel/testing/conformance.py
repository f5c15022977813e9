"""Check that a contribution behaves as the kernel expects of every contribution."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from bandmaster.kernel.contributions.layer_classes import LayerClass
from bandmaster.kernel.contributions.model import (
    CheckContribution,
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
from bandmaster.kernel.testing.cancelled_starts import CancelAtStep, StartContinued, StartEnded
from bandmaster.kernel.testing.compose import compose
from bandmaster.kernel.testing.faults import Fault, InjectedError, crash
from bandmaster.kernel.testing.importing import import_elsewhere
from bandmaster.kernel.testing.injection import wrap_component
from bandmaster.kernel.testing.layer_trials import TRIALS, host
from bandmaster.kernel.testing.leaks import Leaks, collect_unclosed
from bandmaster.kernel.testing.neighbours import NeighbourError, fails_to_start, fails_to_stop
from bandmaster.kernel.testing.outcome import Outcome, attempt
from bandmaster.kernel.testing.running import Running, run
from bandmaster.kernel.text import list_names, suggest

_PLAIN = (str, bytes, int, float, complex, tuple, frozenset, type, type(None), type(len), type(lambda: None))
"""Types of values that two applications may share."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A check that a contribution fails, and how."""

    check: str
    message: str

    def __str__(self) -> str:
        return f"{self.check}: {self.message}"


@dataclass(frozen=True, slots=True)
class Conformance:
    """The results of the checks."""

    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    """The checks that were made."""
    skipped: Mapping[str, str]
    """The checks that weren't made, or weren't made in full, and why."""


class NonconformingError(AssertionError):
    """A contribution fails some of the checks, which ``findings`` lists."""

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
    """Check that contributions behave as the kernel expects.

    - They fit together.
    - They start and stop, twice in one process and side by side, and leave no task, thread or unclosed resource.
    - A start that is cancelled, at each of its first ``most_steps`` steps, ends by the cancellation.
    - They stop in order when a neighbour fails, and don't suppress the exception of a crash.
    - Layers let requests, disconnects, errors and WebSockets through.
    - Importing them, with an empty environment, opens nothing.

    ``beside`` are contributions that these need, and that aren't checked. ``skip`` names checks to leave out. The other
    arguments are those of `run`. By default the components of all roles are started.

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
        raise ValueError(f"skip: there is no check {name!r}.{suggest(name, _CHECKS)} There is: {list_names(_CHECKS)}")
    parts = CheckedParts(
        check_contributions(contributions),
        check_contributions(beside),
        dict(overrides or {}),
        settings,
        role,
        skip,
        most_steps,
        timeout,
    )
    conformance = await make_checks(parts)
    if conformance.findings:
        raise NonconformingError(conformance)
    return conformance


@dataclass
class CheckedParts:
    """The contributions to check, and the arguments of each run of them."""

    contributions: tuple[Contribution, ...]
    beside: tuple[Contribution, ...]
    overrides: dict[Any, Any]
    settings: KernelSettings | None
    role: str | None
    skip: frozenset[str]
    most_steps: int
    timeout: float | None

    def compose(self, *more: Contribution) -> Application:
        """A new application of the contributions."""
        return compose(
            host,
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
        """Run the contributions once."""
        return await attempt(app or self.compose(*more), faults=faults, body=body, timeout=self.timeout)

    @property
    def components(self) -> list[str]:
        """The names of the components that are checked and started."""
        planned = self.compose().plan.by_name
        return [
            part.name for part in self.contributions if isinstance(part, LifespanContribution) and part.name in planned
        ]


async def make_checks(parts: CheckedParts) -> Conformance:
    """Make all checks, except those that are impossible because an earlier one failed."""
    findings: list[Finding] = []
    skipped: dict[str, str] = {}
    checks: list[str] = []
    with collect_unclosed() as unclosed:
        for name, check in _CHECKS.items():
            if name in parts.skip:
                skipped[name] = "as asked"
            elif name != _OPENS_NOTHING and any(finding.check in (_FITS, _STARTS) for finding in findings):
                skipped[name] = "an earlier check failed"
            else:
                checks.append(name)
                leaks = Leaks()
                messages = [message async for message in check(parts, partial(skipped.__setitem__, name))]
                findings += [Finding(name, message) for message in dict.fromkeys([*messages, *await leaks.find()])]
    findings += [Finding(_CLOSES, f"something was thrown away open: {what}") for what in dict.fromkeys(unclosed)]
    return Conformance(tuple(findings), (*checks, _CLOSES), skipped)


Skip = Callable[[str], None]
Check = Callable[[CheckedParts, Skip], AsyncIterator[str]]


async def _check_plan(parts: CheckedParts, skip: Skip) -> AsyncIterator[str]:
    try:
        parts.compose()
    except BandmasterError as error:
        yield str(error)


async def _check_start_and_stop(parts: CheckedParts, skip: Skip) -> AsyncIterator[str]:
    outcome = await parts.attempt()
    if outcome.error is not None:
        yield f"it doesn't start and stop: {_describe(outcome.error)}"


async def _check_second_start(parts: CheckedParts, skip: Skip) -> AsyncIterator[str]:
    app = parts.compose()
    for which in ("first", "second"):
        outcome = await parts.attempt(app=app)
        if outcome.error is not None:
            failure = _describe(outcome.error)
            yield f"the {which} of two runs in one process fails: {failure}. Is there state in a module?"
            return


async def _check_two_at_once(parts: CheckedParts, skip: Skip) -> AsyncIterator[str]:
    shared: list[str] = []

    async def beside(one: Running) -> None:
        async def look(other: Running) -> None:
            for key, name in one.plan.provided.items():
                value = one.resources.get(key)  # none of a degraded component
                if name in names and value is other.resources.get(key) and not isinstance(value, _PLAIN):
                    shared.append(f"two runs side by side have one {key} between them, from {name!r}")

        outcomes.append(await parts.attempt(body=look))

    names, outcomes = parts.components, list[Outcome]()
    outcomes.append(await parts.attempt(body=beside))
    for outcome in outcomes:
        if outcome.error is not None:
            yield f"it doesn't run twice side by side: {_describe(outcome.error)}. Is there state in a module?"
            return
    for message in shared:
        yield message


async def _check_cancelled_start(parts: CheckedParts, skip: Skip) -> AsyncIterator[str]:
    for name in parts.components:
        for step in range(1, parts.most_steps + 1):
            cancellation, app = CancelAtStep(step), parts.compose()
            with app.kernel.substitute_plan(wrap_component(app.plan, name, cancellation)):
                error = (await parts.attempt(app=app)).error
            if not cancellation.reached:
                break
            at = f"the start of {name!r}, cancelled at step {step},"
            cause = error.__cause__ if isinstance(error, StartError) else error
            if isinstance(cause, StartContinued) and cause.delivered:
                yield f"{at} goes on as if it weren't: it swallows the cancellation"
            elif not isinstance(cause, StartEnded | StartContinued):
                yield f"{at} ends by {_describe(cause)}"
            elif isinstance(error, StartError) and error.rollback_errors:
                yield f"{at} lets others fail: {_describe(error.rollback_errors[0])}"
        else:
            skip(f"only the first {parts.most_steps} steps of {name!r}")


async def _check_failing_neighbours(parts: CheckedParts, skip: Skip) -> AsyncIterator[str]:
    for neighbour, kind in ((fails_to_start, StartError), (fails_to_stop, StopError)):
        error = (await parts.attempt(neighbour)).error
        if not isinstance(error, kind):
            yield f"beside a neighbour that fails, {_describe(error)} came of it instead of a {kind.__name__}"
            continue
        others = error.rollback_errors if isinstance(error, StartError) else error.exceptions
        for other in others:
            if not isinstance(other, NeighbourError):
                yield f"it doesn't stop when a neighbour has failed: {_describe(other)}"


async def _check_crashes(parts: CheckedParts, skip: Skip) -> AsyncIterator[str]:
    for name in parts.components:
        error = (await parts.attempt(faults=[crash(name)])).error
        if not isinstance(error, CrashError) or not _contains(error, InjectedError):
            yield f"{name!r} swallows what it dies of: its __aexit__ must not return True, nor its except clause go on"


async def _check_requests(parts: CheckedParts, skip: Skip) -> AsyncIterator[str]:
    if not any(isinstance(part, MiddlewareContribution) for part in parts.contributions):
        skip("there is no layer")
        return
    app = parts.compose()
    for traffic, trial in TRIALS.items():
        try:
            async with run(app, timeout=parts.timeout) as running:
                problem = await trial(running)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the problem
            problem = _describe(error)
        if problem:
            yield f"{traffic} doesn't get through: {problem}"


async def _check_imports(parts: CheckedParts, skip: Skip) -> AsyncIterator[str]:
    for module in sorted({_find_module(part) for part in parts.contributions}):
        imported = await anyio.to_thread.run_sync(import_elsewhere, module)
        if imported.missing:
            skip(f"{module} can't be imported in another process")
        elif imported.error:
            yield f"{module} can't be imported with an empty environment: {imported.error}"
        for action in imported.actions:
            yield f"importing {module} does more than define things: {action}"


_CLOSES = "closes what it opens"
_FITS = "fits together"
_STARTS = "starts and stops"
_OPENS_NOTHING = "opens nothing when imported"
_CHECKS: Mapping[str, Check] = {
    _OPENS_NOTHING: _check_imports,
    _FITS: _check_plan,
    _STARTS: _check_start_and_stop,
    "starts again": _check_second_start,
    "runs side by side": _check_two_at_once,
    "ends when its start is cancelled": _check_cancelled_start,
    "stops beside failures": _check_failing_neighbours,
    "lets crashes through": _check_crashes,
    "lets requests through": _check_requests,
}


def _describe(error: BaseException | None) -> str:
    if error is None:
        return "nothing"
    if isinstance(error, BaseExceptionGroup):
        return f"{type(error).__name__} of {', '.join(map(_describe, error.exceptions))}"
    return f"{type(error).__name__}: {error}"


def _contains(error: BaseException | None, kind: type[BaseException]) -> bool:
    if error is None:
        return False
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return isinstance(error, kind) or any(
        _contains(other, kind) for other in (error.__cause__, error.__context__, *inner)
    )


def _find_module(part: Contribution) -> str:
    defined: Any
    if isinstance(part, LifespanContribution):
        defined = part.factory
    elif isinstance(part, MiddlewareContribution):
        defined = part.layer
    elif isinstance(part, RouteContribution):
        defined = part.routes
    elif isinstance(part, ValueContribution):
        defined = part.value
    elif isinstance(part, CheckContribution):
        defined = part.check
    else:
        defined = part.handler
    while isinstance(defined, partial):
        defined = defined.func
    return str(getattr(defined, "__module__", None) or type(defined).__module__)
