"""Render the timeline of a start as text for people and as JSON for programs. Pure."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from bandmaster.kernel.cli.views.outline import Section, Table
from bandmaster.kernel.listeners.timeline import Record, Span
from bandmaster.kernel.text import render_duration


def render_timeline_text(title: str, record: Record, at: datetime | None) -> list[Section]:
    """The timeline of a start as sections."""
    when = f"on {at.astimezone():%Y-%m-%d at %H:%M:%S}" if at else ""
    if record.took is None:
        heading = f"The start of {title} did not complete"
    else:
        heading = f"The start of {title} took {render_duration(record.took)}"
    sections = [Section(heading, when)]
    if not record.spans:
        return [*sections, Section("It has no components.")]
    chain = Table(
        ("component", "from", "own time", "to", ""),
        tuple(
            (
                span.component,
                render_duration(span.waited),
                render_duration(span.own),
                render_duration(span.end),
                _render_outcome(span),
            )
            for span in record.critical_chain()
        ),
        frozenset((1, 2, 3)),
    )
    blame = Table(
        ("own time", "waited", "component", ""),
        tuple(
            (render_duration(span.own), render_duration(span.waited), span.component, _render_outcome(span))
            for span in record.blame()
        ),
        frozenset((0, 1)),
    )
    return [
        *sections,
        Section("Blame", "the longest own time first", blame),
        Section("Critical chain", "the components that determined the length of the start, one after the other", chain),
    ]


def _render_outcome(span: Span) -> str:
    notes = [] if span.outcome == "started" else [span.outcome]
    notes += [f"{span.tries} tries"] if span.tries > 1 else []
    return ", ".join(notes)


def render_timeline_json(target: str | None, record: Record, at: datetime | None) -> dict[str, Any]:
    """The timeline of a start as one JSON object, with all times in seconds."""
    return {
        "format": 1,
        "target": target,
        "at": at.isoformat() if at else None,
        "took": record.took,
        "blame": [asdict(span) for span in record.blame()],
        "critical_chain": [span.component for span in record.critical_chain()],
    }
