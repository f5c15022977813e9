"""Run the checks that components declare, before anything is opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from bandmaster.kernel.contributions.keys import type_name
from bandmaster.kernel.contributions.signatures import read_needs
from bandmaster.kernel.errors import Problem, SignatureError
from bandmaster.kernel.planning.parts import describe_part
from bandmaster.kernel.planning.plan import Component, Plan


class EventLoop(StrEnum):
    """The library whose event loop runs the components."""

    ASYNCIO = "asyncio"
    TRIO = "trio"


@dataclass(frozen=True, slots=True)
class Findings:
    """The problems and the warnings of checks."""

    problems: tuple[Problem, ...] = ()
    """Each of them refuses the start."""
    warnings: tuple[str, ...] = ()

    def __add__(self, other: Findings) -> Findings:
        """The findings of both, each once."""
        return Findings(
            tuple(dict.fromkeys([*self.problems, *other.problems])),
            tuple(dict.fromkeys([*self.warnings, *other.warnings])),
        )


def check_start(plan: Plan, event_loop: EventLoop) -> Findings:
    """Run the check of every component of a plan."""
    findings = Findings()
    for component in plan.components:
        for found in _run_check(component, plan, event_loop):
            if isinstance(found, Problem):
                findings += Findings(problems=(replace(found, subject=found.subject or component.name),))
            else:
                findings += Findings(warnings=(str(found),))
    return findings


def _run_check(component: Component, plan: Plan, event_loop: EventLoop) -> Iterator[Problem | str]:
    check = component.contribution.check
    if check is None:
        return
    who = describe_part(component.contribution)
    try:
        arguments = _choose_arguments(check, plan, event_loop)
        found = list(check(**arguments))
    except SignatureError as error:
        yield Problem(f"{who}: its check can't be run: {error}.", subject=component.name)
        return
    except Exception as error:  # noqa: BLE001  # a part's own function; its error is one problem of several
        problems: tuple[Problem, ...] = getattr(error, "problems", ())
        yield from problems or [Problem(f"{who}: its check failed: {type(error).__name__}: {error}.")]
        return
    for one in found:
        yield replace(one, message=f"{who}: {one.message}") if isinstance(one, Problem) else f"{who}: {one}"


def _choose_arguments(check: Any, plan: Plan, event_loop: EventLoop) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for need in read_needs(check):
        if need.key.type is Plan:
            value: Any = plan
        elif need.key.type is EventLoop:
            value = event_loop
        else:
            value = plan.settings_of(need.key.type)
        if value is None and need.has_default:
            continue
        if value is None:
            raise SignatureError(f"it asks for {type_name(need.key.type)}, which isn't among its settings")
        arguments[need.parameter] = value
    return arguments
