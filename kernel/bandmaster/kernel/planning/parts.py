"""Sort the parts of a plan by group and name. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from bandmaster.kernel.contributions.model import (
    CheckContribution,
    Contribution,
    ErrorHandlerContribution,
    LifespanContribution,
    MiddlewareContribution,
    RouteContribution,
    ValueContribution,
)
from bandmaster.kernel.errors import Problems
from bandmaster.kernel.text import list_names

_P = TypeVar("_P", bound=Contribution)
_R = TypeVar("_R", LifespanContribution, ValueContribution)


@dataclass(frozen=True, slots=True)
class Omission:
    """A part that is left out of a plan, and the reason."""

    part: Contribution
    reason: str
    """As a clause about the part: ``its when= says no to CacheSettings``."""
    settings: tuple[type[Any], ...] | None = None
    """The settings types of the condition that left the part out; None for a part that is disabled."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts by name, in each group in the order of their names."""

    role: str | None
    lifespans: Mapping[str, LifespanContribution]
    other_roles: Mapping[str, LifespanContribution]
    """Components that don't belong to the role."""
    values: Mapping[str, ValueContribution]
    other_values: Mapping[str, ValueContribution]
    """Values that don't belong to the role."""
    layers: Mapping[str, MiddlewareContribution]
    routes: Mapping[str, RouteContribution]
    error_handlers: Mapping[str, ErrorHandlerContribution]
    known: frozenset[str]
    """Names of parts that exist but were left out."""
    omitted: tuple[Omission, ...] = ()
    """Parts that are disabled, or left out by their conditions."""

    @property
    def conditional(self) -> list[Contribution]:
        """The parts of the plan that have a condition."""
        groups: tuple[Mapping[str, Contribution], ...] = (
            self.lifespans,
            self.values,
            self.layers,
            self.routes,
            self.error_handlers,
        )
        return [part for group in groups for part in group.values() if part.when is not None]

    def omit(self, omissions: Iterable[Omission]) -> Parts:
        """The parts without some of them. An ordering may still name those."""
        omitted = (*self.omitted, *omissions)
        gone = {id(omission.part) for omission in omitted}
        return replace(
            self,
            lifespans=_drop(self.lifespans, gone),
            values=_drop(self.values, gone),
            layers=_drop(self.layers, gone),
            routes=_drop(self.routes, gone),
            error_handlers=_drop(self.error_handlers, gone),
            known=self.known | {omission.part.name for omission in omitted},
            omitted=omitted,
        )

    def describe_roles(self, part: LifespanContribution | ValueContribution) -> str:
        """The roles of a part of other roles, as the end of a sentence about the part."""
        return f"belongs to the roles {list_names(sorted(part.roles or ()))}, not {self.role!r}"


def sort_parts(
    contributions: Iterable[Contribution], role: str | None, known: Iterable[str], problems: Problems
) -> Parts:
    """Sort parts into groups; two parts of one name in a group are a problem.

    Raises:
        ValueError: one of the contributions is something else.
    """
    parts = list(contributions)
    for part in parts:
        if not isinstance(part, Contribution):
            raise ValueError(f"contributions: expected contributions, got {part!r}")
    parts.sort(key=lambda part: (part.name, str(part.provenance), describe_part(part)))
    lifespans, other_roles = _split_by_role(_index_by_name(parts, LifespanContribution, problems), role)
    values, other_values = _split_by_role(_index_by_name(parts, ValueContribution, problems), role)
    return Parts(
        role=role,
        lifespans=lifespans,
        other_roles=other_roles,
        values=values,
        other_values=other_values,
        layers=_index_by_name(parts, MiddlewareContribution, problems),
        routes=_index_by_name(parts, RouteContribution, problems),
        error_handlers=_index_by_name(parts, ErrorHandlerContribution, problems),
        known=frozenset(known),
    )


def check_exceptions(
    error_handlers: Mapping[str, ErrorHandlerContribution], undecided: Collection[str], problems: Problems
) -> None:
    """Report two handlers of one exception type, or of one status, unless a condition may leave one of them out."""
    handlers: dict[object, ErrorHandlerContribution] = {}
    for part in error_handlers.values():
        if part.name in undecided:
            continue
        first = handlers.setdefault(part.answers_for, part)
        if first is not part:
            handled = part.answers_for if isinstance(part.answers_for, int) else part.answers_for.__name__
            if first.exception != part.exception:
                handled = "Exception, which is the same as status 500"
            message = f"{describe_part(first)} and {describe_part(part)} both answer for {handled}."
            problems.add(message, "Disable one of them.", part.name)


def describe_part(part: Contribution) -> str:
    """A part as errors name it: group, name, band, distribution."""
    if isinstance(part, LifespanContribution):
        return f"lifespan {part.name!r} ({part.band}, {part.provenance})"
    if isinstance(part, MiddlewareContribution):
        return f"layer {part.name!r} ({part.band}, {part.provenance})"
    if isinstance(part, ValueContribution):
        return f"value {part.name!r} ({part.provenance})"
    if isinstance(part, CheckContribution):
        return f"check {part.name!r} ({part.provenance})"
    group = "routes" if isinstance(part, RouteContribution) else "error handler"
    return f"{group} {part.name!r} ({part.provenance})"


def _index_by_name(parts: Iterable[Contribution], kind: type[_P], problems: Problems) -> dict[str, _P]:
    index: dict[str, _P] = {}
    for part in parts:
        if not isinstance(part, kind):
            continue
        first = index.setdefault(part.name, part)
        if first is not part:
            problems.add(
                f"{describe_part(first)} and {describe_part(part)} have the same name.",
                "Names are unique across all distributions: uninstall one, or rename the one that is yours.",
                part.name,
            )
    return index


def _drop(parts: Mapping[str, _P], gone: set[int]) -> dict[str, _P]:
    return {name: part for name, part in parts.items() if id(part) not in gone}


def _split_by_role(parts: Mapping[str, _R], role: str | None) -> tuple[dict[str, _R], dict[str, _R]]:
    """The parts that belong to the role, and the others."""
    mine: dict[str, _R] = {}
    others: dict[str, _R] = {}
    for name, part in parts.items():
        belongs = role is None or part.roles is None or role in part.roles
        (mine if belongs else others)[name] = part
    return mine, others
