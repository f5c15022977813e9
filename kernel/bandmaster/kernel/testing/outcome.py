"""The outcome of a start that may fail, for assertions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
from starlette.types import ASGIApp

from bandmaster.kernel import events
from bandmaster.kernel.contributions.layer_classes import LayerClass
from bandmaster.kernel.contributions.model import Contribution
from bandmaster.kernel.errors import DiscoveryError, PlanError, StartError, StopError
from bandmaster.kernel.hosting.application import Application
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.testing.compose import ROLE, compose
from bandmaster.kernel.testing.faults import Fault
from bandmaster.kernel.testing.recording import Recording
from bandmaster.kernel.testing.running import Running, Via, serve

_X = TypeVar("_X", bound=BaseException)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a start, a body and a stop. A failed ``assert_`` method shows the events."""

    started: bool
    """Whether all components had started."""
    error: BaseException | None
    """The exception: `PlanError`, `StartError`, `CrashError`, `StopError`, `RunCancelled`, ..."""
    events: Recording
    """All events."""
    plan: Plan | None
    """The plan; none where the parts can't be planned."""

    @property
    def start_order(self) -> list[str]:
        """The names of the started components, in the order in which their starts ended."""
        return self.events.start_order

    @property
    def stop_order(self) -> list[str]:
        """The names of the stopped components, in the order in which their stops ended."""
        return self.events.stop_order

    @property
    def rolled_back(self) -> list[str]:
        """The names of the components that a failed start stopped again, in order."""
        return self.events.rolled_back

    @property
    def cause(self) -> BaseException | None:
        """The first failure, which a component raised."""
        return self.error.__cause__ if self.error is not None else None

    @property
    def problems(self) -> list[str]:
        """The problems of the parts or of their plan."""
        return [str(problem) for problem in getattr(self.error, "problems", ())]

    def assert_clean(self) -> None:
        """Assert that all components have started and stopped, and that no exception was raised.

        Raises:
            AssertionError: the outcome is another.
        """
        self._expect(self.started and self.error is None, "a clean run")
        order = [component.name for component in self.plan or ()]
        self._expect(sorted(order) == sorted(self.start_order), f"{order} to start")
        self._expect(sorted(order) == sorted(self.stop_order), f"{order} to stop")

    def assert_failed(self, kind: type[_X] = StartError, component: str | None = None) -> _X:  # type: ignore[assignment]
        """Assert that the run failed with an error of a kind, at a component. Returns the error.

        Raises:
            AssertionError: the outcome is another.
        """
        error = self.error
        if not isinstance(error, kind):
            raise self._make_error(f"a {kind.__name__}")
        if component is not None:
            found = {getattr(error, "component", component)} if not isinstance(error, StopError) else self._stop_failed
            self._expect(component in found, f"a {kind.__name__} of {component!r}")
        return error

    def assert_problem(self, *parts: str) -> None:
        """Assert that planning failed, and that the text of one problem contains all of these parts.

        Raises:
            AssertionError: there was a plan, or no such problem.
        """
        found = any(all(part in problem for part in parts) for problem in self.problems)
        self._expect(found, f"a problem that says {' and '.join(map(repr, parts))}")

    def assert_rolled_back(self, *components: str) -> None:
        """Assert that a failed start stopped exactly these components again, in this order.

        Raises:
            AssertionError: the start stopped others, or in another order.
        """
        self._expect(self.rolled_back == list(components), f"a rollback of {list(components)}")

    @property
    def _stop_failed(self) -> set[str]:
        return {*self.events.names(events.ComponentStopFailed), *self.events.names(events.ComponentOverdue)}

    def _expect(self, holds: bool, expectation: str) -> None:
        if not holds:
            raise self._make_error(expectation)

    def _make_error(self, expectation: str) -> AssertionError:
        error = AssertionError(f"expected {expectation}, but {self}")
        error.__cause__ = self.error
        return error

    def __str__(self) -> str:
        raised = "nothing was raised" if self.error is None else f"{type(self.error).__name__} was raised: {self.error}"
        happened = f". What happened:\n{self.events}" if len(self.events) else ""
        return f"{'everything started, then ' if self.started else 'not everything started: '}{raised}{happened}"


async def attempt(
    app: Application | ASGIApp | None = None,
    *,
    body: Callable[[Running], Awaitable[object]] | None = None,
    contributions: Iterable[Contribution | LayerClass] = (),
    discover: bool = False,
    disable: Iterable[str] = (),
    overrides: Mapping[Any, Any] | None = None,
    settings: KernelSettings | None = None,
    role: str | None = ROLE,
    faults: Iterable[Fault] = (),
    via: Via = "running",
    timeout: float | None = 10.0,  # noqa: ASYNC109
) -> Outcome:
    """Start an application that may fail, run a body, stop the application, and return the outcome.

    ``body`` is called with the `Running`. Without a body, `attempt` waits for the crashes among the ``faults``. An
    exception of the body is raised. The other arguments are those of `run`.

    ```python
    outcome = await attempt(contributions=[database, cache], faults=[fail("cache")])
    outcome.assert_failed(StartError, "cache")
    outcome.assert_rolled_back("database")
    ```

    Raises:
        ValueError: a wrong argument.
    """
    recording = Recording()
    faults = tuple(faults)
    try:
        composed = compose(
            app,
            contributions=contributions,
            discover=discover,
            disable=disable,
            overrides=overrides,
            settings=settings,
            role=role,
        )
    except (PlanError, DiscoveryError) as failure:
        return Outcome(False, failure, recording, None)
    started = False
    raised_by_body: BaseException | None = None
    error: BaseException | None = None
    try:
        async with serve(composed, faults, [recording], via, timeout, {}) as running:
            started = True
            try:
                await (body(running) if body is not None else _wait_for_crashes(running, faults, timeout))
            except Exception as raised:
                raised_by_body = raised
                raise
    except ValueError:
        raise
    except BaseException as raised:  # returned, unless it is the test's own
        if raised_by_body is not None or not _is_outcome(raised, faults):
            raise
        error = raised
    return Outcome(started, error, recording, composed.plan)


async def _wait_for_crashes(running: Running, faults: Iterable[Fault], timeout: float | None) -> None:  # noqa: ASYNC109
    for fault in faults:
        if fault.at == "serving" and fault.seconds is not None:
            if fault.kind == "crash":
                await running.events.wait(events.ComponentCrashed, component=fault.component, timeout=timeout)
            else:
                await anyio.sleep_forever()


def _is_outcome(error: BaseException, faults: Iterable[Fault]) -> bool:
    """Whether an exception belongs to the outcome. A cancellation is the test's own, unless a fault raised it."""
    if isinstance(error, Exception):
        return True
    if isinstance(error, BaseExceptionGroup):
        return all(_is_outcome(inner, faults) for inner in error.exceptions)
    injected = [fault.error for fault in faults if fault.error is not None]
    return any(error is each or (isinstance(each, type) and isinstance(error, each)) for each in injected)
