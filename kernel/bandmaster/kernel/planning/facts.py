"""The facts that components tell about themselves in the plan, from their settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bandmaster.kernel.contributions.model import LifespanContribution
from bandmaster.kernel.contributions.places import find_place
from bandmaster.kernel.contributions.signatures import Kind, Need
from bandmaster.kernel.errors import Problems
from bandmaster.kernel.planning.budgets import read_settings_parameters
from bandmaster.kernel.planning.parts import describe_part


def collect_facts(
    part: LifespanContribution, needs: Sequence[Need], settings: Mapping[type[Any], Any], problems: Problems
) -> tuple[str, ...]:
    """The lines of a component for the plan; none, with a problem, where the function fails."""
    if part.facts is None:
        return ()
    settings_types = list(dict.fromkeys(need.key.type for need in needs if need.kind is Kind.SETTINGS))
    try:
        wanted = read_settings_parameters(part.facts, settings_types)
        if any(kind not in settings for kind in wanted.values()):
            return ()  # the settings can't be read, which is among the problems already
        return tuple(map(str, part.facts(**{name: settings[kind] for name, kind in wanted.items()})))
    except Exception as error:  # noqa: BLE001  # a part's own function; its error is one problem of several
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        problems.add(
            f"{describe_part(part)}: its facts can't be had: {reason} ({find_place(part.facts)}).", subject=part.name
        )
        return ()
