"""Make components with faults, which record their starts, stops and errors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import lru_cache, partial
from types import TracebackType
from typing import Any

import anyio
from tests.kernel.harness.cases import START_TIMEOUT, STOP_TIMEOUT, Part
from tests.kernel.harness.facts import Run

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.model import LifespanContribution
from bandmaster.kernel.errors import PermanentError
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.restart import Restart
from bandmaster.kernel.planning.deadlines import Deadlines
from bandmaster.kernel.planning.make import make_plan
from bandmaster.kernel.planning.plan import Plan

variable: ContextVar[str] = ContextVar("variable", default="unset")


class Boom(Exception):
    """An ordinary failure."""


class Bang(BaseException):
    """A failure that is no Exception."""


class FaultyPlan:
    """A plan of faulty components, which write to the record of the present run."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self.run: Run
        self._policies = {part.name: part.policy for part in parts}
        self._parts = parts
        self._kinds = {part.name: type(f"Type{part.name.upper()}", (), {}) for part in parts}
        self._groups = {part.name: type(f"Group{part.name.upper()}", (), {}) for part in parts}
        self.plan: Plan = make_plan(
            [
                LifespanContribution(
                    name=part.name,
                    factory=self._factory(part),
                    band=LifespanBand.OBSERVABILITY,
                    priority=part.stage,
                    requires=self._list_required(part) if part.link == "name" else (),
                    after=part.waits_for if part.link == "name" else (),
                    provides=self._list_provided(part),
                    decorates=self._kinds[part.decorates] if part.decorates else None,
                    start_timeout=START_TIMEOUT,
                    stop_timeout=STOP_TIMEOUT,
                    on_crash="degrade" if part.serving == "crash_degrade" else "stop",
                    on_start_failure=part.policy,
                )
                for part in parts
            ],
            context=Context,
            deadlines=Deadlines(left_for_stops=1000),
        )

    def _list_required(self, part: Part) -> tuple[str, ...]:
        return tuple(name for name in part.waits_for if not self._may_be_missing(part, name))

    def _may_be_missing(self, part: Part, name: str) -> bool:
        """Whether a component has to do without another one that may be degraded: it can't be degraded with it."""
        return self._policies[name] == "degrade" and part.policy != "degrade"

    def _list_provided(self, part: Part) -> tuple[type, ...]:
        """The component's own type, and the type of each group that asks for the component."""
        asking = [other.name for other in self._parts if other.link == "group" and part.name in other.waits_for]
        return self._kinds[part.name], *(self._groups[name] for name in asking)

    def _factory(self, part: Part) -> Any:
        decorated = (self._kinds[part.decorates],) if part.decorates else ()
        # A text, for the record, that is of every type that the component is declared to provide.
        kind_of_object = type("Object", (str, *self._list_provided(part), *decorated), {})

        def factory(context: Context, **given: Any) -> AbstractAsyncContextManager[Any]:
            return _Recorded(self.run, part, context, given, kind_of_object)

        taken = {name: self._render_annotation(part, name) for name in part.waits_for if part.link in ("type", "each")}
        if part.link == "group" and part.waits_for:
            taken["group"] = Sequence[self._groups[part.name]]
        if part.decorates:
            taken["inner"] = self._kinds[part.decorates]
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters = [inspect.Parameter(name, kind, annotation=wanted) for name, wanted in taken.items()]
        own = inspect.Parameter("context", kind, annotation=Context)
        factory.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [own, *parameters], return_annotation=AbstractAsyncContextManager[Any]
        )
        return factory

    def _render_annotation(self, part: Part, name: str) -> Any:
        kind: Any = self._kinds[name]
        if part.link == "each":
            return Sequence[kind]
        return kind | None if self._may_be_missing(part, name) else kind


@lru_cache(maxsize=512)
def make_faulty_plan(parts: tuple[Part, ...]) -> FaultyPlan:
    """Make the plan for these components, once: a plan is used again for each run."""
    return FaultyPlan(parts)


class _Recorded:
    """A component's context manager, with a record of every call and every end.

    The object is the path of the decorated objects: ``c(b(a))``.
    """

    def __init__(self, run: Run, part: Part, context: Context, given: Mapping[str, Any], kind: type[str]) -> None:
        self._run = run
        self._part = part
        run.tries[part.name] += 1
        if part.failures and run.tries[part.name] > part.failures:
            part = replace(part, start="fine")
        self._object = kind(f"{part.name}({given['inner']})" if part.decorates else part.name)
        if given:
            run.note("given", part.name, value=dict(given))
        if part.start == "factory":
            run.note("enter", part.name, value=variable.get())
            error = run.inject(part.name, "start", Boom(f"{part.name} factory"))
            run.note("refused", part.name, error=error)
            raise error
        self._inner = _component(run, part, context)

    async def __aenter__(self) -> str:
        self._run.note("enter", self._part.name, value=variable.get())
        try:
            await self._inner.__aenter__()
        except BaseException as error:
            self._run.note("refused", self._part.name, error=error)
            raise
        self._run.note("entered", self._part.name)
        return self._object

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._run.note("exit", self._part.name, error=error, value=variable.get())
        try:
            suppressed = await self._inner.__aexit__(kind, error, traceback)
        except BaseException as raised:
            self._run.note("exited", self._part.name, error=raised)
            raise
        self._run.note("exited", self._part.name)
        return suppressed


@asynccontextmanager
async def _component(run: Run, part: Part, context: Context) -> AsyncGenerator[None, None]:
    run.opened[part.name] += 1
    variable.set(part.name)
    _supervise(run, part, context)
    served = entered = False
    try:
        async with _hold_open(run, part) as group:
            await _start_or_stop(run, part, "start", part.start)
            if group is not None and part.serving.startswith("crash"):
                group.start_soon(_crash, run, part)
            entered = True
            yield
            served = True
            await _start_or_stop(run, part, "stop", part.stop)
            if group is not None:
                group.cancel_scope.cancel()
    finally:
        try:
            if entered and not served:
                run.masked.add(part.name)
                await _start_or_stop(run, part, "stop", part.stop)
                run.masked.discard(part.name)
        finally:
            run.closed[part.name] += 1


@asynccontextmanager
async def _hold_open(run: Run, part: Part) -> AsyncIterator[Any]:
    """Keep the scopes of the component's shape open from start to stop."""
    if part.serving == "times_out":
        with anyio.fail_after(4.5):
            yield None
    elif part.serving == "ends":
        with anyio.move_on_after(4.5):
            yield None
    elif part.shape == "group" or part.serving.startswith("crash"):
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            yield group
    elif part.shape == "variables":
        token = variable.set(part.name)
        with anyio.move_on_after(1000):
            yield None
        variable.reset(token)
        variable.set(part.name)
    else:
        yield None


async def _crash(run: Run, part: Part) -> None:
    await anyio.sleep(4 if part.serving == "crash_later" else 1)
    raise run.inject(part.name, "serving", Boom(f"{part.name} serving"))


def _supervise(run: Run, part: Part, context: Context) -> None:
    if part.serving in ("serves", "serves_lazily"):
        service = partial(_serve, run, part)
        context.supervise(service, name="service")
    elif part.serving in ("exhausts", "exhausts_degrade"):
        policy = "degrade" if part.serving == "exhausts_degrade" else "stop"
        restart = Restart(intensity=2, initial_delay=0.5, jitter=0, when_exhausted=policy)
        context.supervise(partial(_fail_often, run, part), name="service", restart=restart)
    elif part.serving == "exits":
        context.supervise(partial(_leave, run, part), name="service", restart=Restart(when="never"))


async def _serve(run: Run, part: Part) -> None:
    run.note("service", part.name, value=variable.get())
    try:
        try:
            await anyio.sleep_forever()
        finally:
            if part.serving == "serves_lazily":
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(1.5)
    finally:
        run.note("service over", part.name)


async def _fail_often(run: Run, part: Part) -> None:
    run.note("service", part.name, value=variable.get())
    try:
        await anyio.sleep(0.5)
        raise run.inject(part.name, "service", Boom(f"{part.name} service"))
    finally:
        run.note("service over", part.name)


async def _leave(run: Run, part: Part) -> None:
    run.note("service", part.name, value=variable.get())
    try:
        await anyio.sleep(0.5)
        raise run.inject(part.name, "serving", SystemExit(7))
    finally:
        run.note("service over", part.name)


async def _start_or_stop(run: Run, part: Part, phase: str, kind: str) -> None:
    """Start or stop with a fault of that kind."""
    label = f"{part.name} {phase}"
    if kind not in ("instant", "early", "fine", "slow", "hang", "messy", "lazy", "late", "stubborn", "child"):
        await anyio.sleep(1)
    match kind:
        case "fine":
            await anyio.sleep(1)
        case "instant":
            pass
        case "permanent":
            raise run.inject(part.name, phase, PermanentError(label))
        case "fail" | "early":
            raise run.inject(part.name, phase, Boom(label))
        case "base":
            raise run.inject(part.name, phase, Bang(label))
        case "exit":
            raise run.inject(part.name, phase, SystemExit(3))
        case "interrupt":
            raise run.inject(part.name, phase, KeyboardInterrupt())
        case "generator_exit":
            raise run.inject(part.name, phase, GeneratorExit())
        case "by_hand":
            raise run.inject(part.name, phase, asyncio.CancelledError())
        case "grouped_interrupt":
            first = run.inject(part.name, phase, KeyboardInterrupt())
            raise BaseExceptionGroup(label, [first, run.inject(part.name, phase, Boom(label))])
        case "child":
            async with anyio.create_task_group() as group:
                group.start_soon(_fail_in_background, run, part, phase)
                group.start_soon(anyio.sleep_forever)
                await anyio.sleep_forever()
        case "hang":
            await anyio.sleep_forever()
        case "slow":
            await anyio.sleep(8 if phase == "start" else 4)
        case "stubborn":
            with anyio.CancelScope(shield=True):
                await anyio.sleep(20)
        case "messy":
            try:
                await anyio.sleep(12)
            except anyio.get_cancelled_exc_class():
                raise run.inject(part.name, phase, Boom(f"{label} clean-up")) from None
        case "lazy":
            try:
                await anyio.sleep(12)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(1.5)
        case "late":
            try:
                await anyio.sleep(12)
            except anyio.get_cancelled_exc_class():
                pass
        case _:
            raise AssertionError(kind)


async def _fail_in_background(run: Run, part: Part, phase: str) -> None:
    await anyio.sleep(0.5)
    raise run.inject(part.name, phase, Boom(f"{part.name} {phase} child"))
