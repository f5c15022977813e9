"""The settings types of a set of parts, found without a plan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any

from pydantic_settings import BaseSettings

from bandmaster.kernel.contributions.model import (
    GROUPS,
    Contribution,
    LifespanContribution,
    MiddlewareContribution,
    Provenance,
)
from bandmaster.kernel.contributions.signatures import Kind, read_needs
from bandmaster.kernel.errors import DiscoveryError, PlanError, SignatureError
from bandmaster.kernel.planning.parts import describe_part
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.settings.environment import EnvFileSettings, current_environment
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.settings.target import TargetSettings
from bandmaster.kernel.settings.unread import find_idle, find_unread, list_all_kinds

Readers = dict[type[BaseSettings], dict[str, Provenance]]
"""The names of the parts that read each settings type."""


def find_readers(parts: Iterable[Contribution]) -> Readers:
    """Every settings type that a signature, or a condition, of these parts asks for."""
    found: Readers = {}
    for part in parts:
        if part.when is not None:
            _add_readers(found, part, part.when)
        _add_own_readers(found, part)
    return found


def _add_own_readers(found: Readers, part: Contribution) -> None:
    """Add the types that a part asks for when it is in a plan."""
    if isinstance(part, LifespanContribution):
        _add_readers(found, part, part.factory)
    elif isinstance(part, MiddlewareContribution):
        _add_readers(found, part, part.layer, given=part.options, positional=int(part.form == "asgi"))


def _add_readers(
    found: Readers,
    part: Contribution,
    function: Callable[..., Any],
    *,
    given: Collection[str] = (),
    positional: int = 0,
) -> None:
    try:
        needs = read_needs(function, given=given, positional=positional)
    except SignatureError:
        return  # a plan reports it
    for need in needs:
        if need.kind is Kind.SETTINGS:
            found.setdefault(need.key.type, {})[part.name] = part.provenance


def list_own_settings() -> list[type[BaseSettings]]:
    """The settings types of the kernel, the launcher and the command line, which no part needs to ask for."""
    from bandmaster.kernel.process.servers.settings import ServerSettings

    return [KernelSettings, ServerSettings, EnvFileSettings, TargetSettings]


def find_by_name(names: Collection[str]) -> list[type[BaseSettings]]:
    """The settings types in this process that have one of these names."""
    return [kind for kind in list_all_kinds() if kind.__name__ in names]


def find_unread_variables(parts: Iterable[Contribution], ignored: Collection[str] = ()) -> list[str]:
    """A warning for each variable that none of the parts, of whichever role, reads."""
    environment = current_environment()
    try:
        return find_unread([*list_own_settings(), *find_readers(parts)], list_all_kinds(), environment, ignored)
    except PlanError:
        return []  # the env file can't be read, for which there is no plan either


def find_idle_variables(plan: Plan, ignored: Collection[str] = ()) -> list[str]:
    """A warning for the variables that only parts read which a plan leaves out."""
    gone = {id(omission.part) for omission in plan.omitted}
    # What conditions and checks read is among the settings of the plan; parts of other roles aren't in the plan.
    active = {*list_own_settings(), *plan.settings}
    active |= find_readers(part for part in plan.contributions if id(part) not in gone).keys()
    reasons: dict[type[BaseSettings], list[str]] = {}
    for omission in plan.omitted:
        readers: Readers = {}
        _add_own_readers(readers, omission.part)
        for kind in readers.keys() - active:
            reasons.setdefault(kind, []).append(f"{describe_part(omission.part)} is left out, since {omission.reason}")
    idle = {kind: "; ".join(texts) for kind, texts in reasons.items()}
    return find_idle(idle, list_all_kinds(), current_environment(), ignored)


def load_installed() -> Iterator[Contribution]:
    """The installed parts that can be loaded; the others are in the error for which there is no plan."""
    from bandmaster.kernel.cli.installed import find_installed
    from bandmaster.kernel.discovery.loading import load

    try:
        admitted = find_installed(GROUPS).admission.admitted
    except PlanError:
        return
    for part in admitted:
        with suppress(DiscoveryError):
            yield load(part)
