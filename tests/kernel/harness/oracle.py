"""Check the laws of the lifecycle over the record of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any

import trio
from tests.kernel.harness.cases import (
    ABANDON_AFTER,
    START_TIMEOUT,
    STOP_TIMEOUT,
    Case,
    find_leaders,
    render_object,
    render_path,
)
from tests.kernel.harness.clock import Deadlock, Livelock
from tests.kernel.harness.facts import Fact, Run
from tests.kernel.harness.runner import run_case

from bandmaster.kernel.errors import (
    CrashError,
    DeadlineExceeded,
    PermanentError,
    StartCancelled,
    StartError,
    StopError,
)

CANCELLED = (asyncio.CancelledError, trio.Cancelled)
TICK = 1e-6


class LawBroken(AssertionError):
    """A run that breaks a law."""


def check_laws(run: Run) -> None:
    """Check a run against the laws.

    Raises:
        LawBroken: the run breaks a law; the text has every violation, the case, and the record.
    """
    violations = list(find_violations(run))
    if violations:
        record = "\n".join(f"  {number:3} {_render_fact(fact)}" for number, fact in enumerate(run.facts))
        lines = "\n".join(f"- {violation}" for violation in violations)
        raise LawBroken(f"{lines}\nin {run.case}\nraised {run.raised!r}\n{record}")


def run_and_check(case: Case, engine_class: Any = None, *, eager: bool = False) -> Run:
    """Run a case and check the laws."""
    run = run_case(case, eager=eager) if engine_class is None else run_case(case, engine_class, eager=eager)
    check_laws(run)
    return run


def find_violations(run: Run) -> Iterator[str]:
    """Yield every violation of a law."""
    if run.broken is not None:
        kind = (
            "deadlock" if isinstance(run.broken, Deadlock) else "livelock" if isinstance(run.broken, Livelock) else ""
        )
        yield f"I8 {kind or f'the loop broke: {run.broken!r}'}"
        return
    if not run.over:
        yield "I8 running() never came back"
        return
    oracle = _Oracle(run)
    yield from oracle.check_internal_errors()
    yield from oracle.check_entered_once()
    yield from oracle.check_entered_after_leaders()
    yield from oracle.check_given_to_followers()
    yield from oracle.check_exited_once()
    yield from oracle.check_exited_after_followers()
    yield from oracle.check_no_start_after_a_fault()
    yield from oracle.check_degraded_starts()
    yield from oracle.check_leaks()
    yield from oracle.check_tasks_and_variables()
    yield from oracle.check_phases()
    yield from oracle.check_events()
    yield from oracle.check_services()
    if oracle.violent:
        return
    yield from oracle.check_stops_are_not_cut_short()
    yield from oracle.check_deadlines()
    yield from oracle.check_no_idle_time()
    yield from oracle.check_policies()
    yield from oracle.check_delays()
    yield from oracle.check_crashes()
    yield from oracle.check_degraded()
    yield from oracle.check_outcome()


def list_leaves(error: BaseException | None) -> list[BaseException]:
    """List the single errors that an exception reports: in groups, as causes, and as errors of a rollback or a stop."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        this = waiting.pop()
        if this is None or any(this is other for other in found):
            continue
        if isinstance(this, BaseExceptionGroup):
            waiting += this.exceptions
        else:
            found.append(this)
        waiting += [this.__cause__, *getattr(this, "rollback_errors", ()), *getattr(this, "stop_errors", ())]
    return found


def _share_error(found: list[BaseException], wanted: list[BaseException]) -> bool:
    return any(error is other for error in found for other in wanted if not isinstance(error, trio.Cancelled))


def _render_fact(fact: Fact) -> str:
    error = "" if fact.error is None else f" {fact.error!r}"
    return f"{fact.at:6.1f} {fact.kind} {fact.name}{error}"


class _Oracle:
    def __init__(self, run: Run) -> None:
        self.run = run
        self.case = run.case
        self.parts = {part.name: part for part in run.case.parts}
        self.leaders = find_leaders(run.case.parts)
        disturbance = run.case.disturbance
        self.kind = disturbance.kind if disturbance is not None and run.disturbed_at is not None else ""
        # After a cancellation of the engine's own tasks only the laws about structure, order and termination can hold.
        self.violent = self.kind in ("shutdown", "kill")

    def at(self, place: int) -> float:
        return self.run.facts[place].at

    @cached_property
    def stop_began(self) -> int | None:
        return self.run.place("KernelStopping")

    def over(self, name: str) -> int | None:
        """Return the place at which a component that had begun was over, after its last try."""
        enter = self.run.last("enter", name)
        for kind in ("exited", "refused"):
            place = self.run.last(kind, name)
            if place is not None and enter is not None and place > enter:
                return place
        return None

    def degraded(self, name: str) -> int | None:
        """Return the place at which the run went on without a component."""
        return self.run.place("ComponentDegraded", name)

    def has_started_or_degraded(self, name: str) -> int | None:
        """Return the place from which on the components that wait for this one may start."""
        degraded = self.degraded(name)
        return self.run.place("entered", name) if degraded is None else degraded

    def is_absorbed(self, place: int) -> bool:
        """Whether the run went on in spite of a failed try, or of a deadline: the policy of the component says so."""
        fact = self.run.facts[place]
        if fact.kind == "ComponentOverdue":
            # The end of the run, if this one can't be undone, comes with the abandonment.
            return fact.value.phase == "start" and self.parts[fact.name].policy == "degrade"
        ends = ("ComponentStartRetrying", "ComponentDegraded", "ComponentStartFailed", "ComponentStartCancelled")
        following = (other for other in self.run.facts[place:] if other.name == fact.name and other.kind in ends)
        end = next(following, None)
        return end is not None and end.kind in ("ComponentStartRetrying", "ComponentDegraded")

    def is_late_abandonment(self, fact: Fact) -> bool:
        """Whether the start of a component ignores its cancellation, and without it the run would have gone on."""
        overdue = [self.run.facts[place].value.phase for place in self.run.places("ComponentOverdue", fact.name)]
        given_up = fact.kind == "ComponentAbandoned" and self.parts[fact.name].policy == "degrade"
        return given_up and "start" in overdue

    def place_of_abandonment(self, name: str) -> int | None:
        return self.run.place("ComponentAbandoned", name)

    def faults(self) -> list[tuple[str, str, BaseException | None]]:
        """List every fault with component and phase, in order, as the components saw them."""
        found = []
        for fact in self.run.facts:
            if fact.kind in ("refused", "ComponentOverdue") and self.is_absorbed(self._place_of(fact)):
                continue
            if fact.kind == "refused" and (not isinstance(fact.error, CANCELLED) or self._is_by_hand(fact.error)):
                found.append((fact.name, "start", fact.error))
            elif fact.kind == "ComponentOverdue":
                found.append((fact.name, fact.value.phase, None))
            elif self.is_late_abandonment(fact):
                found.append((fact.name, "start", None))
            elif fact.kind in ("ComponentCrashed", "ServiceGaveUp"):
                found.append((fact.name, "serving", fact.error))
            elif fact.kind == "exited" and fact.error is not None:
                crashed = self.run.place("ComponentCrashed", fact.name)
                cancelled = isinstance(fact.error, CANCELLED) and not self._is_by_hand(fact.error)
                if crashed is None and not cancelled:
                    found.append((fact.name, "stop", fact.error))
        return found

    def _place_of(self, fact: Fact) -> int:
        return next(place for place, other in enumerate(self.run.facts) if other is fact)

    def _is_by_hand(self, error: BaseException | None) -> bool:
        return any(
            error is injected.error and injected.phase != "body" for injected in self._list_cancellations_by_hand()
        )

    def _list_cancellations_by_hand(self) -> Iterator[Any]:
        """Yield the cancellations that components raised without having been cancelled: those are faults."""
        for injected in self.run.injected:
            if isinstance(injected.error, CANCELLED):
                seen = self.run.place("refused" if injected.phase == "start" else "exited", injected.name)
                begun = self.run.place("enter" if injected.phase == "start" else "exit", injected.name) or 0
                late = (place for place in self.run.places("ComponentOverdue", injected.name) if place > begun)
                overdue = next(late, None)
                stopping = injected.phase == "start" and self.stop_began is not None
                cancelled = [place for place in (overdue, self.stop_began if stopping else None) if place is not None]
                if seen is None or any(place < seen for place in cancelled):
                    continue
                if any(injected.error is error for error in list_leaves(self.run.facts[seen].error)):
                    yield injected  # unless the component's own task group has caught it

    def check_internal_errors(self) -> Iterator[str]:
        for error in list_leaves(self.run.raised):
            text = str(error)
            if isinstance(error, (RuntimeError, KeyError, AttributeError, AssertionError, TypeError, ValueError)):
                if "didn't yield" in text and any(part.serving == "ends" for part in self.parts.values()):
                    continue  # the component's own scope has ended its start
                if "cancelled from outside" in text and (self.violent or list(self._list_cancellations_by_hand())):
                    continue
                yield f"I0 {error!r} came out of the engine"

    def check_entered_once(self) -> Iterator[str]:
        """Each try of a start is a generation: it is over, and announced, before the next one begins."""
        for name in self.parts:
            enters = self.run.places("enter", name)
            for number, (earlier, later) in enumerate(pairwise(enters), 2):
                between = self.run.facts[earlier:later]
                told = [fact for fact in between if (fact.kind, fact.name) == ("ComponentStartRetrying", name)]
                refused = [fact for fact in between if (fact.kind, fact.name) == ("refused", name)]
                if len(told) != 1 or len(refused) != 1:
                    yield f"I1 {name} was entered twice"
                elif told[0].value.attempt != number or told[0].error is not refused[0].error:
                    yield f"I1 try {number} of {name} was reported as {told[0].value}"
            attempts = [self.run.facts[place].value.attempt for place in self.run.places("ComponentStarting", name)]
            if attempts != list(range(1, len(attempts) + 1)):
                yield f"I1 the tries of {name} were counted as {attempts}"

    def check_entered_after_leaders(self) -> Iterator[str]:
        for name in self.parts:
            for enter in self.run.places("enter", name):
                for leader in self.leaders[name]:
                    ready, leaving = self.has_started_or_degraded(leader), self.run.place("exit", leader)
                    if ready is None or ready > enter:
                        yield f"I2 {name} was entered before {leader} was"
                    if leaving is not None and leaving < enter and self.degraded(leader) is None:
                        yield f"I2 {name} was entered while {leader} was leaving"
                    if self.degraded(leader) is not None and self._relies(name, leader):
                        yield f"I2 {name} was entered without {leader}, which it requires"

    def _relies(self, name: str, leader: str) -> bool:
        """Whether a component is degraded with another one. The others only start after it; see `FaultyPlan`."""
        part = self.parts[name]
        return leader in part.waits_for and part.policy == "degrade" and part.link in ("name", "type")

    def check_degraded_starts(self) -> Iterator[str]:
        """A degraded component is over when the run goes on without it, and stays so."""
        told = [fact.name for fact in self.run.facts if fact.kind == "ComponentDegraded"]
        if sorted(told) != sorted(self.run.degraded):
            yield f"I6 {told} were reported as degraded, and the engine says {self.run.degraded}"
        for name in self.parts:
            places = self.run.places("ComponentDegraded", name)
            if len(places) > 1:
                yield f"I1 {name} was degraded twice"
            enter, over = self.run.last("enter", name), self.over(name)
            if places and enter is not None and (over is None or over > places[0]):
                yield f"I3 {name} was degraded before it was unwound"
            if places and self.run.place("service", name) is not None:
                yield f"I3 a service of {name} has run, and {name} is degraded"

    def check_given_to_followers(self) -> Iterator[str]:
        """A component gets the objects of the leaders, each inside all decorators, and in plan order."""
        parts = self.case.parts
        for fact in (fact for fact in self.run.facts if fact.kind == "given"):
            part = self.parts[fact.name]
            paths = {name: render_path(name, parts) for name in part.waits_for}
            expected: dict[str, Any] = {}
            if part.link == "group":
                running = [name for name in part.waits_for if self.degraded(name) is None]
                order = sorted(running, key=self.run.order.index)
                expected["group"] = tuple(render_object(name, parts) for name in order)
            elif part.link != "name":
                expected = {name: path if part.link == "type" else (path,) for name, path in paths.items()}
            if part.link == "type":
                expected = {name: None if self.degraded(name) else path for name, path in expected.items()}
            elif part.link == "each":
                expected = {name: () if self.degraded(name) else path for name, path in expected.items()}
            if part.decorates:
                expected["inner"] = render_path(part.decorates, parts, part.name)
            wanted, given = ({k: v for k, v in found.items() if v != ()} for found in (expected, fact.value))
            if wanted != given:
                yield f"I2 {fact.name} was given {fact.value}, not {expected}"

    def check_exited_once(self) -> Iterator[str]:
        for name in self.parts:
            entered, exits = self.run.places("entered", name), self.run.places("exit", name)
            if len(exits) != len(entered):
                yield f"I3 {name} was entered {len(entered)} and exited {len(exits)} times"
            if len(self.run.places("exited", name)) != len(exits):
                yield f"I3 the exit of {name} didn't finish"
            if self.run.opened[name] != self.run.closed[name]:
                yield f"I3 {name} was opened {self.run.opened[name]} and unwound {self.run.closed[name]} times"

    def check_exited_after_followers(self) -> Iterator[str]:
        body, body_over = self.run.place("body"), self.run.place("body over")
        for name in self.parts:
            leaving = self.run.place("exit", name)
            if leaving is None:
                continue
            if self.degraded(name) is not None:
                continue  # it was exited before anything depended on it
            if body is not None and (body_over is None or body_over > leaving):
                yield f"I4 {name} was exited under the body"
            for follower, awaited in self.leaders.items():
                if name not in awaited or self.run.place("enter", follower) is None:
                    continue
                over, given_up = self.over(follower), self.place_of_abandonment(follower)
                if not any(place is not None and place < leaving for place in (over, given_up)):
                    yield f"I4 {name} was exited before {follower} was over"

    def check_no_start_after_a_fault(self) -> Iterator[str]:
        fault_kinds = ("refused", "ComponentOverdue", "KernelStopping")
        faults = (place for place, fact in enumerate(self.run.facts) if fact.kind in fault_kinds)
        first = next((place for place in faults if not self._is_harmless(place)), None)
        policies = ("ComponentCrashed", "ServiceGaveUp")
        for place, fact in enumerate(self.run.facts):
            if fact.kind in policies and fact.value.policy == "stop":
                first = place if first is None else min(first, place)
                break
        for name in self.parts:
            enter = self.run.last("enter", name)
            if enter is not None and first is not None and enter > first:
                yield f"I5 {name} was entered after the first fault"

    def _is_harmless(self, place: int) -> bool:
        return self.run.facts[place].kind != "KernelStopping" and self.is_absorbed(place)

    def check_leaks(self) -> Iterator[str]:
        for left in self.run.left:
            yield f"I9 left behind: {left!r}"
        over = self.run.place("over")
        for place, fact in enumerate(self.run.facts):
            if over is not None and place > over:
                yield f"I9 {fact.kind} {fact.name} after running() had ended"

    def check_tasks_and_variables(self) -> Iterator[str]:
        for name in self.parts:
            own: list[Fact] = []
            generation: list[Fact] = []
            for fact in self.run.facts:
                if fact.name == name and fact.kind in ("enter", "entered", "exit", "exited"):
                    generation = [fact] if fact.kind == "enter" else [*generation, fact]
                    own.append(fact)
                    if len({each.task for each in generation}) > 1:
                        yield f"I13 {name} changed its task"
            for fact in own:
                if fact.kind == "enter" and fact.value != "outer":
                    yield f"I12 {name} saw a variable of {fact.value!r}"
                if fact.kind == "exit" and fact.value != name:
                    yield f"I12 {name} lost its variable: {fact.value!r}"
        for fact in self.run.facts:
            if fact.kind == "service" and fact.value != fact.name:
                yield f"I12 the service of {fact.name} saw the variable {fact.value!r}"

    def check_phases(self) -> Iterator[str]:
        names = [phase for _, phase in self.run.phases]
        allowed = ["starting", "ready", "stopping"], ["starting", "stopping"], []
        if names[:-1] not in allowed or names[-1] not in ("stopped", "failed"):
            yield f"I11 the phases were {names}"
        for place, phase in self.run.phases:
            if phase != "ready":
                continue
            for name in self.parts:
                ready, leaving = self.has_started_or_degraded(name), self.run.place("exit", name)
                gone = leaving is not None and leaving < place and self.degraded(name) is None
                if ready is None or ready >= place or gone:
                    yield f"I11 ready without {name}"
        if (names[-1] == "failed") != bool(self.faults()) and not self.violent:
            yield f"I11 the last phase was {names[-1]}"
        body = self.run.place("body")
        if body is not None and self.run.place("Ready") is None:
            yield "I11 the body ran before all had started"
        if body is not None and self.stop_began is not None and self.stop_began < body:
            yield "I11 the body ran after the stop had begun"

    def check_events(self) -> Iterator[str]:
        kinds = [fact.kind for fact in self.run.facts]
        if kinds.count("KernelStarting") != 1 or kinds[-2:] != ["KernelStopped", "over"]:
            yield f"the first or last event is wrong: {kinds[:1]} {kinds[-2:]}"
        rolled_back = self.run.place("Ready") is None
        if (kinds.count("RollingBack") == 1) != rolled_back:
            yield "RollingBack was reported wrongly"
        pairs = (("ComponentStarting", "enter"), ("ComponentStarted", "entered"), ("ComponentStopping", "exit"))
        for name in self.parts:
            for event, fact in pairs:
                if len(self.run.places(event, name)) != len(self.run.places(fact, name)):
                    yield f"{event} of {name} was reported wrongly"
            if self.violent:
                continue
            yield from self._check_end_of_start(name)

    def _check_end_of_start(self, name: str) -> Iterator[str]:
        def count(kind: str) -> int:
            return len(self.run.places(kind, name))

        tries, retries, refused = count("enter"), count("ComponentStartRetrying"), count("refused")
        failed, cancelled, degraded = map(
            count, ("ComponentStartFailed", "ComponentStartCancelled", "ComponentDegraded")
        )
        ends = failed + cancelled + degraded
        if tries == retries:  # no try has begun, or the delay before the next one was cancelled
            right = not failed and cancelled <= (tries > 0) and degraded <= (tries == 0)
        elif count("entered"):
            right = refused == retries and not failed and not cancelled and degraded <= 1
        else:
            right = refused == retries + 1 and ends == 1
        if tries not in (retries, retries + 1) or not right:
            yield f"the end of the start of {name} was reported wrongly"

    def check_services(self) -> Iterator[str]:
        for name, part in self.parts.items():
            begun, over = self.run.places("service", name), self.run.places("service over", name)
            if len(begun) != len(over):
                yield f"I9 the service of {name} began {len(begun)} and ended {len(over)} times"
            entered, leaving = self.run.place("entered", name), self.run.place("exit", name)
            if begun and (entered is None or begun[0] < entered):
                yield f"the service of {name} ran before its component did"
            if over and leaving is not None and over[-1] > leaving:
                yield f"I4 {name} was exited under its service"
            serves = part.serving in ("serves", "serves_lazily", "exhausts", "exhausts_degrade", "exits")
            if serves and not begun and entered is not None and leaving is not None:
                if self.at(leaving) > self.at(entered) and (self.stop_began is None or entered < self.stop_began):
                    yield f"the service of {name} never ran"
            if (
                part.serving.startswith("exhausts")
                and not self.violent
                and len(begun) < 3
                and self.run.place("ServiceGaveUp", name) is not None
            ):
                yield f"I15 the service of {name} was given up after {len(begun)} runs"
            if part.serving in ("exhausts", "exhausts_degrade") and len(begun) > 3:
                yield f"I15 the service of {name} was run {len(begun)} times"
            runs = [self.at(place) for place in begun]
            pauses = [round(later - earlier - 0.5, 6) for earlier, later in pairwise(runs)]
            if self.violent:
                continue
            if pauses != [0.5, 1.0][: len(pauses)] and part.serving.startswith("exhausts"):
                yield f"I15 the service of {name} was restarted after {pauses} s"

    def check_stops_are_not_cut_short(self) -> Iterator[str]:
        for name in self.parts:
            leaving, exited = self.run.place("exit", name), self.run.place("exited", name)
            if leaving is None or exited is None or self.run.place("ComponentCrashed", name) is not None:
                continue
            if self.parts[name].serving in ("ends", "times_out") or self.parts[name].serving.startswith("crash"):
                continue  # the component's own scope may end its stop
            entered = self.run.place("entered", name)
            cancels = (self.stop_began, self.run.place("ComponentOverdue", name))
            late = entered is not None and any(place is not None and entered > place for place in cancels)
            if late and (self.parts[name].shape == "group"):
                continue  # the component has started in spite of its cancellation, which its own tasks have received
            fact = self.run.facts[exited]
            began = self.run.place("ComponentStopping", name)
            early = began is not None and fact.at < self.at(began) + STOP_TIMEOUT - TICK
            if isinstance(fact.error, CANCELLED) and early and not self._is_by_hand(fact.error):
                yield f"I14 the stop of {name} was cancelled before its deadline"
            least = {"fine": 1, "slow": 4, "stubborn": 20}.get(self.parts[name].stop, 0)
            if fact.error is None and early and self.parts[name].stop in ("hang", "lazy", "late", "messy"):
                yield f"I14 the stop of {name} was cut short"
            if fact.error is None and fact.at < self.at(leaving) + least - TICK:
                yield f"I14 the stop of {name} was cut short"

    def check_deadlines(self) -> Iterator[str]:
        """Every missed deadline is reported at its time, and no other."""
        stopping = None if self.stop_began is None else self.at(self.stop_began)
        reported = {id(error) for error in list_leaves(self.run.raised) if isinstance(error, DeadlineExceeded)}
        expected = 0
        for name in self.parts:
            overdue = [
                (self.run.facts[p].value.phase, self.run.facts[p].at) for p in self.run.places("ComponentOverdue", name)
            ]
            wanted: list[tuple[str, float]] = []
            enter, entered = self.run.place("ComponentStarting", name), self.run.place("entered", name)
            if enter is not None:
                ended = entered if entered is not None else self.over(name)
                limit, phase = self.at(enter) + START_TIMEOUT, "start"
                if stopping is not None and stopping < limit + TICK and ("start", limit) not in overdue:
                    limit, phase = stopping + STOP_TIMEOUT, "stop"
                if ended is not None and self.at(ended) > limit + TICK:
                    wanted.append((phase, limit))
            leaving, over = self.run.place("ComponentStopping", name), self.run.place("exited", name)
            if leaving is not None and over is not None and self.at(over) > self.at(leaving) + STOP_TIMEOUT + TICK:
                wanted.append(("stop", self.at(leaving) + STOP_TIMEOUT))
            yield from self._compare(name, wanted, overdue)
            given_up = self.place_of_abandonment(name)
            absorbed = [phase for phase, _ in overdue if phase == "start" and self.parts[name].policy == "degrade"]
            expected += len(overdue) - (len(absorbed) if given_up is None else 0)
            for phase, at in overdue:
                end = self._end_of(name, at)
                if end is not None and end > at + ABANDON_AFTER + TICK and given_up is None:
                    yield f"I8 {name} ignored its cancellation in {phase} and wasn't abandoned"
            if given_up is not None and not overdue:
                yield f"I8 {name} was abandoned without a deadline"
            if given_up is not None and self.run.facts[given_up].value.phase == "start":
                if self.parts[name].start != "stubborn":
                    yield f"I8 the start of {name} obeys its cancellation, and was abandoned"
            if (
                given_up is not None
                and overdue
                and not any(abs(self.at(given_up) - at - ABANDON_AFTER) < TICK for _, at in overdue)
            ):
                yield f"I8 {name} was abandoned at the wrong time"
        if len(reported) != expected:
            yield f"I6 {expected} deadlines passed, {len(reported)} were reported"

    def _end_of(self, name: str, at: float) -> float | None:
        """Return the time at which a component's phase of that moment ended."""
        kinds = ("entered", "refused", "exited")
        ends = [fact.at for fact in self.run.facts if fact.name == name and fact.kind in kinds and fact.at >= at - TICK]
        return min(ends, default=None)

    def _compare(self, name: str, wanted: list[tuple[str, float]], overdue: list[tuple[str, float]]) -> Iterator[str]:
        # At the very time of a deadline both outcomes are right, so only later ends must be reported.
        for phase, at in wanted:
            if not any(phase == other and abs(at - when) < TICK for other, when in overdue):
                yield f"I8 {name} was over its {phase} deadline at {at}, reported: {overdue}"
        for phase, at in overdue:
            if not any(phase == other and abs(at - when) < TICK for other, when in wanted):
                end = self._end_of(name, at)
                if end is None or end > at + TICK:
                    yield f"I8 {name} was reported overdue with its {phase} at {at}, and wasn't"

    def check_no_idle_time(self) -> Iterator[str]:
        """Starts, stops and the end of the run come at the time of the last event that they wait for."""
        for name in self.parts:
            begun = self.run.place("enter", name)
            degraded = self.degraded(name)
            begun = degraded if begun is None else begun
            if begun is not None:
                ready = [self.has_started_or_degraded(leader) for leader in self.leaders[name]]
                free = max((self.at(place) for place in ready if place is not None), default=0.0)
                if self.at(begun) > free + TICK:
                    yield f"I8 {name} could be entered at {free} and was at {self.at(begun)}"
            over = self.over(name)
            if degraded is not None and over is not None and self.at(degraded) > self.at(over) + TICK:
                yield f"I8 {name} was over at {self.at(over)} and degraded at {self.at(degraded)}"
            leaving = self.run.place("ComponentStopping", name)
            if leaving is not None and self._has_started_too_late(name, leaving):
                entered = self.run.places("entered", name)[-1]
                if self.at(leaving) > self.at(entered) + TICK:
                    yield f"I8 {name} had started too late at {self.at(entered)} and left at {self.at(leaving)}"
            elif leaving is not None:
                free = self._free_to_stop(name)
                if abs(self.at(leaving) - free) > TICK:
                    yield f"I8 {name} could stop at {free} and did at {self.at(leaving)}"
            exit_place = self.run.place("exit", name)
            if leaving is not None and exit_place is not None:
                served = [self.at(place) for place in self.run.places("service over", name)]
                due = max(self.at(leaving), *(min(at, self.at(leaving) + STOP_TIMEOUT) for at in served), 0)
                if self.at(exit_place) > due + TICK:
                    yield f"I8 {name} could be exited at {due} and was at {self.at(exit_place)}"
        last = [fact.at for fact in self.run.facts if fact.kind in ("exited", "refused", "body over", "service over")]
        over = self.run.place("over")
        if over is not None and last and self.stop_began is not None:
            due = max(*last, self.at(self.stop_began))
            if self.at(over) > due + TICK:
                yield f"I8 the end could come at {due} and came at {self.at(over)}"

    def _has_started_too_late(self, name: str, leaving: int) -> bool:
        """Whether a component was stopped again for its late start, and not because the run ends."""
        entered, overdue = self.run.place("entered", name), self.run.place("ComponentOverdue", name)
        late = self.parts[name].policy == "degrade" and overdue is not None and entered is not None
        return late and overdue < entered and (self.stop_began is None or leaving < self.stop_began)

    def _free_to_stop(self, name: str) -> float:
        waits = [0.0 if self.stop_began is None else self.at(self.stop_began)]
        entered, body_over = self.run.place("entered", name), self.run.place("body over")
        waits += [self.at(place) for place in (entered, body_over) if place is not None]
        for follower, awaited in self.leaders.items():
            if name in awaited and self.degraded(follower) is not None:
                # It keeps its place in the order until the components that depend on it are over.
                waits.append(self._free_to_stop(follower))
            elif name in awaited and self.run.place("enter", follower) is not None:
                ends = [
                    place for place in (self.over(follower), self.place_of_abandonment(follower)) if place is not None
                ]
                waits.append(self.at(min(ends)))
        return max(waits)

    def check_policies(self) -> Iterator[str]:
        """A failed try has the consequence that the component's policy says."""
        for place, fact in enumerate(self.run.facts):
            if fact.kind not in ("ComponentStartRetrying", "ComponentDegraded"):
                continue
            wanted = "retry" if fact.kind == "ComponentStartRetrying" else "degrade"
            if self.parts[fact.name].policy != wanted:
                yield f"{fact.kind} of {fact.name}, whose policy is {self.parts[fact.name].policy}"
            if self.stop_began is not None and place > self.stop_began:
                yield f"I5 {fact.kind} of {fact.name} after the stop had begun"
        for name, part in self.parts.items():
            for place in self.run.places("refused", name):
                fact = self.run.facts[place]
                if part.policy == "stop" or (self.stop_began is not None and self.stop_began < place):
                    continue
                absorbs = self._may_absorb(name, fact)
                if absorbs is not None and absorbs != self.is_absorbed(place):
                    yield f"{name} failed with {fact.error!r} at {fact.at}: the policy {part.policy} wasn't followed"
            overdue = self.run.places("ComponentOverdue", name)
            if part.policy == "degrade" and overdue and self.run.facts[overdue[0]].value.phase == "start":
                over = self.over(name)
                undone = over is not None and self.place_of_abandonment(name) is None
                still = over is not None and (self.stop_began is None or over < self.stop_began)
                failed = over is not None and self.run.facts[over].error is not None
                if undone and still and not failed and self.degraded(name) is None:
                    yield f"{name} was too late, and wasn't degraded"

    def _may_absorb(self, name: str, fact: Fact) -> bool | None:
        """Whether the run should go on after a failed try; None where a deadline has cancelled it."""
        leaves = list_leaves(fact.error)
        if any(self.run.facts[place].at <= fact.at for place in self.run.places("ComponentOverdue", name)):
            return None
        if not all(isinstance(error, Exception) for error in leaves):
            return False
        if self.parts[name].policy == "degrade":
            return True
        if any(isinstance(error, PermanentError) for error in leaves):
            return False
        began, tries = self.at(self.run.places("enter", name)[0]), self.run.places("refused", name)
        delay = self._delay_after(sum(self.at(place) <= fact.at for place in tries))
        return fact.at + delay < began + START_TIMEOUT

    def _delay_after(self, tries: int) -> float:
        return float(min(0.1 * 2 ** (tries - 1), 2.0))

    def check_delays(self) -> Iterator[str]:
        """Each try begins when the delay after the last one is over, and the delays grow."""
        for name in self.parts:
            told = [self.run.facts[place].value for place in self.run.places("ComponentStartRetrying", name)]
            for number, (event, enter) in enumerate(zip(told, self.run.places("enter", name)[1:], strict=False), 1):
                if abs(event.delay - self._delay_after(number)) > TICK:
                    yield f"I15 try {number + 1} of {name} was announced after {event.delay} s"
                due = event.at + event.delay
                if abs(self.at(enter) - due) > TICK:
                    yield f"I8 try {number + 1} of {name} was to begin at {due} and began at {self.at(enter)}"

    def check_crashes(self) -> Iterator[str]:
        for injected in self.run.injected:
            if injected.phase != "serving":
                continue
            name = injected.name
            reported_at = self.run.place("ComponentCrashed", name) or self.run.place("ServiceGaveUp", name)
            entered, leaving = self.run.place("entered", name), self.run.place("ComponentStopping", name)
            served = entered is not None and (leaving is None or injected.place < leaving)
            if reported_at is None and served and leaving is not None and self.at(leaving) > injected.at + TICK:
                yield f"I10 the crash of {name} wasn't reported"
            if reported_at is not None and self.at(reported_at) > injected.at + TICK:
                yield f"I10 the crash of {name} was reported only at {self.at(reported_at)}"
        for place, fact in enumerate(self.run.facts):
            if fact.kind not in ("ComponentCrashed", "ServiceGaveUp"):
                continue
            leaving = self.run.place("exit", fact.name)
            if fact.kind == "ComponentCrashed" and leaving is not None and self.run.facts[leaving].error is None:
                yield f"I10 {fact.name} didn't see its own exception"
            body, body_over = self.run.place("body"), self.run.place("body over")
            shielded = self.case.body == "cleans_up"
            if (
                fact.value.policy == "stop"
                and body is not None
                and body < place
                and body_over is not None
                and not shielded
            ):
                if self.at(body_over) > fact.at + TICK:
                    yield f"I10 the body went on for {self.at(body_over) - fact.at} s after {fact.name} had crashed"
        for name in self.parts:
            leaving = self.run.place("exit", name)
            if leaving is not None and self.run.facts[leaving].error is not None:
                if self.run.place("ComponentCrashed", name) is None:
                    yield f"I10 {name} was exited with {self.run.facts[leaving].error!r}, and hadn't crashed"

    def check_degraded(self) -> Iterator[str]:
        """A crash or a lost service with the policy ``degrade`` doesn't end the body."""
        policies = [fact.value.policy for fact in self.run.facts if fact.kind in ("ComponentCrashed", "ServiceGaveUp")]
        only = len(policies) == len(self.faults()) and set(policies) == {"degrade"}
        if only and not self.kind and self.case.body in ("waits", "cleans_up", "returns", "converts"):
            body_over = self.run.place("body over")
            if body_over is None or self.run.facts[body_over].error is not None:
                yield "I10 a component that may degrade the plan has ended it"

    def check_outcome(self) -> Iterator[str]:
        raised = self.run.raised
        reported = list_leaves(raised)
        for error in reported:
            if isinstance(error, CANCELLED) and error is not raised and not self._is_by_hand(error):
                yield "I7 a cancellation stands among the errors"
        yield from self._check_nothing_lost(reported)
        yield from self._check_nothing_invented(reported)
        faults = self.faults()
        if faults:
            yield from self._check_cause_first(faults)
        else:
            yield from self._check_without_fault()

    def _check_nothing_lost(self, reported: list[BaseException]) -> Iterator[str]:
        known = {id(error) for error in reported}
        # The failures of tries, and of components that the run went on without, are told by their events.
        told = ("ComponentStartRetrying", "ComponentDegraded")
        known |= {id(error) for fact in self.run.facts if fact.kind in told for error in list_leaves(fact.error)}
        last = {injected.name: injected for injected in self.run.injected if injected.phase == "service"}
        for injected in self.run.injected:
            if injected.phase == "service" and (
                last[injected.name] is not injected or self.run.place("ServiceGaveUp", injected.name) is None
            ):
                continue
            if injected.phase == "serving" and injected.name in self.run.masked:
                continue
            if isinstance(injected.error, CANCELLED) and not self._is_by_hand(injected.error):
                continue
            if id(injected.error) not in known:
                yield f"I6 {injected.error!r} of {injected.name or 'the body'} was lost"

    def _check_nothing_invented(self, reported: list[BaseException]) -> Iterator[str]:
        injected = {id(each.error) for each in self.run.injected}
        own = (StartError, CrashError, StartCancelled, DeadlineExceeded, RuntimeError)
        for error in reported:
            timed_out = isinstance(error, TimeoutError) and any(
                part.serving == "times_out" for part in self.parts.values()
            )
            if id(error) not in injected and not isinstance(error, (*own, *CANCELLED)) and not timed_out:
                yield f"I6 {error!r} was invented"

    def _check_cause_first(self, faults: list[tuple[str, str, BaseException | None]]) -> Iterator[str]:
        raised, (name, phase, error) = self.run.raised, faults[0]
        if raised is None or isinstance(raised, CANCELLED):
            yield f"I6 {name} failed in {phase}, and {raised!r} was raised"
            return
        fatal = any(not isinstance(each, (Exception, *CANCELLED)) for each in list_leaves(raised))
        if fatal:
            if isinstance(raised, Exception):
                yield f"I6 {raised!r} hides that the process is to end"
            first = raised.exceptions[0] if isinstance(raised, BaseExceptionGroup) and error is not raised else raised
            if phase != "stop" and error is not None and not _share_error(list_leaves(first), list_leaves(error)):
                yield f"I6 the cause isn't first: {first!r}"
            return
        kind = {"start": StartError, "serving": CrashError}.get(phase, StopError)
        if not isinstance(raised, kind):
            yield f"I6 {name} failed first, in {phase}, and {raised!r} was raised"
        elif isinstance(raised, (StartError, CrashError)):
            if raised.component != name:
                yield f"I6 {name} failed first, and {raised.component} is blamed"
            if isinstance(raised, StartError) and raised.tries != len(self.run.places("enter", name)):
                yield f"I6 {name} was tried {len(self.run.places('enter', name))} times, not {raised.tries}"
            if (
                phase == "start"
                and error is not None
                and not _share_error(list_leaves(raised.__cause__), list_leaves(error))
            ):
                yield f"I6 the cause is {raised.__cause__!r} and should be {error!r}"
        elif error is not None:
            body = next((each.error for each in self.run.injected if each.phase == "body"), None)
            if not _share_error(list_leaves(raised.exceptions[0]), list_leaves(body or error)):
                yield f"I6 the first of the group is {raised.exceptions[0]!r}"

    def _before_ready(self) -> bool:
        ready = self.run.place("Ready")
        return ready is None or (self.run.disturbed_at is not None and self.run.disturbed_at <= ready)

    def _check_without_fault(self) -> Iterator[str]:
        raised = self.run.raised
        body = next((each.error for each in self.run.injected if each.phase == "body"), None)
        body_over = self.run.place("body over")
        if body is not None:
            if raised is not body:
                yield f"I7 the body's {body!r} became {raised!r}"
        elif self.kind in ("cancel", "native"):
            seen = body_over is not None and self.run.facts[body_over].error is not None
            if raised is not None and not isinstance(raised, CANCELLED):
                yield f"I7 a cancel became {raised!r}"
            never = self.run.place("body") is None
            if raised is None and (seen or never or (self.kind == "native" and not self.run.interrupted_late)):
                yield "I7 a cancel was swallowed"
        elif self.kind == "stop" and self._before_ready():
            if not isinstance(raised, StartCancelled):
                yield f"a start that was asked to stop raised {raised!r}"
        elif raised is not None:
            yield f"I6 nothing was wrong, and {raised!r} was raised"
