"""Find parts that would provide a type, but are left out or don't declare the type. Nothing new is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from bandmaster.kernel.contribs import find_distribution
from bandmaster.kernel.contributions.factories import unwrap
from bandmaster.kernel.contributions.keys import Key, type_name
from bandmaster.kernel.contributions.model import LifespanContribution
from bandmaster.kernel.contributions.signatures import walk_wrapped
from bandmaster.kernel.contributions.yields import find_value
from bandmaster.kernel.discovery.entry_points import split
from bandmaster.kernel.discovery.trust import LeftOut
from bandmaster.kernel.planning.offered_keys import list_keys
from bandmaster.kernel.text import list_names


def describe_left_out(key: Key, left_out: Iterable[LeftOut]) -> str:
    """A hint about an installed part that provides the key and isn't loaded; empty without one.

    A part of an imported module tells its types. Of others, those of the distribution that brings the
    type are named.
    """
    parts = [part for part in left_out if part.found.kind in ("lifespan", "value")]
    for part in parts:
        if key in list_keys(_get_imported(part)):
            return f"{part.found.name!r} ({part.found.provenance}) provides one, but {part.reason}: let it in."
    distribution, _ = find_distribution(key.module)
    package = key.module.partition(".")[0]
    near = [
        part
        for part in parts
        if part.found.distribution == distribution
        or (not distribution and package and part.found.value.startswith((f"{package}.", f"{package}:")))
    ]
    if not near or any(_get_imported(part) is not None for part in near):
        return ""
    names = list_names(part.found.name for part in near)
    return f"{names} ({near[0].found.provenance}) may provide one, but {near[0].reason}: let it in."


def describe_undeclared(key: Key, components: Iterable[LifespanContribution]) -> str:
    """A hint about components that yield something without a declaration; empty without any."""
    found = {
        part: place for part in components if not list_keys(part) and (place := _find_undeclared(part)) is not None
    }
    if not found:
        return ""
    parts = [f"{part.name!r} ({place})" for part, place in found.items()]
    kind = type_name(key.type)
    annotations = {
        f"-> {kind} for __aenter__" if isinstance(unwrap(part.factory), type) else f"-> AsyncIterator[{kind}]": None
        for part in found
    }
    one = f"write the return annotation there: {' or '.join(annotations)}"
    verb = "yields" if len(found) == 1 else "yield"
    return f"{' and '.join(parts)} {verb} something without saying what: if it is one, {one}."


def _get_imported(part: LeftOut) -> Any:
    """The object that an entry point names, if the module has been imported already."""
    module, attribute = split(part.found.value)
    value = sys.modules.get(module)
    for name in attribute.split("."):
        try:
            value = getattr(value, name, None)
        except Exception:  # noqa: BLE001  # a module that exports lazily may fail to
            return None
    return value


def _find_undeclared(part: LifespanContribution) -> str | None:
    """File and line of the yield of a component's value, or of the return of the ``__aenter__``."""
    factory = unwrap(part.factory)
    *_, written = walk_wrapped(_get_enter(factory) if isinstance(factory, type) else factory)
    code = getattr(written, "__code__", None)
    line = find_value(code) if code is not None else None
    return None if code is None or line is None else f"{code.co_filename}:{line}"


def _get_enter(manager: Any) -> Any:
    return manager.__aenter__
