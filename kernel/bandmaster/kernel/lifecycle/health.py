"""Whether a kernel is live, started and ready, from the probes of its components."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import anyio

from bandmaster.kernel.lifecycle.context import Probe

Status = Literal["pass", "warn", "fail"]

FRESH_AFTER_PASS = 2.0
"""Seconds that a passed probe's result is used again."""
FRESH_AFTER_FAILURE = 0.5
"""Seconds that a failed probe's result is used again: shorter, so that recovery shows soon."""
LONGEST_TIMEOUT = 4.0
"""Seconds that one probe may take, whatever its timeout: cut off by the deadline of all, it would never have a result
to be used again."""
OVERALL_TIMEOUT = 5.0
"""Seconds that all probes together may take; orchestrators give up soon after."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one probe."""

    name: str
    component: str
    status: Status
    reason: str = ""
    """What failed, for operators; exception types but never their texts, which may hold secrets."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """An answer to a health question."""

    status: Status
    checks: tuple[Check, ...] = ()

    @property
    def http_status(self) -> int:
        """200 unless it fails."""
        return 503 if self.status == "fail" else 200

    @property
    def failing(self) -> tuple[Check, ...]:
        """The checks that didn't pass."""
        return tuple(check for check in self.checks if check.status != "pass")


def combine(checks: Iterable[Check]) -> Report:
    """One report of many checks: the worst of them decides."""
    found = tuple(checks)
    statuses = {check.status for check in found}
    return Report("fail" if "fail" in statuses else "warn" if "warn" in statuses else "pass", found)


@dataclass(eq=False)
class _Registered:
    name: str
    component: str
    probe: Probe
    critical: bool
    timeout: float
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    last: Check | None = None
    fresh_until: float = 0.0


class Health:
    """The probes of one run of a kernel: run side by side, each with its timeout, one run serving all who ask."""

    def __init__(self, *, changed: Callable[[Check], None] | None = None) -> None:
        self._probes: dict[str, _Registered] = {}
        self._changed = changed

    def add(self, component: str, name: str, probe: Probe, *, critical: bool, timeout: float) -> None:
        """Register a probe of a component.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._probes:
            taken = self._probes[name].component
            raise ValueError(f"name: component {taken!r} has a probe {name!r} already; give this one another name")
        self._probes[name] = _Registered(name, component, probe, critical, timeout)

    def forget(self, component: str) -> None:
        """Drop the probes of a component that is gone."""
        self._probes = {name: probe for name, probe in self._probes.items() if probe.component != component}

    async def check(self) -> Report:
        """Run every probe whose last result is no longer fresh."""
        results: dict[str, Check] = {}

        async def run(registered: _Registered) -> None:
            results[registered.name] = await self._result(registered)

        probes = list(self._probes.values())
        with anyio.move_on_after(OVERALL_TIMEOUT) as scope:
            async with anyio.create_task_group() as tasks:
                for registered in probes:
                    tasks.start_soon(run, registered)
        # A probe without a result and in time is one whose task somebody else has cancelled.
        reason = f"no answer within {OVERALL_TIMEOUT:g} s" if scope.cancel_called else "cancelled"
        missing = (_checked(registered, reason) for registered in probes if registered.name not in results)
        return combine(sorted([*results.values(), *missing], key=lambda check: check.name))

    async def _result(self, registered: _Registered) -> Check:
        # Whoever comes while a probe runs waits for its result; if that one is cancelled, the next runs it.
        async with registered.lock:
            now = anyio.current_time()
            if registered.last is not None and now < registered.fresh_until:
                return registered.last
            check = await _run(registered)
            fresh = FRESH_AFTER_PASS if check.status == "pass" else FRESH_AFTER_FAILURE
            registered.fresh_until = anyio.current_time() + fresh
            before, registered.last = registered.last, check
        if self._changed is not None and check.status != (before.status if before else "pass"):
            self._changed(check)
        return check


async def _run(registered: _Registered) -> Check:
    began = anyio.current_time()
    timeout = min(registered.timeout, LONGEST_TIMEOUT)
    reason = ""
    with anyio.move_on_after(timeout) as scope:
        try:
            await registered.probe()
        except Exception as error:  # noqa: BLE001  # a probe that raises, whatever it raises, is one that fails
            reason = type(error).__name__
    if scope.cancel_called:
        reason = f"no answer within {timeout:g} s"
    return _checked(registered, reason, anyio.current_time() - began)


def _checked(registered: _Registered, reason: str, seconds: float = 0.0) -> Check:
    status: Status = "pass" if not reason else "fail" if registered.critical else "warn"
    return Check(registered.name, registered.component, status, reason, seconds)
