"""Validation of names for DDL: only plain names reach SQL. Pure."""

from __future__ import annotations

import re

LONGEST = 63
"""The most bytes of a name; PostgreSQL truncates a longer one, which may then be another's name."""
_PLAIN = r"[A-Za-z_][A-Za-z0-9_$]*"
_IDENTIFIER = re.compile(_PLAIN)
_SETTING = re.compile(rf"{_PLAIN}(?:\.{_PLAIN})+")


def identifier(name: str, label: str = "name") -> str:
    """Check the name of a schema, table, column, role or policy, and return the name unchanged.

    The caller must still quote the name in a statement: the keyword ``order`` is a plain name, too.

    Raises:
        ValueError: the name isn't plain; the message begins with ``label``, the name of the argument.
    """
    return _check_plain(_IDENTIFIER, name, label, "letters, digits, '_' and '$', a letter or '_' first")


def setting_name(name: str, label: str = "setting") -> str:
    """Check the name of an application's own PostgreSQL setting, such as ``app.tenant``, and return the name.

    Raises:
        ValueError: the name isn't plain, or has no dot; the message begins with ``label``.
    """
    return _check_plain(_SETTING, name, label, "plain names with dots between them, such as app.tenant")


def _check_plain(form: re.Pattern[str], name: object, label: str, wanted: str) -> str:
    match = form.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise ValueError(f"{label}: expected {wanted}, got {name!r}")
    # The matched text: a subclass of str may render another text than it holds.
    plain = match.group()
    if len(plain) > LONGEST:
        raise ValueError(f"{label}: expected at most {LONGEST} bytes, got {len(plain)}: {plain!r}")
    return plain
