"""Salted commitments of personal fields: the chain covers them, so that the values can be erased. Pure."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from bandmaster.contrib.audit.entries.canonical import render_canonical
from bandmaster.contrib.audit.entries.entry import AuditEntry

_DOMAIN = b"bandmaster audit personal 1\n"
_SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class PersonalField:
    """One personal field of a stored entry, possibly erased."""

    value: str | None = field(default=None, repr=False)
    """The value as canonical JSON; None if the field is erased."""
    salt: str | None = field(default=None, repr=False)
    """32 random bytes in hexadecimal; None if the field is erased."""
    subject: str | None = None
    """The person that the field is about."""
    erased_by: int | None = None
    """The sequence of the entry that says who erased the field."""
    withheld: bool = False
    """Whether an export was made without the value, which then can't be verified."""

    @property
    def is_erased(self) -> bool:
        """Whether nothing is left of the value."""
        return self.value is None and self.salt is None and self.subject is None


def make_personal_fields(entry: AuditEntry) -> dict[str, PersonalField]:
    """The personal fields of an entry by name, each with a salt of its own."""
    return {
        name: PersonalField(render_canonical(value), secrets.token_hex(_SALT_BYTES), entry.personal_subject(name))
        for name, value in entry.personal_fields().items()
    }


def commit(name: str, personal: PersonalField) -> str:
    """The commitment to a personal field, in hexadecimal. Nobody can guess the value from it without the salt.

    Raises:
        ValueError: the field is erased, so that there is nothing to commit to.
    """
    if personal.value is None or personal.salt is None:
        raise ValueError(f"{name}: is erased")
    message = render_canonical([name, personal.subject, personal.salt, personal.value])
    return hashlib.sha256(_DOMAIN + message.encode()).hexdigest()


def commit_all(fields: Mapping[str, PersonalField]) -> dict[str, str]:
    """The commitments to personal fields, by name."""
    return {name: commit(name, personal) for name, personal in sorted(fields.items())}
