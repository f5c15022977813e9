"""Break the engine on purpose: each mutant is a replacement in the source, and the laws must find every one.

python -m tests.kernel.mutants            try every mutant
python -m tests.kernel.mutants shield     try the mutants with "shield" in their names
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import inspect
import sys
import time
import types
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.kernel.harness.cases import Case, Disturbance, Part, list_cases, list_linked, list_policy_cases
from tests.kernel.harness.oracle import find_violations
from tests.kernel.harness.runner import run_case

from bandmaster.kernel.lifecycle import (
    arguments,
    cancellation,
    component_task,
    engine,
    failed_starts,
    outcome,
    overdue,
    provided,
    record,
    restart,
    schedule,
    services,
    starts,
    timer,
)

MODULES = (
    restart,
    schedule,
    cancellation,
    timer,
    services,
    component_task,
    outcome,
    failed_starts,
    overdue,
    arguments,
    provided,
    record,
    starts,
    engine,
)
"""The modules that mutants break, each after those that it imports."""


class Mutant(NamedTuple):
    """One way to break the engine: a text that stands once in its modules, and the text that replaces it."""

    name: str
    before: str
    after: str
    equivalent: bool = False
    """Whether no run can tell the mutant from the engine; a comment in the list gives the reason."""


MUTANTS = (
    # Order
    Mutant(
        "stops don't wait for dependents",
        "if self._live[node] and not self._unstopped_followers[node]]",
        "if self._live[node]]",
    ),
    Mutant(
        "a follower that is over frees no component",
        "                self._unstopped_followers[leader] -= 1\n",
        "                pass\n",
    ),
    Mutant("starts wait for one dependency only", "if not self._unstarted_leaders[follower]:", "if True:"),
    Mutant(
        "barriers between stages are missing for starts",
        "                if index:\n                    self._add_edge(barrier - 1, node)\n",
        "",
    ),
    Mutant(
        "barriers don't hold stops back",
        "                    if leader >= self._size:\n                        self._live[leader] = 1\n",
        "                    pass\n",
    ),
    Mutant(
        "a barrier never falls on the way down",
        "                        self._live[leader] = 0\n                        passed.append(leader)",
        "                        self._live[leader] = 0",
    ),
    Mutant(
        "a barrier never falls on the way up",
        "(free if follower < self._size else passed).append(follower)",
        "if follower < self._size:\n                        free.append(follower)",
    ),
    Mutant("a component that begins isn't waited for", "        self._live[node] = 1\n", "        pass\n"),
    Mutant(
        "stops begin under the body",
        "        self._schedule.begin_stop()\n",
        "        self._schedule.begin_stop()\n        self._release(self._schedule.list_stoppable())\n",
    ),
    Mutant(
        "no component is released after the body",
        "                self._release(self._schedule.list_stoppable())\n",
        "",
    ),
    Mutant(
        "a component that is over frees no other",
        "        self._release(self._schedule.mark_over(task.index))\n        if self._schedule.stopping",
        "        self._schedule.mark_over(task.index)\n        if self._schedule.stopping",
    ),
    Mutant(
        "a crashed component unwinds at once",
        "            await wait_through([task.may_stop])\n            return error\n",
        "            return error\n",
    ),
    Mutant(
        "no component starts after the first",
        "        self._spawn(self._schedule.mark_started(task.index))\n",
        "        self._schedule.mark_started(task.index)\n",
    ),
    Mutant(
        "every component starts at once",
        "self._spawn(self._schedule.list_first())",
        "self._spawn(list(range(self._unstarted)))",
    ),
    # Failures end the start
    Mutant(
        "a task that was spawned before the stop starts after it has begun",
        "        if self._schedule.stopping:\n            return  # between the call that spawned this task",
        "        if False:\n            return  # between the call that spawned this task",
    ),
    Mutant(
        "a start under way isn't cancelled",
        "                task.abort.cancel()\n                if",
        "                if",
    ),
    Mutant(
        "started components are cancelled too",
        "            if task.state is TaskState.STARTING:\n                task.abort.cancel()\n",
        "            if task.state is not TaskState.OVER:\n                task.abort.cancel()\n",
    ),
    Mutant(
        "a failure doesn't begin the stop",
        "        self._begin_stop()\n        self._body.cancel()\n",
        "        self._body.cancel()\n",
    ),
    Mutant(
        "a failure doesn't end the body",
        "        self._begin_stop()\n        self._body.cancel()\n",
        "        self._begin_stop()\n",
    ),
    # Scopes
    Mutant("starts aren't shielded", "self.abort = anyio.CancelScope(shield=True)", "self.abort = anyio.CancelScope()"),
    Mutant("the stop isn't shielded from the start's cancel", "        task.guard.shield = True\n", ""),
    Mutant(
        "one scope for both",
        "            with task.abort, task.guard:\n",
        "            task.guard = task.abort\n            with task.abort:\n",
    ),
    Mutant(
        "waiting for the end isn't shielded",
        "    with scope or anyio.CancelScope(shield=True) as within:",
        "    with scope or anyio.CancelScope() as within:",
    ),
    Mutant(
        "a native cancel breaks the wait off",
        "                    interruption = error\n    return interruption",
        "                    return error\n    return interruption",
    ),
    Mutant(
        "a cancel at the very end hides the exception of the run",
        "        except BaseException as error:  # a cancellation that came while the tasks took their last steps\n",
        "        except ValueError as error:\n",
    ),
    Mutant("the timer isn't shielded", "else math.inf, shield=True)", "else math.inf)"),
    # Errors
    Mutant(
        "a failed start is forgotten",
        '            self._record.add_failure(task, "start", own)\n',
        "            self._record._end_run()\n",
    ),
    Mutant(
        "a failed stop is forgotten",
        '            self._record.add_failure(task, "stop", own)\n        else:',
        "            pass\n        else:",
    ),
    Mutant(
        "the error of a crashed component is forgotten",
        '        self.failures[task.crash_place] = Failure(task.component, "serving", error)\n',
        "",
    ),
    Mutant("the last error is blamed", "    first, *rest = ending.failures\n", "    *rest, first = ending.failures\n"),
    Mutant(
        "only the first error is reported",
        "    first, *rest = ending.failures\n",
        "    first, *rest = ending.failures[:1]\n",
    ),
    Mutant(
        "the body's error is lost to a failure",
        "    errors = list_distinct([*errors, interruption], first.error)\n",
        "",
    ),
    Mutant(
        "the body's error is lost to a failed stop",
        "list_distinct([interruption, first.error, *errors])",
        "list_distinct([first.error, *errors])",
    ),
    Mutant(
        "a cancel hides errors",
        "    if not ending.failures:\n",
        "    if not ending.failures or isinstance(interruption, anyio.get_cancelled_exc_class()):\n",
    ),
    Mutant(
        "a cancel is swallowed",
        "                interruption = join_interruptions(interruption, await wait_through([self._all_over]))\n",
        "                await wait_through([self._all_over])\n"
        "                if isinstance(interruption, anyio.get_cancelled_exc_class()):\n"
        "                    interruption = None\n",
    ),
    Mutant(
        "an interruption hides the body's error",
        "join_interruptions(interruption, await wait_through([self._all_over]))",
        "await wait_through([self._all_over]) or interruption",
    ),
    Mutant(
        "a cancelled start counts as success",
        "        if interruption is None and not ending.was_ready:\n",
        "        if False:\n",
    ),
    Mutant("SystemExit becomes an ordinary error", "    if not fatal:\n", "    if True:\n"),
    Mutant(
        "a cancellation by hand is lost",
        "    return own if own is not None or expected else make_outside_cancellation(error)\n",
        "    return own\n",
    ),
    Mutant(
        "cancellations stand among the errors",
        "error.subgroup(cancelled) is not None",
        "False",
    ),
    Mutant(
        "an expected cancellation is a failure",
        "return own if own is not None or expected else",
        "return own if own is not None else",
    ),
    Mutant(
        "a cancellation by hand is lost after a late entry",
        "                raise error\n            return  # the stop's deadline",
        "                return\n            return  # the stop's deadline",
    ),
    Mutant(
        "the error stays after a late entry",
        "expected=task.guard.cancel_called or task.abort.cancel_called",
        "expected=task.guard.cancel_called",
    ),
    # Deadlines
    Mutant("starts have no deadline", "        self._timer.set_deadline(task, task.start_by)\n", ""),
    Mutant("stops have no deadline", "        self._timer.set_deadline(task, now + task.component.stop_timeout)\n", ""),
    Mutant(
        "a stop has the start's deadline", "now + task.component.stop_timeout", "now + task.component.start_timeout"
    ),
    Mutant(
        "the rollback has no deadline",
        "                    self._timer.set_deadline(task, self._stop_began + task.component.stop_timeout)\n",
        "                    pass\n",
    ),
    Mutant(
        "a deadline that was met rings all the same",
        "            if timed.deadline == deadline:\n",
        "            if True:\n",
    ),
    Mutant(
        "the start's deadline outlives the start",
        "        finally:\n            task.pending = None\n            task.deadline = math.inf\n",
        "        finally:\n            task.pending = None\n",
    ),
    Mutant(
        "the stop's deadline outlives the stop", "        task.deadline = math.inf\n        try:\n", "        try:\n"
    ),
    Mutant(
        "an overdue stop isn't cancelled",
        "            task.guard.cancel()\n",
        "            pass\n",
    ),
    Mutant(
        "an overdue component is never abandoned",
        "        self._timer.set_deadline(task, now + self._abandon_after)\n",
        "",
    ),
    Mutant(
        "a missed deadline isn't reported",
        "        self._record.add_failure(task, error.phase, error)\n",
        "        self._end_run()\n",
    ),
    Mutant(
        "the abandoned are waited for",
        "        self._release(self._schedule.mark_over(task.index))\n        self._report",
        "        self._report",
    ),
    Mutant(
        "a stop's deadline is reported as the start's",
        '        phase, deed, began = "stop", ',
        '        phase, deed, began = "start", ',
    ),
    Mutant(
        "an alarm doesn't wake the timer",
        "            # The timer's task sleeps until an alarm that isn't the next one any more.\n"
        "            self._changed.set()\n",
        "            pass\n",
    ),
    Mutant(
        "the run ends under the abandoned",
        "        self._alive -= 1\n",
        "        self._alive -= task.name not in self._abandoned\n",
    ),
    # Crashes
    Mutant(
        "a crash is reported after the unwinding only",
        "            self._record.add_crash(task)\n",
        "            await wait_through([task.may_stop])\n            self._record.add_crash(task)\n",
    ),
    Mutant(
        "a crashed component doesn't see its exception",
        "own = (None, None, None) if crash is None else (type(crash), crash, crash.__traceback__)",
        "own = (None, None, None)",
    ),
    Mutant("a degraded component stops the plan", '        if policy == "stop":\n', "        if True:\n"),
    Mutant("a crash never stops the plan", '        if policy == "stop":\n', "        if False:\n"),
    # Starts that are tried again
    Mutant("a failed try is never repeated", '        if reaction == "retry":\n', "        if False:\n"),
    Mutant("an error that stays is tried again", "    PermanentError,\n    AssertionError,\n", "    AssertionError,\n"),
    Mutant("a delay reaches the deadline", "    return delay if delay < left else None\n", "    return delay\n"),
    Mutant(
        "each try has a deadline of its own",
        "        self._timer.set_deadline(task, task.start_by)\n",
        "        self._timer.set_deadline(task, self._now() + task.component.start_timeout)\n",
    ),
    Mutant(
        "a try begins in the tick in which the stop begins",
        "                if self._schedule.stopping:  # since this very tick",
        "                if False:  # since this very tick",
    ),
    Mutant(
        "the next try begins at once",
        "                await anyio.sleep(task.delay)\n",
        "",
    ),
    Mutant("the delays between tries don't grow", "compute_delay(backoff, attempt - 1)", "compute_delay(backoff, 0)"),
    Mutant(
        "a try sees the variables of the one before",
        "            self._spawn_task(task.next_try)\n",
        "            self._start_task(task.next_try)\n",
    ),
    Mutant(
        "a failure of the rollback is tried again or degraded",
        "        if not self._schedule.stopping and self._follow_start_policy(",
        "        if self._follow_start_policy(",
    ),
    Mutant(
        "tries aren't counted",
        "(task.component, phase, error, task.attempt)",
        "(task.component, phase, error)",
    ),
    Mutant(
        "the waiting components start before the next try",
        "                task.prepare_next_try(own, delay)\n",
        "                task.prepare_next_try(own, delay)\n                self._continue_start(task)\n",
    ),
    # Starts that are degraded
    Mutant("a failed start is never degraded", '        if reaction == "degrade":\n', "        if False:\n"),
    Mutant(
        "SystemExit is tried again or degraded",
        "        if own is not None and not isinstance(own, Exception):\n",
        "        if False:\n",
    ),
    Mutant(
        "a cancellation by other code is tried again or degraded",
        "            return True\n        if own is None:\n            return False\n",
        "            return True\n        own = own or Exception()\n",
    ),
    Mutant(
        "a late start is never degraded",
        "        if starting and not rolling_back and task.component",
        "        if False and task.component",
    ),
    Mutant(
        "a late undoing of a start is degraded",
        "        if starting and not rolling_back and task.component",
        "        if starting and task.component",
    ),
    Mutant(
        "a late start that may be degraded isn't cancelled",
        "            task.failed_start = error\n            task.abort.cancel()\n",
        "            task.failed_start = error\n",
    ),
    Mutant(
        "the error of a cancelled start is lost",
        "            task.failed_start.__cause__ = own\n",
        "            pass\n",
    ),
    Mutant(
        "a degraded component frees no other",
        "error=error, waited=task.waited)\n        self._go_on(task)\n",
        "error=error, waited=task.waited)\n",
    ),
    Mutant(
        "a degraded component leaves its place in the order",
        "            await wait_through([task.may_stop])\n        elif",
        "            pass\n        elif",
    ),
    Mutant(
        "a component that starts too late isn't exited",
        "crash = None if self._starts.is_given_up(task) else await self._hold(task)",
        "crash = await self._hold(task)",
    ),
    Mutant(
        "a component that starts too late counts",
        "        if self._schedule.stopping or task.failed_start is not None:\n",
        "        if self._schedule.stopping:\n",
    ),
    Mutant(
        "a start that ignores its cancellation is no failure",
        '            self._record.add_failure(task, "start", error)\n            task.may_stop.set()',
        "            task.may_stop.set()",
    ),
    Mutant(
        "a start that ignores its cancellation may never stop",
        "            task.may_stop.set()  # nothing has started after it\n",
        "",
    ),
    Mutant("a component starts without one that it relies on", "        if lost:\n", "        if False:\n"),
    Mutant(
        "a degraded component isn't remembered",
        "        self._degraded[task.name] = describe_degraded(error)\n",
        "",
    ),
    # Readiness and contexts
    Mutant(
        "ready before all have started",
        "        if not self._unstarted and self._stop_reason is None:\n",
        "        if self._stop_reason is None and not self._was_ready:\n",
    ),
    Mutant(
        "ready in spite of a requested stop",
        "        if not self._unstarted and self._stop_reason is None:\n",
        "        if not self._unstarted:\n",
    ),
    Mutant(
        "ready without a body",
        "                        if self.phase is Phase.READY:\n",
        "                        if self._was_ready:\n",
    ),
    Mutant(
        "components see each other's variables",
        "        self._neutral_context.copy().run(self._start_task, task)\n",
        "        self._start_task(task)\n",
    ),
    # Objects
    Mutant("a component's object is lost", "        self._started[component] = value\n", "        pass\n"),
    Mutant(
        "a decorator gets its own chain's outermost object",
        "            sources = providers.find_sources(need, component.name)\n",
        "            sources = tuple(chain.outermost for chain in providers.find_chains(need))\n",
    ),
    Mutant(
        "a collection has the objects inside the decorators",
        "        found = [(chain.provider.name, self._get(chain.outermost)) for chain in chains]\n",
        "        found = [(chain.provider.name, self._get(chain.provider)) for chain in chains]\n",
    ),
    Mutant(
        "a collection lacks its first object",
        "for name, value in found if value is not NOTHING)",
        "for name, value in found[1:] if value is not NOTHING)",
    ),
    Mutant(
        "a component gets None for every object",
        "            arguments[need.parameter] = value\n",
        "            arguments[need.parameter] = None if need.kind is Kind.RESOURCE else value\n",
    ),
    # Services
    Mutant(
        "services never run",
        "            task.services.start()\n        self._go_on",
        "            pass\n        self._go_on",
    ),
    Mutant(
        "a service isn't ended before its component",
        "                await task.services.end()\n",
        "                pass\n",
    ),
    Mutant(
        "the end of a service isn't waited for",
        "        await wait_through(self._list_ends(), self._patience)\n",
        "",
    ),
    Mutant(
        "a service that never ran is waited for",
        "[task.over for task in self._tasks.values() if task.begun]",
        "[task.over for task in self._tasks.values()]",
    ),
    Mutant(
        "a service that gave up is forgotten",
        '        self.failures.append(Failure(task.component, "serving", error))\n',
        "",
    ),
    Mutant(
        "a service that gave up has no consequence",
        ", error))\n        self._follow_policy(policy, task)\n",
        ", error))\n",
    ),
    Mutant(
        "SystemExit in a service is only a failure",
        "            if error is not None and not isinstance(error, Exception):\n                # SystemExit",
        "            if False:\n                # SystemExit",
    ),
    Mutant(
        "a service is restarted for ever",
        "        if len(self._recent) >= restart.intensity:\n",
        "        if len(self._recent) >= 9:\n",
    ),
    Mutant(
        "a service is never restarted",
        "        if len(self._recent) >= restart.intensity:\n",
        "        if True:\n",
    ),
    Mutant("the delay doesn't grow", "restart.initial_delay * 2.0**", "restart.initial_delay * 1.0**"),
    Mutant(
        "the timer dies of a native cancel",
        "            await wait_through([self._changed], pause)\n",
        "            with pause:\n                await self._changed.wait()\n",
    ),
)


class Survived(AssertionError):
    """No case of the sample has told a mutant from the engine."""


def load_engine(mutant: Mutant) -> Any:
    """Load a copy of the engine and its modules with the mutant's replacement, and return the broken engine's class.

    Raises:
        LookupError: the text to replace isn't there, or stands there more than once.
    """
    sources = {module.__name__: inspect.getsource(module) for module in MODULES}
    count = sum(source.count(mutant.before) for source in sources.values())
    if count != 1:
        raise LookupError(f"mutant {mutant.name!r}: its text stands {count} times")
    originals = {name: sys.modules[name] for name in sources}
    try:
        for name, source in sources.items():
            copy = types.ModuleType(name)
            copy.__file__ = f"<a copy of {name}>"
            # Before its code runs, for its dataclasses; and for the modules after it, which import from the copy.
            sys.modules[name] = copy
            exec(compile(source.replace(mutant.before, mutant.after), copy.__file__, "exec"), copy.__dict__)
        return sys.modules[engine.__name__].Engine  # type: ignore[attr-defined]
    finally:
        sys.modules.update(originals)


@cache
def list_sample() -> Sequence[Case]:
    """List the cases that mutants are tried against: the telling cases first, then a share of all cases."""
    found = [*list_telling_cases(), *list(list_cases(["asyncio"]))[::29], *list(list_cases(["trio"]))[::97]]
    found += [*list(list_policy_cases(["asyncio"]))[::53], *list(list_policy_cases(["trio"]))[::197]]
    disturbed = []
    for place, case in enumerate(found):
        kinds = ("cancel", "native", "stop", "shutdown", "kill") if case.backend == "asyncio" else ("cancel", "stop")
        kind = kinds[place % len(kinds)]
        target = case.parts[place % len(case.parts)].name if kind == "kill" else ""
        for step in range(1 + place % 3, 34, 3):
            disturbed.append(Case(case.parts, case.body, Disturbance(kind, step, target), case.backend))
    return [*found, *disturbed, *_random(400)]


def list_telling_cases() -> Iterator[Case]:
    """List a few cases that kill most mutants."""
    well = Part("a"), Part("b", ("a",)), Part("c", ("b",))
    yield Case(well)
    yield Case((Part("a"), Part("b", stage=1), Part("c", stage=2)))
    yield Case((Part("a"), Part("b", start="fail"), Part("c", ("a",))))
    yield Case((Part("a"), Part("b", ("a",), stop="hang"), Part("c", ("b",), stop="fail")), "raises")
    yield Case((Part("a", serving="crash"), Part("b", ("a",)), Part("c", ("b",))))
    yield Case((Part("a", start="stubborn"), Part("b", start="fail"), Part("c")))
    # A component becomes free to start in the tick in which another fails, while a third takes long to stop.
    yield Case((Part("a", stop="hang"), Part("b", start="fail"), Part("c", ("a",)), Part("d", ("c",), start="hang")))
    for name in ("serves", "exhausts", "exhausts_degrade", "exits", "crash_degrade"):
        yield Case((Part("a", serving=name, shape="group"), Part("b", ("a",)), Part("c")))
    # A component with a service enters in spite of its cancellation.
    yield Case((Part("a", start="late", serving="serves"), Part("b", start="fail")))
    # The same, with a task group whose tasks the cancellation has ended.
    yield Case((Part("a", start="late", shape="group"), Part("b", shape="group"), Part("c", shape="group")))
    # A component starts in the tick of the fault, and its stop awaits a task that other code has cancelled.
    yield Case((Part("a", start="fail"), Part("b", stop="by_hand"), Part("c")))
    # Starts that are tried again: to success, to the deadline, in vain, and beside a neighbour that fails.
    for kind, failures in (("fail", 1), ("early", 3), ("fail", 0), ("permanent", 0), ("hang", 0), ("base", 0)):
        yield Case((Part("a", start=kind, policy="retry", failures=failures), Part("b", ("a",)), Part("c")))
    yield Case((Part("a", start="messy", policy="retry"), Part("b", start="fail"), Part("c")))
    yield Case((Part("a", start="by_hand", policy="retry"), Part("b", ("a",))))
    for seed in range(3):  # the delay ends in the tick in which the stop begins
        yield Case((Part("a"), Part("b", ("a",), serving="ends"), Part("c", start="fail", policy="retry")), seed=seed)
    # Degraded ones: at once, too late, in spite of the cancellation, beside a neighbour that fails.
    for kind in ("early", "hang", "messy", "late", "stubborn", "exit", "by_hand"):
        yield Case((Part("a"), Part("b", ("a",), start=kind, policy="degrade"), Part("c", ("b",), stop="slow")))
    yield Case((Part("a", start="fail", policy="degrade"), Part("b", ("a",), policy="degrade"), Part("c", ("b",))))
    yield Case((Part("a"), Part("b", stage=1, start="fail", policy="degrade"), Part("c", stage=2, stop="slow")))
    yield Case((Part("a", start="messy", policy="degrade"), Part("b", start="fail"), Part("c")))
    yield Case((Part("a", start="stubborn", policy="degrade"), Part("b", start="fail"), Part("c")))
    # The stop is requested in the tick in which the last component has started.
    for step in range(4, 12):
        yield Case((Part("a"), Part("b")), "waits", Disturbance("stop", step))
    # Decorators around one object, and collections of objects with decorators around them.
    for parts in list_linked():
        yield Case(parts)
    # A body that has failed is cancelled while the stop is under way.
    for step in range(8, 24):
        yield Case(well, "raises", Disturbance("native", step))
        yield Case((Part("a", start="hang"), Part("b"), Part("c", stop="hang")), "waits", Disturbance("shutdown", step))
        yield Case((Part("a", stop="stubborn"), Part("b", ("a",), stop="fail")), "waits", Disturbance("cancel", step))


def _random(count: int) -> list[Case]:
    from hypothesis import HealthCheck, given, settings
    from tests.kernel.harness.strategies import cases

    found: list[Case] = []

    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(cases())
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


def find_killer(mutant: Mutant) -> tuple[int, str]:
    """Return the number of the case that kills a mutant, and the violation.

    Raises:
        Survived: no case did.
    """
    broken = load_engine(mutant)
    for number, case in enumerate(list_sample(), 1):
        violation = next(find_violations(run_case(case, broken)), None)
        if violation is not None:
            return number, violation
    raise Survived(mutant.name)


def main() -> int:
    """Print a table of all mutants; the exit code is 0 if every mutant that can be killed was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="", help="only mutants with this text in their names")
    options = parser.parse_args()
    # A broken engine leaves tasks and generators behind, with a warning for each.
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None
    chosen = [mutant for mutant in MUTANTS if options.name in mutant.name]
    for mutant in chosen:
        load_engine(mutant)
    # A law that the engine itself breaks would kill every mutant.
    wrong = [case for case in list_sample() if next(find_violations(run_case(case)), None)]
    surprises = len(wrong)
    print("".join(f"the engine itself breaks a law in {case}\n" for case in wrong[:5]), end="")
    print("| mutant | outcome | cases | seconds | by |\n|---|---|---|---|---|")
    for mutant in chosen:
        began = time.monotonic()
        try:
            number, violation = find_killer(mutant)
            outcome = "killed"
        except Survived:
            number, violation, outcome = len(list_sample()), "", "survived"
        except LookupError as error:
            number, violation, outcome = 0, str(error), "doesn't apply"
        surprises += (outcome == "killed") == mutant.equivalent
        note = " (equivalent)" if mutant.equivalent else ""
        print(
            f"| {mutant.name}{note} | {outcome} | {number} | {time.monotonic() - began:.1f} | {violation[:80]} |",
            flush=True,
        )
        asyncio.set_event_loop(None)
        gc.collect()
    print(f"\n{len(chosen)} mutants, {surprises} surprises, a sample of {len(list_sample())} cases")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
