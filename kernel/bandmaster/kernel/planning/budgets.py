"""What each component may hold, by its declaration or as a function of its settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bandmaster.kernel.contributions.checks import check_budget
from bandmaster.kernel.contributions.keys import type_name
from bandmaster.kernel.contributions.model import LifespanContribution
from bandmaster.kernel.contributions.signatures import Kind, Need, parameters, read_needs
from bandmaster.kernel.errors import Problem, SignatureError
from bandmaster.kernel.planning.parts import who
from bandmaster.kernel.text import listed


def budget_of(
    part: LifespanContribution, needs: Sequence[Need], settings: Mapping[type[Any], Any], problems: list[Problem]
) -> Mapping[str, int]:
    """The budget of a component in numbers; empty, with a problem, where it can't be had."""
    if not callable(part.budget):
        return part.budget
    own = list(dict.fromkeys(need.key.type for need in needs if need.kind is Kind.SETTINGS))
    try:
        wanted = _wanted(part.budget, own)
        if any(kind not in settings for kind in wanted.values()):
            return {}  # why they can't be read is among the problems already
        return check_budget(part.budget(**{name: settings[kind] for name, kind in wanted.items()}))
    except ValueError as error:
        said = str(error)
    except Exception as error:  # noqa: BLE001  # somebody else's function; what it raises is one problem of several
        said = f"{type(error).__name__}: {error}"
    problems.append(Problem(f"{who(part)}: its budget can't be had: {said}.", subject=part.name))
    return {}


def _wanted(budget: Callable[..., Any], own: Sequence[type[Any]]) -> dict[str, type[Any]]:
    """The settings type for each parameter of a budget function."""
    taken = [parameter for parameter in parameters(budget) if parameter.default is parameter.empty]
    if len(taken) == len(own) == 1 and taken[0].annotation is inspect.Parameter.empty:
        return {taken[0].name: own[0]}
    wanted = {
        need.parameter: need.key.type for need in read_needs(budget) if not need.has_default or need.key.type in own
    }
    strangers = [kind for kind in wanted.values() if kind not in own]
    if strangers:
        raise SignatureError(f"it asks for {listed(map(type_name, strangers))}, which isn't among its settings")
    return wanted
