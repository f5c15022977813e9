"""Names that may stand in DDL. Pure: what passes is plain, what doesn't reaches no SQL."""

from __future__ import annotations

import re

LONGEST = 63
"""Bytes that PostgreSQL keeps of a name; it would cut a longer one, and so mean another."""
_PLAIN = r"[A-Za-z_][A-Za-z0-9_$]*"
_IDENTIFIER = re.compile(_PLAIN)
_SETTING = re.compile(rf"{_PLAIN}(?:\.{_PLAIN})+")


def identifier(name: str, label: str = "name") -> str:
    """The name of a schema, table, column, role or policy, unchanged if it is a plain one.

    It is still to be quoted where it is put into a statement: ``"order"`` is as plain as any other.

    Raises:
        ValueError: it isn't plain; the message begins with ``label``, the argument that it came by.
    """
    return _plain(_IDENTIFIER, name, label, "letters, digits, '_' and '$', a letter or '_' first")


def setting_name(name: str, label: str = "setting") -> str:
    """The name of a setting that an application makes up, such as ``app.tenant``, unchanged if it is a plain one.

    Raises:
        ValueError: it isn't plain, or has no dot; the message begins with ``label``.
    """
    return _plain(_SETTING, name, label, "plain names with dots between them, such as app.tenant")


def _plain(form: re.Pattern[str], name: object, label: str, wanted: str) -> str:
    match = form.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise ValueError(f"{label}: expected {wanted}, got {name!r}")
    # What the pattern saw, whatever a subclass of str says that it is.
    plain = match.group()
    if len(plain) > LONGEST:
        raise ValueError(f"{label}: expected at most {LONGEST} bytes, got {len(plain)}: {plain!r}")
    return plain
