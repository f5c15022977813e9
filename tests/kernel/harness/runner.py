"""Run a case on its event loop, and return the record."""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import trio
from tests.kernel.harness.cases import ABANDON_AFTER, Case
from tests.kernel.harness.clock import run_asyncio, run_trio
from tests.kernel.harness.facts import Run
from tests.kernel.harness.parts import Bang, Boom, make_faulty_plan, variable

from bandmaster.kernel.lifecycle import engine as lifecycle
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.restart import Restart

BODY_SECONDS = 5.0
BACKOFF = Restart(max_delay=2.0, jitter=0)


def run_case(case: Case, engine_class: Any = lifecycle.Engine, *, eager: bool = False) -> Run:
    """Run a case from beginning to end, and return the record."""
    run = Run(case)
    faulty = make_faulty_plan(case.parts)
    faulty.run = run
    run.order = tuple(component.name for component in faulty.plan.components)
    caller = _Caller(run, faulty.plan, engine_class)
    try:
        if case.backend == "trio":
            run.left = run_trio(caller.main, caller.before_step, case.seed)
        else:
            run.left = run_asyncio(caller.main, caller.before_step, case.seed, eager=eager)
    except BaseException as error:
        run.broken = error
    return run


class _Caller:
    """The caller of the engine: enters `running`, executes the body, leaves, and is disturbed meanwhile."""

    def __init__(self, run: Run, plan: Any, engine_class: Any) -> None:
        self._run = run
        self._engine = _observe_phases(engine_class, run)(
            plan,
            make_context=partial(Context, run=_RunHandle(self)),
            emit=run.emit,
            abandon_after=ABANDON_AFTER,
            backoff=BACKOFF,
        )
        self._scope: anyio.CancelScope | None = None
        self._task: Any = None

    def supervise(self, *arguments: Any) -> None:
        self._engine.supervise(*arguments)

    async def main(self) -> None:
        run = self._run
        variable.set("outer")
        if run.case.backend == "asyncio":
            self._task = asyncio.current_task()
            run.now, run.me = asyncio.get_running_loop().time, asyncio.current_task
        else:
            run.now, run.me = trio.current_time, trio.lowlevel.current_task
        with anyio.CancelScope() as self._scope:
            try:
                async with self._engine.running():
                    run.note("body")
                    try:
                        await self._body(run.case.body)
                    except BaseException as error:
                        run.note("body over", error=error)
                        raise
                    run.note("body over")
            except BaseException as error:
                run.raised = error
        run.over = True
        run.note("over")
        run.degraded = list(self._engine.degraded_starts)
        if run.raised is None and run.case.disturbance is not None:
            try:
                await anyio.lowlevel.checkpoint()
            except asyncio.CancelledError:
                run.interrupted_late = True

    async def _body(self, kind: str) -> None:
        match kind:
            case "waits":
                await anyio.sleep(BODY_SECONDS)
            case "returns":
                pass
            case "raises":
                await anyio.sleep(BODY_SECONDS)
                raise self._run.inject("", "body", Boom("body"))
            case "raises_base":
                await anyio.sleep(BODY_SECONDS)
                raise self._run.inject("", "body", Bang("body"))
            case "cleans_up":
                try:
                    await anyio.sleep(BODY_SECONDS)
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(1.5)
            case "converts":
                try:
                    await anyio.sleep(BODY_SECONDS)
                except anyio.get_cancelled_exc_class():
                    raise self._run.inject("", "body", Boom("body")) from None
            case _:
                raise AssertionError(kind)

    def before_step(self, step: int) -> None:
        run = self._run
        run.steps = step
        disturbance = run.case.disturbance
        if disturbance is None or step != disturbance.step or self._scope is None or run.over:
            return
        run.disturbed_at = len(run.facts)
        match disturbance.kind:
            case "cancel":
                self._scope.cancel()
            case "stop":
                self._engine.stop("the harness")
            case "native":
                self._task.cancel()
            case "shutdown" | "kill":
                for task in asyncio.all_tasks(self._task.get_loop()):
                    if not disturbance.target or task.get_name() == f"bandmaster: {disturbance.target}":
                        _cancel(task)
            case _:
                raise AssertionError(disturbance)


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    coroutine = task.get_coro()
    if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        # This task will never take its first step, and AnyIO doesn't close the coroutine that it should have awaited.
        inner = coroutine.cr_frame.f_locals.get("self")
        if inner is not None:
            inner.coro.close()


def _observe_phases(engine_class: Any, run: Run) -> Any:
    """A subclass of the engine that records each change of its phase."""

    class Observed(engine_class):  # type: ignore[misc]
        @property
        def phase(self) -> Any:
            return self._phase

        @phase.setter
        def phase(self, phase: Any) -> None:
            self._phase = phase
            run.record_phase(phase)

    return Observed


class _RunHandle:
    """The part of a run that components of the harness call."""

    def __init__(self, caller: _Caller) -> None:
        self._caller = caller

    def supervise(self, *arguments: Any) -> None:
        self._caller.supervise(*arguments)
