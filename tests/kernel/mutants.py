"""Broken engines, each of which the laws must find: named replacements in the source, applied to a copy in memory.

python -m tests.kernel.mutants            every mutant against the sample, until it is killed
python -m tests.kernel.mutants shield     those whose name contains that
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

from tests.kernel.harness.bench import play
from tests.kernel.harness.cases import Case, Disturbance, Part, everything
from tests.kernel.harness.oracle import violations_of

from bandmaster.kernel.lifecycle import engine as lifecycle
from bandmaster.kernel.lifecycle import restart as supervision
from bandmaster.kernel.lifecycle import schedule


class Mutant(NamedTuple):
    """One way to break the engine."""

    name: str
    before: str
    after: str
    module: types.ModuleType = lifecycle
    equivalent: bool = False
    """Whether it can't be told from the original; a comment in the list argues it."""


MUTANTS = (
    # Order
    Mutant(
        "stops don't wait for dependents",
        "if self._live[node] and not self._unstopped_followers[node]]",
        "if self._live[node]]",
        schedule,
    ),
    Mutant(
        "a follower that is over frees nobody",
        "                self._unstopped_followers[leader] -= 1\n",
        "                pass\n",
        schedule,
    ),
    Mutant("starts wait for one dependency only", "if not self._unstarted_leaders[follower]:", "if True:", schedule),
    Mutant(
        "barriers between stages are missing for starts",
        "                if index:\n                    self._edge(barrier - 1, node)\n",
        "",
        schedule,
    ),
    Mutant(
        "barriers don't hold stops back",
        "            if leader >= self._size:\n                self._live[leader] = 1\n",
        "            pass\n",
        schedule,
    ),
    Mutant(
        "a barrier never falls on the way down",
        "                        self._live[leader] = 0\n                        passed.append(leader)",
        "                        self._live[leader] = 0",
        schedule,
    ),
    Mutant(
        "a barrier never falls on the way up",
        "(free if follower < self._size else passed).append(follower)",
        "if follower < self._size:\n                        free.append(follower)",
        schedule,
    ),
    Mutant("what begins isn't waited for", "        self._live[node] = 1\n", "        pass\n", schedule),
    Mutant(
        "stops begin under the body",
        "        self._schedule.stop()\n",
        "        self._schedule.stop()\n        self._release(self._schedule.free())\n",
    ),
    Mutant("nobody is released after the body", "                self._release(self._schedule.free())\n", ""),
    Mutant(
        "what is over frees nobody",
        "        self._release(self._schedule.over(host.index))\n        if self._schedule.stopping",
        "        self._schedule.over(host.index)\n        if self._schedule.stopping",
    ),
    Mutant(
        "a crashed component unwinds at once",
        "            await _through([host.release])\n            return error\n",
        "            return error\n",
    ),
    Mutant(
        "nobody starts after the first",
        "        self._spawn(self._schedule.started(host.index))\n",
        "        self._schedule.started(host.index)\n",
    ),
    Mutant(
        "everything starts at once", "self._spawn(self._schedule.first())", "self._spawn(list(range(self._unstarted)))"
    ),
    # Faults end the start
    Mutant(
        "a host that was set free starts after the stop has begun",
        "        if self._schedule.stopping:\n            return  # what set it free, or something beside it, has failed in the meantime\n",
        "",
    ),
    Mutant("what is starting isn't cancelled", "                host.abort.cancel()\n", ""),
    Mutant(
        "started components are cancelled too",
        "            if host.state is _State.STARTING:\n                host.abort.cancel()\n",
        "            if host.state is not _State.OVER:\n                host.abort.cancel()\n",
    ),
    Mutant(
        "a fault doesn't begin the stop",
        "        self._begin_stop()\n        self._body.cancel()\n",
        "        self._body.cancel()\n",
    ),
    Mutant(
        "a fault doesn't end the body",
        "        self._begin_stop()\n        self._body.cancel()\n",
        "        self._begin_stop()\n",
    ),
    # Scopes
    Mutant("starts aren't shielded", "self.abort = anyio.CancelScope(shield=True)", "self.abort = anyio.CancelScope()"),
    Mutant("the stop isn't shielded from the start's cancel", "        host.guard.shield = True\n", ""),
    Mutant(
        "one scope for both",
        "            with host.abort, host.guard:\n",
        "            host.guard = host.abort\n            with host.abort:\n",
    ),
    Mutant(
        "waiting for the end isn't shielded",
        "    with scope or anyio.CancelScope(shield=True) as within:",
        "    with scope or anyio.CancelScope() as within:",
    ),
    Mutant(
        "a native cancel breaks the wait off",
        "                except BaseException as error:\n                    interrupted = error\n    return interrupted",
        "                except BaseException as error:\n                    return error\n    return interrupted",
    ),
    Mutant(
        "a cancel at the very end hides what is raised",
        "        except BaseException as error:  # a cancellation that came while the tasks took their last steps\n",
        "        except ValueError as error:\n",
    ),
    Mutant("the clock isn't shielded", "else math.inf, shield=True)", "else math.inf)"),
    # Errors
    Mutant(
        "a failed start is forgotten", '            self._fault(host, "start", fault)\n', "            self._fail()\n"
    ),
    Mutant(
        "a failed stop is forgotten",
        '            self._fault(host, "stop", fault)\n        else:',
        "            pass\n        else:",
    ),
    Mutant(
        "what a crashed component died of is forgotten",
        '            self._faults[host.crash] = Fault(host.name, "serving", self._note(host, fault, "serving"))\n',
        "            pass\n",
    ),
    Mutant(
        "the last error is blamed", "        first, *rest = self._faults\n", "        *rest, first = self._faults\n"
    ),
    Mutant(
        "only the first error is told",
        "        first, *rest = self._faults\n",
        "        first, *rest = self._faults[:1]\n",
    ),
    Mutant("the body's error is lost to a fault", "        errors = _distinct([*errors, ended_by], first.error)\n", ""),
    Mutant(
        "the body's error is lost to a failed stop",
        "_distinct([ended_by, first.error, *errors])",
        "_distinct([first.error, *errors])",
    ),
    Mutant(
        "a cancel hides errors",
        "        if not self._faults:\n            if ended_by is None and",
        "        if not self._faults or isinstance(ended_by, anyio.get_cancelled_exc_class()):\n            if ended_by is None and",
    ),
    Mutant(
        "a cancel is swallowed",
        "                ended_by = _both(ended_by, await _through([self._all_over]))\n",
        "                await _through([self._all_over])\n                ended_by = None if isinstance(ended_by, anyio.get_cancelled_exc_class()) else ended_by\n",
    ),
    Mutant(
        "an interruption hides the body's error",
        "_both(ended_by, await _through([self._all_over]))",
        "await _through([self._all_over]) or ended_by",
    ),
    Mutant(
        "a cancelled start counts as success",
        "            if ended_by is None and not self._was_ready:\n",
        "            if False:\n",
    ),
    Mutant("SystemExit becomes an ordinary error", "        if not fatal:\n", "        if True:\n"),
    Mutant(
        "a cancellation by hand is lost",
        "    return own if own is not None or expected else _cancelled_from_outside(error)\n",
        "    return own\n",
    ),
    Mutant(
        "cancellations stand among the errors",
        "error.subgroup(cancelled) is not None",
        "False",
    ),
    Mutant(
        "an expected cancellation is a fault",
        "return own if own is not None or expected else",
        "return own if own is not None else",
    ),
    Mutant(
        "a cancellation by hand is lost after a late entry",
        "                raise error  # of its start, perhaps",
        "                return  # of its start, perhaps",
    ),
    Mutant(
        "the error stays after a late entry",
        "expected=host.guard.cancel_called or host.abort.cancel_called",
        "expected=host.guard.cancel_called",
    ),
    # Deadlines
    Mutant("starts have no deadline", "        self._arm(host, now + host.component.start_timeout)\n", ""),
    Mutant("stops have no deadline", "        self._arm(host, now + host.component.stop_timeout)\n", ""),
    Mutant(
        "a stop has the start's deadline", "now + host.component.stop_timeout", "now + host.component.start_timeout"
    ),
    Mutant(
        "the rollback has no clock",
        "                    self._arm(host, self._stop_began + host.component.stop_timeout)\n",
        "                    pass\n",
    ),
    Mutant(
        "a deadline that was kept rings all the same",
        "            if host.deadline != deadline:\n",
        "            if False:\n",
    ),
    Mutant(
        "the start's deadline outlives the start",
        "        finally:\n            host.awaited = None\n            host.deadline = math.inf\n        # From here",
        "        finally:\n            host.awaited = None\n        # From here",
    ),
    Mutant(
        "the stop's deadline outlives the stop", "        host.deadline = math.inf\n        try:\n", "        try:\n"
    ),
    Mutant(
        "who is overdue isn't cancelled",
        "(host.abort if host.state is _State.STARTING else host.guard).cancel()",
        "pass",
    ),
    Mutant("who is overdue is never given up", "        self._arm(host, now + self._abandon_after)\n", ""),
    Mutant(
        "a missed deadline isn't told",
        "        self._fault(host, phase, error)\n\n    def _waiting",
        "        self._fail()\n\n    def _waiting",
    ),
    Mutant(
        "the abandoned are waited for",
        "        self._release(self._schedule.over(host.index))\n        self._tell",
        "        self._tell",
    ),
    Mutant(
        "a stop's deadline is told as the start's",
        '            phase, deed, began = "stop", ',
        '            phase, deed, began = "start", ',
    ),
    Mutant(
        "an alarm doesn't wake the clock", "        if self._alarms[0] is alarm:\n            self._rearmed.set()\n", ""
    ),
    Mutant(
        "the end is told under the abandoned",
        "        self._alive -= 1\n",
        "        self._alive -= host.name not in self._abandoned\n",
    ),
    # Crashes
    Mutant(
        "a crash is told after the unwinding only",
        "            self._crashed(host)\n            await _through([host.release])\n            return error\n",
        "            await _through([host.release])\n            self._crashed(host)\n            return error\n",
    ),
    Mutant(
        "a crashed component doesn't see its exception",
        "own = (None, None, None) if crash is None else (type(crash), crash, crash.__traceback__)",
        "own = (None, None, None)",
    ),
    Mutant("a degraded component stops the plan", '        if policy == "stop":\n', "        if True:\n"),
    Mutant("a crash never stops the plan", '        if policy == "stop":\n', "        if False:\n"),
    # Readiness and contexts
    Mutant(
        "ready before all have started",
        "        if not self._unstarted and self._stop_reason is None:\n",
        "        if self._stop_reason is None and not self._was_ready:\n",
    ),
    Mutant(
        "ready in spite of a stop that was asked for",
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
        "            self._neutral.copy().run(self._spawn_host, _Host(index, self._plan.components[index]))\n",
        "            self._spawn_host(_Host(index, self._plan.components[index]))\n",
    ),
    # Services
    Mutant(
        "services never run",
        "        for task in host.services.values():\n            self._spawn_service(host, task)\n",
        "",
    ),
    Mutant(
        "a service isn't ended before its component",
        "            if host.services:\n                await self._end_services(host)\n",
        "",
    ),
    Mutant(
        "the end of a service isn't waited for",
        "        await _through([task.over for task in host.services.values() if task.begun], host.patience)\n",
        "",
    ),
    Mutant(
        "a service that never ran is waited for",
        "[task.over for task in host.services.values() if task.begun], host.patience",
        "[task.over for task in host.services.values()], host.patience",
    ),
    Mutant(
        "a service that gave up is forgotten",
        '        self._faults.append(Fault(host.name, "serving", error))\n        self._follow(policy, host)\n',
        "        self._follow(policy, host)\n",
    ),
    Mutant(
        "a service gives up and nothing follows",
        '        self._faults.append(Fault(host.name, "serving", error))\n        self._follow(policy, host)\n',
        '        self._faults.append(Fault(host.name, "serving", error))\n',
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
        supervision,
    ),
    Mutant(
        "a service is never restarted",
        "        if len(self._recent) >= restart.intensity:\n",
        "        if True:\n",
        supervision,
    ),
    Mutant("the delay doesn't grow", "restart.initial_delay * 2.0**", "restart.initial_delay * 1.0**", supervision),
    Mutant(
        "the clock dies of a native cancel",
        "            await _through([self._rearmed], pause)\n",
        "            with pause:\n                await self._rearmed.wait()\n",
    ),
)


class Survived(AssertionError):
    """No case of the sample has told a mutant from the engine."""


def engine_of(mutant: Mutant) -> Any:
    """The broken engine.

    Raises:
        LookupError: the text that it replaces isn't there, or stands there more than once.
    """
    original = inspect.getsource(mutant.module)
    if original.count(mutant.before) != 1:
        raise LookupError(f"mutant {mutant.name!r}: its text stands {original.count(mutant.before)} times")
    broken = _load(mutant.module.__name__, original.replace(mutant.before, mutant.after))
    if mutant.module is lifecycle:
        return broken.Engine
    around = _load(lifecycle.__name__, inspect.getsource(lifecycle))
    for name in ("Schedule", "History"):
        if hasattr(broken, name):
            setattr(around, name, getattr(broken, name))
    return around.Engine


def _load(name: str, source: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__file__ = f"<a copy of {name}>"
    exec(compile(source, module.__file__, "exec"), module.__dict__)
    return module


@cache
def sample() -> Sequence[Case]:
    """What mutants are tried against: telling cases first, then a fair share of all."""
    found = [*telling(), *list(everything(["asyncio"]))[::29], *list(everything(["trio"]))[::97]]
    disturbed = []
    for place, case in enumerate(found):
        kinds = ("cancel", "native", "stop", "shutdown", "kill") if case.backend == "asyncio" else ("cancel", "stop")
        kind = kinds[place % len(kinds)]
        target = case.parts[place % len(case.parts)].name if kind == "kill" else ""
        for step in range(1 + place % 3, 34, 3):
            disturbed.append(Case(case.parts, case.body, Disturbance(kind, step, target), case.backend))
    return [*found, *disturbed, *_random(400)]


def telling() -> Iterator[Case]:
    """Cases that show most of what can be wrong."""
    well = Part("a"), Part("b", ("a",)), Part("c", ("b",))
    yield Case(well)
    yield Case((Part("a"), Part("b", stage=1), Part("c", stage=2)))
    yield Case((Part("a"), Part("b", start="fail"), Part("c", ("a",))))
    yield Case((Part("a"), Part("b", ("a",), stop="hang"), Part("c", ("b",), stop="fail")), "raises")
    yield Case((Part("a", serving="crash"), Part("b", ("a",)), Part("c", ("b",))))
    yield Case((Part("a", start="stubborn"), Part("b", start="fail"), Part("c")))
    # A component that was set free in the very tick in which another failed, while a third takes long to stop.
    yield Case((Part("a", stop="hang"), Part("b", start="fail"), Part("c", ("a",)), Part("d", ("c",), start="hang")))
    for name in ("serves", "exhausts", "exhausts_degrade", "exits", "crash_degrade"):
        yield Case((Part("a", serving=name, shape="group"), Part("b", ("a",)), Part("c")))
    # It supervises, and enters in spite of its cancellation.
    yield Case((Part("a", start="late", serving="serves"), Part("b", start="fail")))
    # The same, holding tasks that the cancellation has ended.
    yield Case((Part("a", start="late", shape="group"), Part("b", shape="group"), Part("c", shape="group")))
    # It started in the very tick of the fault, and its stop meets somebody else's cancelled task.
    yield Case((Part("a", start="fail"), Part("b", stop="by_hand"), Part("c")))
    # Asked to stop in the very tick in which the last component has started.
    for step in range(4, 12):
        yield Case((Part("a"), Part("b")), "waits", Disturbance("stop", step))
    # A body that is about to fail is cancelled while the stop is under way.
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


def hunt(mutant: Mutant) -> tuple[int, str]:
    """How many cases it took to kill a mutant, and what killed it.

    Raises:
        Survived: no case did.
    """
    engine = engine_of(mutant)
    for number, case in enumerate(sample(), 1):
        violation = next(violations_of(play(case, engine)), None)
        if violation is not None:
            return number, violation
    raise Survived(mutant.name)


def main() -> int:
    """A table of all mutants; the exit code says whether each was killed that can be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="", help="only those whose name contains this")
    options = parser.parse_args()
    # A broken engine leaves broken pieces behind, which is what is to be seen once and not many times.
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None
    chosen = [mutant for mutant in MUTANTS if options.name in mutant.name]
    for mutant in chosen:
        engine_of(mutant)
    # A law that the engine itself breaks would kill every mutant.
    wrong = [case for case in sample() if next(violations_of(play(case)), None)]
    surprises = len(wrong)
    print("".join(f"the engine itself breaks a law in {case}\n" for case in wrong[:5]), end="")
    print("| mutant | outcome | cases | seconds | by |\n|---|---|---|---|---|")
    for mutant in chosen:
        began = time.monotonic()
        try:
            number, violation = hunt(mutant)
            outcome = "killed"
        except Survived:
            number, violation, outcome = len(sample()), "", "survived"
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
    print(f"\n{len(chosen)} mutants, {surprises} surprises, a sample of {len(sample())} cases")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
