"""Render installed parts as text for people and as JSON for programs. Pure."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from bandmaster.kernel.cli.views.outline import Line, Section
from bandmaster.kernel.contributions.model import COMMANDS_GROUP
from bandmaster.kernel.discovery.metadata import Found
from bandmaster.kernel.discovery.trust import LeftOut


def find_reasons_not_loaded(
    found: Sequence[Found], admitted: Collection[Found], left_out: Iterable[LeftOut], own_commands: Collection[str]
) -> dict[Found, str]:
    """For each part, the reason not to load the part; an empty text for a part that is loaded."""
    reasons = {left.found: left.reason for left in left_out}
    for part in found:
        if part.group == COMMANDS_GROUP and part.name in own_commands:
            reasons.setdefault(part, "the kernel itself has a command of that name")
        elif part.problem:
            reasons.setdefault(part, part.problem.message)
        elif part not in admitted:
            reasons.setdefault(part, "another distribution has the same name in that group")
    return {part: reasons.get(part, "") for part in found}


def render_plugins_text(mode: str, reasons: Mapping[Found, str]) -> list[Section]:
    """Installed parts by distribution, after a summary."""
    by_distribution = sorted(reasons, key=_locate)
    sections = []
    for (_, path), parts in groupby(by_distribution, key=_locate):
        group = list(parts)
        lines = tuple(_describe_part(part, reasons[part]) for part in group)
        # People know the directory of the code, not that of the metadata inside it.
        place = os.path.dirname(path) if path.endswith("-info") else path  # noqa: PTH120 – a zip's finder has no path
        sections.append(Section(str(group[0].provenance), f"in {place}", lines))
    loaded = sum(not reason for reason in reasons.values())
    count = f"{len(reasons)} part{'' if len(reasons) == 1 else 's'} installed"
    if reasons:
        note = f"{loaded} to be loaded, with plugins={mode}"
    else:
        note = "install a distribution that brings some, such as bandmaster-web"
    return [Section(count, note), *sections]


def _locate(part: Found) -> tuple[str, str]:
    return part.distribution, part.path


def _describe_part(part: Found, reason: str) -> Line:
    return Line(
        f"{part.kind} {part.name} = {part.value}",
        f"left out: {reason}" if reason else "",
        style="dim" if reason else "",
    )


def render_plugins_json(mode: str, reasons: Mapping[Found, str], **more: Any) -> dict[str, Any]:
    """Installed parts as one JSON object."""
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
            for part, reason in reasons.items()
        ],
        **more,
    }
