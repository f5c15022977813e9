"""Run the health probes of components, and combine their results into one report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import anyio

from bandmaster.kernel.lifecycle.context import Probe

Status = Literal["pass", "warn", "fail"]

FRESH_AFTER_PASS = 2.0
"""Seconds for which the result of a passed probe is reused."""
FRESH_AFTER_FAILURE = 0.5
"""Seconds for which the result of a failed probe is reused: shorter, so that a recovery shows soon."""
LONGEST_TIMEOUT = 4.0
"""The most seconds for one probe: below `OVERALL_TIMEOUT`, so that a slow probe still has a result to reuse."""
OVERALL_TIMEOUT = 5.0
"""The most seconds for all probes together; orchestrators give up soon after."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one probe."""

    name: str
    component: str
    status: Status
    reason: str = ""
    """The cause of a failure, for operators: the type of an exception, never its text, which may hold secrets."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a health check, for the process as a whole and for each probe."""

    status: Status
    checks: tuple[Check, ...] = ()

    @property
    def http_status(self) -> int:
        """503 if the check fails, else 200."""
        return 503 if self.status == "fail" else 200

    @property
    def failing(self) -> tuple[Check, ...]:
        """The checks that didn't pass."""
        return tuple(check for check in self.checks if check.status != "pass")


def combine(checks: Iterable[Check]) -> Report:
    """Combine checks into one report; the worst of them decides."""
    found = tuple(checks)
    statuses = {check.status for check in found}
    return Report("fail" if "fail" in statuses else "warn" if "warn" in statuses else "pass", found)


@dataclass(eq=False)
class _RegisteredProbe:
    name: str
    component: str
    probe: Probe
    critical: bool
    timeout: float
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    last: Check | None = None
    fresh_until: float = 0.0


class Health:
    """The probes of one run of a kernel. Probes run at the same time, and one run of a probe serves every caller."""

    def __init__(self, *, changed: Callable[[Check], None] | None = None) -> None:
        self._probes: dict[str, _RegisteredProbe] = {}
        self._changed = changed

    def add(self, component: str, name: str, probe: Probe, *, critical: bool, timeout: float) -> None:
        """Register a probe of a component.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._probes:
            taken = self._probes[name].component
            raise ValueError(f"name: component {taken!r} has a probe {name!r} already; give this one another name")
        self._probes[name] = _RegisteredProbe(name, component, probe, critical, timeout)

    def forget(self, component: str) -> None:
        """Drop the probes of a component that has stopped."""
        self._probes = {name: probe for name, probe in self._probes.items() if probe.component != component}

    async def check(self) -> Report:
        """Run every probe without a fresh result."""
        results: dict[str, Check] = {}

        async def run(registered: _RegisteredProbe) -> None:
            results[registered.name] = await self._get_result(registered)

        probes = list(self._probes.values())
        with anyio.move_on_after(OVERALL_TIMEOUT) as scope:
            async with anyio.create_task_group() as tasks:
                for registered in probes:
                    tasks.start_soon(run, registered)
        # Within the deadline only a probe whose own task was cancelled by other code has no result.
        reason = f"no answer within {OVERALL_TIMEOUT:g} s" if scope.cancel_called else "cancelled"
        missing = (_make_check(registered, reason) for registered in probes if registered.name not in results)
        return combine(sorted([*results.values(), *missing], key=lambda check: check.name))

    async def _get_result(self, registered: _RegisteredProbe) -> Check:
        # A caller that comes while the probe runs waits for the result; if the first caller is cancelled, the next
        # one runs the probe.
        async with registered.lock:
            now = anyio.current_time()
            if registered.last is not None and now < registered.fresh_until:
                return registered.last
            check = await _run_probe(registered)
            fresh = FRESH_AFTER_PASS if check.status == "pass" else FRESH_AFTER_FAILURE
            registered.fresh_until = anyio.current_time() + fresh
            before, registered.last = registered.last, check
        if self._changed is not None and check.status != (before.status if before else "pass"):
            self._changed(check)
        return check


async def _run_probe(registered: _RegisteredProbe) -> Check:
    began = anyio.current_time()
    timeout = min(registered.timeout, LONGEST_TIMEOUT)
    reason = ""
    with anyio.move_on_after(timeout) as scope:
        try:
            await registered.probe()
        except Exception as error:  # noqa: BLE001  # any exception is a failure of the probe
            reason = type(error).__name__
    if scope.cancel_called:
        reason = f"no answer within {timeout:g} s"
    return _make_check(registered, reason, anyio.current_time() - began)


def _make_check(registered: _RegisteredProbe, reason: str, seconds: float = 0.0) -> Check:
    status: Status = "pass" if not reason else "fail" if registered.critical else "warn"
    return Check(registered.name, registered.component, status, reason, seconds)
