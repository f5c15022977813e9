"""Put faults into a checked plan, for one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel

from bandmaster.kernel import events
from bandmaster.kernel.events import Event
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.testing.faults import Fault
from bandmaster.kernel.text import suggest

Factory: TypeAlias = "Callable[..., AbstractAsyncContextManager[Any]]"


def wrap_component(plan: Plan, name: str, wrap: Callable[[Factory], Factory], **fields: Any) -> Plan:
    """The plan with one component's factory wrapped.

    The plan is made already, so the signature of the wrapper doesn't matter: the order, the arguments and the provided
    types stay as they are.
    """
    component = plan.by_name[name]
    changed = replace(
        component,
        contribution=replace(component.contribution, factory=wrap(component.contribution.factory)),
        **fields,
    )
    return replace(plan, components=tuple(changed if other is component else other for other in plan.components))


class Injection:
    """The faults of one run and their triggers. A listener of the kernel: faults while serving wait for `Ready`."""

    def __init__(self, faults: Iterable[Fault], plan: Plan) -> None:
        self.faults = tuple(faults)
        for fault in self.faults:
            if fault.component not in plan.by_name:
                raise ValueError(
                    f"faults: there is no component {fault.component!r} in the plan."
                    f"{suggest(fault.component, plan.by_name)} There is: {', '.join(plan.by_name) or 'none'}"
                )
        self.cancelled_by: Fault | None = None
        """The fault that has cancelled the run."""
        self.cancel_run: Callable[[], object] = _do_nothing
        self._failed: Counter[Fault] = Counter()
        """How often each fault has failed a start, where the fault is to fail a certain number of starts."""
        self._ready = anyio.Event()
        self._triggers: dict[str, anyio.Event] = {fault.component: anyio.Event() for fault in self.faults}

    def __call__(self, event: Event) -> None:
        """Receive one event."""
        if isinstance(event, events.Ready):
            self._ready.set()

    def apply(self, plan: Plan) -> Plan:
        """The plan with the faults in it."""
        for fault in self.faults:
            deadline = {} if fault.deadline is None else {f"{fault.at}_timeout": fault.deadline}
            plan = wrap_component(plan, fault.component, partial(self._wrap, fault), **deadline)
        return plan

    def trigger(self, component: str) -> None:
        """Trigger a crash that was injected with ``after=None``.

        Raises:
            ValueError: there is none.
        """
        waiting = [fault.component for fault in self.faults if fault.kind == "crash" and fault.seconds is None]
        if component not in waiting:
            raise ValueError(
                f"component: no crash of {component!r} waits to be triggered; run with faults=[crash({component!r}, "
                "after=None)]"
            )
        self._triggers[component].set()

    def _wrap(self, fault: Fault, factory: Factory) -> Factory:
        return partial(self._open_faulty, fault, factory)

    @asynccontextmanager
    async def _open_faulty(self, fault: Fault, factory: Factory, /, **arguments: Any) -> AsyncGenerator[Any, None]:
        if fault.at == "start":
            await self._run_now(fault)
        async with factory(**arguments) as value:
            if fault.at == "serving":
                async with self._run_fault(fault):
                    yield value
            else:
                yield value
        if fault.at == "stop":
            await self._run_now(fault)

    @asynccontextmanager
    async def _run_fault(self, fault: Fault) -> AsyncGenerator[None, None]:
        """Hold the component in a task group, inside of its resources, so that their clean-up isn't cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._wait_and_fail, fault, name=f"bandmaster: {fault}")
                yield
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # Only the fault runs in the group. The component sees the exception itself, not the group of the kit.
            error = group.exceptions[0]
            try:
                raise error from None
            finally:
                del error

    async def _wait_and_fail(self, fault: Fault) -> None:
        await self._ready.wait()
        if fault.seconds is None:
            await self._triggers[fault.component].wait()
        else:
            await anyio.sleep(fault.seconds)
        if fault.kind == "cancel":
            self._cancel_run(fault)
        else:
            raise fault.make_error()

    async def _run_now(self, fault: Fault) -> None:
        match fault.kind:
            case "fail":
                if fault.times is None or self._failed[fault] < fault.times:
                    self._failed[fault] += 1
                    raise fault.make_error()
            case "hang":
                await anyio.sleep_forever()
            case "slow":
                with anyio.CancelScope(shield=fault.shielded):
                    await anyio.sleep(fault.seconds or 0)
            case _:
                self._cancel_run(fault)
                if fault.at == "start":
                    await anyio.sleep_forever()
                await anyio.lowlevel.checkpoint()

    def _cancel_run(self, fault: Fault) -> None:
        self.cancelled_by = fault
        self.cancel_run()


def _do_nothing() -> None:
    """The cancellation before there is a run."""
