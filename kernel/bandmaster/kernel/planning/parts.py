"""The parts of one process, by group and name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bandmaster.kernel.contributions.model import (
    Contribution,
    ErrorHandlerContribution,
    LifespanContribution,
    MiddlewareContribution,
    RouteContribution,
)
from bandmaster.kernel.errors import Problem
from bandmaster.kernel.text import listed


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a plan is made of, by name; whatever the order in which the parts came, it is the same."""

    role: str | None
    lifespans: Mapping[str, LifespanContribution]
    other_roles: Mapping[str, LifespanContribution]
    """Components that don't belong to the role."""
    layers: Mapping[str, MiddlewareContribution]
    routes: Mapping[str, RouteContribution]
    error_handlers: Mapping[str, ErrorHandlerContribution]
    known: frozenset[str]
    """Names of parts that exist but were left out."""

    def whose(self, name: str) -> str:
        """Whose a component of another role is, as a sentence about it goes on."""
        return f"belongs to the roles {listed(sorted(self.other_roles[name].roles or ()))}, not {self.role!r}"


def take_stock(
    contributions: Iterable[Contribution], role: str | None, known: Iterable[str], problems: list[Problem]
) -> Inventory:
    """Sort parts into groups; two of one name in a group are a problem.

    Raises:
        ValueError: one is no contribution.
    """
    lifespans: dict[str, LifespanContribution] = {}
    layers: dict[str, MiddlewareContribution] = {}
    routes: dict[str, RouteContribution] = {}
    error_handlers: dict[str, ErrorHandlerContribution] = {}
    for part in sorted(_checked(contributions), key=lambda part: (part.name, str(part.provenance), who(part))):
        first: Contribution
        if isinstance(part, LifespanContribution):
            first = lifespans.setdefault(part.name, part)
        elif isinstance(part, MiddlewareContribution):
            first = layers.setdefault(part.name, part)
        elif isinstance(part, RouteContribution):
            first = routes.setdefault(part.name, part)
        else:
            first = error_handlers.setdefault(part.name, part)
        if first is not part:
            problems.append(_duplicate(first, part))
    _check_answers(error_handlers, problems)
    others = {
        name: part
        for name, part in lifespans.items()
        if role is not None and part.roles is not None and role not in part.roles
    }
    here = {name: part for name, part in lifespans.items() if name not in others}
    return Inventory(role, here, others, layers, routes, error_handlers, frozenset(known))


def who(part: Contribution) -> str:
    """A part as errors name it: group, name, where it stands, who brought it."""
    if isinstance(part, LifespanContribution):
        return f"lifespan {part.name!r} ({part.band}, {part.provenance})"
    if isinstance(part, MiddlewareContribution):
        return f"layer {part.name!r} ({part.band}, {part.provenance})"
    group = "routes" if isinstance(part, RouteContribution) else "error handler"
    return f"{group} {part.name!r} ({part.provenance})"


def _checked(contributions: Iterable[Contribution]) -> list[Contribution]:
    parts = list(contributions)
    for part in parts:
        if not isinstance(part, Contribution):
            raise ValueError(f"contributions: expected contributions, got {part!r}")
    return parts


def _duplicate(first: Contribution, second: Contribution) -> Problem:
    return Problem(
        f"{who(first)} and {who(second)} have the same name.",
        "Names are unique across all distributions: uninstall one, or rename the one that is yours.",
        second.name,
    )


def _check_answers(error_handlers: Mapping[str, ErrorHandlerContribution], problems: list[Problem]) -> None:
    answering: dict[object, ErrorHandlerContribution] = {}
    for part in error_handlers.values():
        first = answering.setdefault(part.exception, part)
        if first is not part:
            answered = part.exception if isinstance(part.exception, int) else part.exception.__name__
            problems.append(
                Problem(f"{who(first)} and {who(part)} both answer for {answered}.", "Disable one of them.", part.name)
            )
