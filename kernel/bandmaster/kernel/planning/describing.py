"""What components describe rather than run: had from a plan without starting anything."""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

from bandmaster.kernel.contributions.keys import type_name
from bandmaster.kernel.errors import PlanError, Problem

if TYPE_CHECKING:
    from bandmaster.kernel.planning.plan import Plan

_T = TypeVar("_T")


def descriptions(plan: Plan, kind: type[_T]) -> tuple[_T, ...]:
    """All that components of a plan and its overrides provide of one kind, in the order of the plan.

    It is for parts that say something about themselves, such as where their migrations are or which tasks they have:
    components that need nothing, and provide it without waiting for anything.

    Raises:
        PlanError: a component needs something, waits for something, or provides something else.
    """
    name = type_name(kind)
    found: list[Any] = [value for key, value in plan.overrides.items() if key.type is kind]
    problems = []
    for component in plan.components:
        if not any(key.type is kind for key in component.provides):
            continue
        if component.needs:
            problems.append(f"the component {component.name!r} provides {name} but needs something itself")
            continue
        manager = component.contribution.factory()
        try:
            found.append(_at_once(manager.__aenter__()))
            _at_once(manager.__aexit__(None, None, None))
        except _Waits:
            problems.append(f"the component {component.name!r} waits for something before it provides its {name}")
    problems += [
        f"the plan provides {value!r} as {name}, which it isn't" for value in found if not isinstance(value, kind)
    ]
    if problems:
        hint = "What is described must be had without a start."
        raise PlanError([Problem(f"{problem}.", hint) for problem in problems])
    return tuple(found)


class _Waits(Exception):
    pass


def _at_once(awaitable: Awaitable[Any]) -> Any:
    """What an awaitable gives that waits for nothing, so that it needs no event loop."""
    # An event loop that happens to run here isn't to look after a generator that it doesn't drive.
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        steps = awaitable.__await__()
        next(steps)
        steps.close()
    except StopIteration as done:
        return done.value
    finally:
        sys.set_asyncgen_hooks(*hooks)
    raise _Waits
