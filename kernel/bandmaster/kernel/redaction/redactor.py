"""Redact values of any kind: plain data for JSON, with every recognisable secret replaced by a constant marker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bandmaster.kernel.redaction.masking import REDACTED
from bandmaster.kernel.redaction.rules import Rules
from bandmaster.kernel.redaction.walk import UNREADABLE, PlainValue, Walk


class Redactor:
    """Makes plain data for JSON out of any value, without secrets.

    A value is replaced by `REDACTED` as a whole if the key, field or attribute has the name of a secret. Words of the
    name decide: ``api_key`` and ``dbPassword`` are secrets, ``compass`` and ``token_count`` are not. Inside every text,
    the passwords of URLs, the values after the name of a secret (``token=...``), the credentials of an
    ``Authorization`` header, JSON Web Tokens and private keys are replaced.

    ``patterns`` are further names of secrets. Each is one or more words of a key (``iban``, ``customer_ref``), without
    regard to upper and lower case; ``*`` stands for any characters of a word. ``exempt`` are whole keys that are no
    secrets, whatever their words are; the text under them is still searched for secrets.

    ``max_depth`` is the most containers inside each other, ``max_items`` the most items of one container, ``max_text``
    the most characters of one text. ``[TRUNCATED]`` stands in place of the rest, ``[CYCLE]`` in place of a value that
    contains itself, ``[UNREADABLE]`` in place of a value that can't be read.

    Thread-safe. No method raises an exception because of a value, and none changes a value. The constructor raises
    `ValueError` for a pattern without a word and for a bound that is out of range.

    >>> Redactor(patterns=["iban"]).redact({"user": {"name": "Kim", "IBAN": "DE02"}, "url": "redis://:x@cache"})
    {'user': {'name': 'Kim', 'IBAN': '[REDACTED]'}, 'url': 'redis://:[REDACTED]@cache'}
    """

    __slots__ = ("_exempt", "_patterns", "_rules")

    def __init__(
        self,
        *,
        patterns: Iterable[str] = (),
        exempt: Iterable[str] = (),
        max_depth: int = 8,
        max_items: int = 100,
        max_text: int = 8192,
    ) -> None:
        self._patterns = patterns if isinstance(patterns, str) else tuple(patterns)
        self._exempt = exempt if isinstance(exempt, str) else tuple(exempt)
        self._rules = Rules(
            marker=REDACTED,
            patterns=self._patterns,
            exempt=self._exempt,
            max_depth=max_depth,
            max_items=max_items,
            max_text=max_text,
        )

    def bounded(self, *, max_depth: int, max_items: int, max_text: int) -> Redactor:
        """A redactor with the same patterns and exempt keys, and with other bounds.

        Raises:
            ValueError: a bound is out of range.
        """
        return Redactor(
            patterns=self._patterns,
            exempt=self._exempt,
            max_depth=max_depth,
            max_items=max_items,
            max_text=max_text,
        )

    def redact(self, value: object) -> PlainValue:
        """The value as plain data, with every recognisable secret replaced."""
        try:
            return Walk(self._rules).redact(value)
        except Exception:  # noqa: BLE001  # a log must not fail because of a value
            return UNREADABLE

    def redact_mapping(self, mapping: Mapping[str, object]) -> dict[str, PlainValue]:
        """The mapping as a dict of plain data, with every recognisable secret replaced."""
        try:
            return Walk(self._rules).redact_mapping(mapping)
        except Exception:  # noqa: BLE001  # a log must not fail because of a value
            return {"unreadable": UNREADABLE}

    def redact_text(self, text: str) -> str:
        """The whole text with every recognisable secret replaced. The time is linear in the length of the text."""
        try:
            return self._rules.mask_text(text)
        except Exception:  # noqa: BLE001  # a log must not fail because of a value
            return UNREADABLE

    def is_secret(self, key: str) -> bool:
        """Whether a key, a field or a variable of this name holds a secret."""
        return self._rules.is_secret(key)


def redact_fields(fields: Mapping[str, object], rules: Rules) -> dict[str, object]:
    """The fields, in which only those values are replaced by plain data that hold a secret. All others stay."""
    result: dict[str, object] = {}
    for name, value in fields.items():
        walk = Walk(rules)
        plain = walk.redact_named(name, value)
        result[name] = plain if walk.changed else value
    return result
