"""Installed parts as people and as programs read them. Pure."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from bandmaster.kernel.cli.views.outline import Line, Section
from bandmaster.kernel.contributions.model import COMMANDS_GROUP
from bandmaster.kernel.discovery.metadata import Found
from bandmaster.kernel.discovery.trust import LeftOut


def verdicts(
    found: Sequence[Found], admitted: Collection[Found], left_out: Iterable[LeftOut], own_commands: Collection[str]
) -> dict[Found, str]:
    """For each part, why it isn't loaded; nothing for those that are."""
    reasons = {left.found: left.reason for left in left_out}
    for part in found:
        if part.group == COMMANDS_GROUP and part.name in own_commands:
            reasons.setdefault(part, "the kernel has a command of that name itself")
        elif part.problem:
            reasons.setdefault(part, part.problem.message)
        elif part not in admitted:
            reasons.setdefault(part, "another distribution has the same name in that group")
    return {part: reasons.get(part, "") for part in found}


def plugins_sections(mode: str, judged: Mapping[Found, str]) -> list[Section]:
    """Installed parts for people, by distribution."""
    by_distribution = sorted(judged, key=_home)
    sections = []
    for (_, path), parts in groupby(by_distribution, key=_home):
        several = list(parts)
        lines = tuple(_line(part, judged[part]) for part in several)
        # Beside the code, as people know it, rather than the metadata's own directory.
        place = os.path.dirname(path) if path.endswith("-info") else path  # noqa: PTH120 – a zip's finder has no path
        sections.append(Section(str(several[0].provenance), f"in {place}", lines))
    loaded = sum(not reason for reason in judged.values())
    count = f"{len(judged)} part{'' if len(judged) == 1 else 's'} installed"
    if judged:
        said = f"{loaded} to be loaded, with plugins={mode}"
    else:
        said = "install a distribution that brings some, such as bandmaster-web"
    return [Section(count, said), *sections]


def _home(part: Found) -> tuple[str, str]:
    return part.distribution, part.path


def _line(part: Found, reason: str) -> Line:
    return Line(
        f"{part.kind} {part.name} = {part.value}",
        f"left out: {reason}" if reason else "",
        style="dim" if reason else "",
    )


def plugins_json(mode: str, judged: Mapping[Found, str], **more: Any) -> dict[str, Any]:
    """Installed parts for programs."""
    return {
        "format": 1,
        "mode": mode,
        "parts": [
            {
                "group": part.group,
                "name": part.name,
                "value": part.value,
                "distribution": part.provenance.distribution,
                "version": part.provenance.version,
                "location": part.path,
                "admitted": not reason,
                "reason": reason or None,
            }
            for part, reason in judged.items()
        ],
        **more,
    }
