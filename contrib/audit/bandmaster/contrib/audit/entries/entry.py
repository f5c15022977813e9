"""`AuditEntry`: one action: by whom, to which object, and with which result. Checked when it is made."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeAlias

from bandmaster.contrib.audit.entries.canonical import copy_json, parse_canonical, render_canonical

JsonMapping: TypeAlias = Mapping[str, Any]
"""A JSON object: keys are text, values are text, numbers, booleans, None, and lists and objects of them."""

MAX_TEXT = 255
"""Characters of each text field, at the most."""
MAX_ACTION = 128
ACTOR, ADDRESS = "actor", "address"
"""The two personal fields that every entry may have, beside those in ``personal``."""
_TEXTS = (
    "tenant",
    "resource_type",
    "resource_id",
    "actor",
    "address",
    "subject",
    "request_id",
    "correlation_id",
    "task",
    "task_id",
    "schedule",
)


class Result(StrEnum):
    """How an action ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    """The action was allowed, and failed."""
    REFUSED = "refused"
    """The action wasn't allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One entry of the audit trail. Entries are equal if all fields are.

    Raises:
        ValueError: a field is missing, too long or of another type; the message names the field.
    """

    action: str
    """The action, such as ``order.cancel``. Names that begin with ``audit.`` are the audit trail's own."""
    result: Result = Result.SUCCESS
    resource_type: str | None = None
    """The kind of object, such as ``order``."""
    resource_id: str | None = None
    actor: str | None = field(default=None, repr=False)
    """Who did it, by the id that the identity provider knows. A personal field, which can be erased."""
    address: str | None = field(default=None, repr=False)
    """The address of the client. A personal field, which can be erased."""
    tenant: str | None = None
    details: JsonMapping = field(default_factory=dict, repr=False)
    """Further facts that stay for as long as the entry does."""
    personal: JsonMapping = field(default_factory=dict, repr=False)
    """Further facts about a person, by name, which can be erased."""
    subject: str | None = field(default=None, repr=False)
    """The id of the person that ``personal`` is about; None if that is the actor. The id is erased with the facts."""
    request_id: str | None = None
    correlation_id: str | None = None
    task: str | None = None
    """The name of the task that did it."""
    task_id: str | None = None
    schedule: str | None = None
    """The id of the schedule that started the task."""
    erased: frozenset[str] = frozenset()
    """The names of personal fields that were erased."""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When it was done. A time in another zone is converted to UTC; one without a zone is refused."""
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    """32 hexadecimal digits."""

    def __post_init__(self) -> None:
        _check_text(self.action, "action", MAX_ACTION)
        object.__setattr__(self, "result", _check_result(self.result))
        for name in _TEXTS:
            given = getattr(self, name)
            if given is not None:
                _check_text(given, name, MAX_TEXT)
        object.__setattr__(self, "at", _check_time(self.at, "at"))
        if not isinstance(self.id, str) or len(self.id) != 32 or not set(self.id) <= set("0123456789abcdef"):
            raise ValueError(f"id: expected 32 hexadecimal digits, got {self.id!r}")
        for name in ("details", "personal"):
            given = getattr(self, name)
            if not isinstance(given, Mapping):
                raise ValueError(f"{name}: expected a dict, got {type(given).__name__}")
            object.__setattr__(self, name, MappingProxyType(copy_json(dict(given), name)))
        for name in self.personal:
            _check_text(name, "personal", MAX_TEXT)
        if taken := {ACTOR, ADDRESS} & self.personal.keys():
            raise ValueError(f"personal: {min(taken)!r} is a field of its own")
        if self.subject == self.actor or not self.personal:
            object.__setattr__(self, "subject", None)
        object.__setattr__(self, "erased", _check_names(self.erased))
        if both := self.erased & self.personal_fields().keys():
            raise ValueError(f"erased: {min(both)!r} has a value")

    def __hash__(self) -> int:
        return hash((self.id, self.at, self.action))

    def personal_fields(self) -> dict[str, Any]:
        """The values of all personal fields by name: the actor, the address, and those in ``personal``."""
        fields = {ACTOR: self.actor, ADDRESS: self.address}
        return {name: value for name, value in fields.items() if value is not None} | dict(self.personal)

    def personal_subject(self, name: str) -> str | None:
        """The id of the person that a personal field is about."""
        return self.actor if name in (ACTOR, ADDRESS) or self.subject is None else self.subject

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values; `from_dict` gives an equal entry."""
        return {
            "id": self.id,
            "at": render_time(self.at),
            "action": self.action,
            "result": self.result.value,
            **{name: getattr(self, name) for name in _TEXTS},
            "details": copy_json(dict(self.details), "details"),
            "personal": copy_json(dict(self.personal), "personal"),
            "erased": sorted(self.erased),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AuditEntry:
        """The entry of a mapping that `to_dict` has made.

        Raises:
            ValueError: a field is missing, unknown, or not valid; the message names the field.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"entry: expected a JSON object, got {type(data).__name__}")
        if unknown := sorted(set(data) - _FIELDS):
            raise ValueError(f"entry: has no field {unknown[0]!r}")
        for name in _REQUIRED:
            if name not in data:
                raise ValueError(f"{name}: is missing")
        fields = dict(data)
        fields["at"] = parse_time(fields["at"], "at")
        erased = fields.get("erased", [])
        if not isinstance(erased, list | tuple):
            raise ValueError(f"erased: expected a list of names, got {type(erased).__name__}")
        fields["erased"] = _check_names(erased)
        return cls(**fields)

    def to_json(self) -> str:
        """All fields as one line of JSON; `from_json` gives an equal entry."""
        return render_canonical(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> AuditEntry:
        """The entry of a text that `to_json` has made.

        Raises:
            ValueError: the text isn't JSON, or not an entry; the message names the field.
        """
        return cls.from_dict(parse_canonical(text))


_REQUIRED = ("id", "at", "action", "result")
_FIELDS = frozenset({*_REQUIRED, *_TEXTS, "details", "personal", "erased"})


def render_time(moment: datetime) -> str:
    """A time in UTC with microseconds, in the format of RFC 3339. Texts are in the order of their times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def parse_time(text: object, label: str) -> datetime:
    """The time of a text in the format of RFC 3339.

    Raises:
        ValueError: the text is no time, or has no zone.
    """
    if not isinstance(text, str):
        raise ValueError(f"{label}: expected a time as text, got {type(text).__name__}")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{label}: expected a time such as 2026-01-31T12:00:00Z, got {text[:40]!r}") from error
    return _check_time(moment, label)


def _check_time(moment: object, label: str) -> datetime:
    if not isinstance(moment, datetime):
        raise ValueError(f"{label}: expected a datetime, got {type(moment).__name__}")
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError(f"{label}: has no time zone: {moment.isoformat()}")
    if moment.tzinfo is UTC:
        return moment
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{label}: is out of range in UTC: {moment.isoformat()}") from error


def _check_result(result: object) -> Result:
    try:
        return Result(result)  # type: ignore[arg-type]  # it refuses other types
    except ValueError:
        expected = ", ".join(each.value for each in Result)
        raise ValueError(f"result: expected one of {expected}, got {result!r}") from None


def _check_text(value: object, label: str, longest: int) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{label}: expected text, got {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{label}: is blank")
    if len(value) > longest:
        raise ValueError(f"{label}: has more than {longest} characters")
    if any(sign < " " or sign == "\x7f" or "\ud800" <= sign <= "\udfff" for sign in value):
        raise ValueError(f"{label}: has control characters")


def _check_names(names: object) -> frozenset[str]:
    if not isinstance(names, frozenset | set | list | tuple) or not all(isinstance(each, str) for each in names):
        raise ValueError("erased: expected names of personal fields")
    return frozenset(names)
