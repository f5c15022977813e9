"""`AuditFilter`: which entries somebody asks for. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from bandmaster.contrib.audit.entries.canonical import copy_json, render_canonical
from bandmaster.contrib.audit.entries.entry import AuditEntry, JsonMapping, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries to list: those for which every given field is equal. A field that is None isn't asked for.

    Raises:
        ValueError: a time has no zone, a field has another type, or ``since`` isn't before ``until``.
    """

    id: str | None = None
    stream: str | None = None
    action: str | None = None
    result: Result | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    actor: str | None = None
    address: str | None = None
    subject: str | None = None
    """The person that a personal field is about: entries of this actor, and those with facts about this person."""
    tenant: str | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    task: str | None = None
    task_id: str | None = None
    schedule: str | None = None
    since: datetime | None = None
    """The earliest time, included."""
    until: datetime | None = None
    """The latest time, excluded."""
    details: JsonMapping = field(default_factory=dict)
    """Details with these values, by name. No index helps with them: combine them with other fields."""
    personal: JsonMapping = field(default_factory=dict)
    """Personal facts with these values, by name."""

    def __post_init__(self) -> None:
        if self.result is not None:
            try:
                object.__setattr__(self, "result", Result(self.result))
            except ValueError:
                raise ValueError(f"result: expected success, failure or refused, got {self.result!r}") from None
        for name in ("since", "until"):
            moment = getattr(self, name)
            if moment is None:
                continue
            if not isinstance(moment, datetime) or moment.tzinfo is None:
                raise ValueError(f"{name}: expected a datetime with a time zone")
            object.__setattr__(self, name, moment.astimezone(UTC))
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since: isn't before until")
        for name in EQUAL_FIELDS:
            given = getattr(self, name)
            if given is not None and not isinstance(given, str):
                raise ValueError(f"{name}: expected text, got {type(given).__name__}")
        for name in ("details", "personal"):
            object.__setattr__(self, name, copy_json(dict(getattr(self, name)), name))

    def matches(self, entry: AuditEntry, stream: str) -> bool:
        """Whether an entry of a stream is one that is asked for."""
        if self.stream is not None and self.stream != stream:
            return False
        if any(
            getattr(self, name) is not None and getattr(self, name) != getattr(entry, name)
            for name in EQUAL_FIELDS
            if name not in ("stream", "subject")
        ):
            return False
        if self.since is not None and entry.at < self.since:
            return False
        if self.until is not None and entry.at >= self.until:
            return False
        return (
            self._matches_subject(entry)
            and contains(entry.details, self.details)
            and contains(entry.personal, self.personal)
        )

    def _matches_subject(self, entry: AuditEntry) -> bool:
        if self.subject is None:
            return True
        return any(self.subject == entry.personal_subject(name) for name in entry.personal_fields())

    def given(self) -> dict[str, Any]:
        """The fields that are asked for."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) not in (None, {})}


EQUAL_FIELDS = (
    "id",
    "stream",
    "action",
    "result",
    "resource_type",
    "resource_id",
    "actor",
    "address",
    "subject",
    "tenant",
    "request_id",
    "correlation_id",
    "task",
    "task_id",
    "schedule",
)
"""The fields that are compared as text."""


def contains(given: JsonMapping, wanted: JsonMapping) -> bool:
    """Whether a JSON object has all names of another one, with equal values. 1 and 1.0 and true differ."""
    return all(
        name in given and render_canonical(given[name]) == render_canonical(value) for name, value in wanted.items()
    )
