"""Find the environment variables that a component's settings are read from. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bandmaster.kernel.contributions.signatures import Kind
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.settings.variables import variable_of

_PLACES = re.compile(r"(?:^|_)(?:url|uri|dsn|hosts?|port|address|server|endpoint|socket|path|file|dir|user|password)$")
"""Names of fields that say where something is, and as whom to connect."""


def list_place_variables(plan: Plan, component: str) -> list[str]:
    """The variables that say where the things are which a component of this name connects to or opens."""
    return list(dict.fromkeys(_find_place_variables(plan, component)))


def _find_place_variables(plan: Plan, component: str) -> Iterator[str]:
    found = plan.by_name.get(component)
    for need in () if found is None else found.needs:
        if need.kind is Kind.SETTINGS:
            kind = need.key.type
            yield from (variable_of(kind, field) for field in kind.model_fields if _PLACES.search(field.lower()))
