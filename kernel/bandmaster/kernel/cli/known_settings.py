"""The settings types of a set of parts, found without a plan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from pydantic_settings import BaseSettings

from bandmaster.kernel.contributions.model import Contribution, LifespanContribution, MiddlewareContribution, Provenance
from bandmaster.kernel.contributions.signatures import Kind, read_needs
from bandmaster.kernel.errors import SignatureError
from bandmaster.kernel.settings.environment import EnvFileSettings
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.settings.target import TargetSettings

Readers = dict[type[BaseSettings], dict[str, Provenance]]
"""The names of the parts that read each settings type."""


def find_readers(parts: Iterable[Contribution]) -> Readers:
    """Every settings type that a signature, or a condition, of these parts asks for."""
    found: Readers = {}
    for part in parts:
        if part.when is not None:
            _add_readers(found, part, part.when)
        if isinstance(part, LifespanContribution):
            _add_readers(found, part, part.factory)
        elif isinstance(part, MiddlewareContribution):
            _add_readers(found, part, part.layer, given=part.options, positional=int(part.form == "asgi"))
    return found


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
    found: list[type[BaseSettings]] = []
    kinds: list[type[BaseSettings]] = [BaseSettings]
    for kind in kinds:  # grows on the way
        kinds += [sub for sub in kind.__subclasses__() if sub not in kinds]
        if kind.__name__ in names:
            found.append(kind)
    return found
