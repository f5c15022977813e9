"""The rules of a redaction: whose names are secret, how large a value may be, and the marker."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from bandmaster.kernel.redaction.masking import masked, masked_value
from bandmaster.kernel.redaction.names import is_secret_key, make_secret_names, split_words

TRUNCATED: Final = "[TRUNCATED]"
"""The text in place of everything that is beyond one of the bounds."""

_KNOWN_KEYS = 4096
_LONGEST_KEY = 128
_MOST_STARS = 2
_PLAIN = 256
_ISSUED_WORDS = frozenset({"AKIA", "ASIA", "AIza"})  # the beginnings in `known_secrets` that are followed by no sign
_STAR = "\u01bb"  # a letter, so that it stays with the letters beside
_BOUNDS = {"max_depth": (1, 50), "max_items": (1, 100_000), "max_text": (16, 10_000_000)}
_SCANNED = 8
"""How many times longer than ``max_text`` a text may be whose end is shown as well as the beginning."""


class Rules:
    """Immutable, except for a bounded memory of the keys that were seen."""

    __slots__ = (
        "_exempt",
        "_hint",
        "_names",
        "_patterns",
        "_plain",
        "keys",
        "marker",
        "max_depth",
        "max_items",
        "max_text",
    )

    def __init__(
        self,
        *,
        marker: str,
        patterns: Iterable[str] = (),
        exempt: Iterable[str] = (),
        max_depth: int,
        max_items: int,
        max_text: int,
    ) -> None:
        if isinstance(patterns, str) or isinstance(exempt, str):
            raise ValueError("patterns and exempt are lists of texts, not one text")
        patterns = list(patterns)
        _check_bounds(max_depth=max_depth, max_items=max_items, max_text=max_text)
        self.marker = marker
        self.max_depth = max_depth
        self.max_items = max_items
        self.max_text = max_text
        self._patterns = _compile_patterns(patterns)
        self._exempt = frozenset(map(_read_exempt, exempt))
        self._names = make_secret_names(self.is_secret, tuple(map(_find_hint, patterns)))
        self._plain = min(_PLAIN, max_text)
        self._hint = self._names.hint
        self.keys: dict[str, tuple[str, bool]] = {}

    def is_secret(self, key: str) -> bool:
        """Whether a key of this name holds a secret."""
        return (self.keys.get(key) or self.read_key(key))[1]

    def read_key(self, key: str) -> tuple[str, bool]:
        """The key as events show keys, and whether the value is a secret. Answers for short keys are kept."""
        words = split_words(key[-_LONGEST_KEY:])
        if words in self._exempt:
            secret = False
        else:
            secret = is_secret_key(key) or (self._patterns is not None and self._patterns.search(words) is not None)
        answer = (key if key.isidentifier() and key.isascii() else self.mask_value(key)), secret
        if len(key) <= _LONGEST_KEY and len(self.keys) < _KNOWN_KEYS:
            self.keys[key] = answer
        return answer

    def mask_text(self, text: str) -> str:
        """A text of any length with the secrets masked; nothing is cut."""
        return _escape_surrogates(masked(text, marker=self.marker, names=self._names))

    def mask_value(self, text: str) -> str:
        """A text that is a value, with the secrets masked; the middle of a long text is cut out."""
        # Most values of events are words, numbers and ids.
        if len(text) <= self._plain and text.isascii():
            if text.isalnum() and text[:4] not in _ISSUED_WORDS:
                return text
            if "@" not in text and self._hint.search(text.lower()) is None:
                return text
        is_whole = len(text) <= _SCANNED * self.max_text
        if not is_whole:
            text = _cut(text, _SCANNED * self.max_text)
        text = masked_value(text, marker=self.marker, names=self._names)
        if len(text) > self.max_text or not is_whole:
            # The end of a traceback says more than the middle. The end of a text that was cut before may be the rest
            # of a secret.
            rest = self.max_text // 3 if is_whole else 0
            text = text[: self.max_text - rest] + TRUNCATED + text[len(text) - rest :]
        return _escape_surrogates(text)


def _cut(text: str, length: int) -> str:
    """The beginning of a text. A URL that the cut divides is left out, because the password may have lost the end."""
    text = text[:length]
    last_word = max(text.rfind(blank) for blank in " \t\n") + 1
    url = text.find("://", last_word)
    return text if url < 0 else text[:url]


def _escape_surrogates(text: str) -> str:
    """The text without lone surrogates, which JSON in UTF-8 can't hold."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _compile_patterns(patterns: Iterable[str]) -> re.Pattern[str] | None:
    """One expression for all patterns, for the words of a key."""
    expressions = "|".join(map(_compile_pattern, patterns))
    return re.compile(rf"(?:^|_)(?:{expressions})s?(?:_|$)") if expressions else None


def _compile_pattern(pattern: str) -> str:
    words = split_words(pattern.replace("*", _STAR))
    if not words.strip(f"_{_STAR}"):
        raise ValueError(
            f"the pattern {pattern!r} has no word: write one or more words of a key, such as 'customer_ref'"
        )
    if words.count(_STAR) > _MOST_STARS:
        raise ValueError(f"the pattern {pattern!r} has more than {_MOST_STARS} stars")
    return re.escape(words).replace(_STAR, "[^_]*")


def _find_hint(pattern: str) -> str:
    """The longest part of a pattern that stands in every name that matches."""
    return max(re.split(r"[_*]", split_words(pattern.replace("*", _STAR)).replace(_STAR, "*")), key=len)


def _read_exempt(key: str) -> str:
    if not (words := split_words(key)):
        raise ValueError(f"the exempt key {key!r} has no word: write a whole key, such as 'session_id'")
    return words


def _check_bounds(**bounds: int) -> None:
    for name, bound in bounds.items():
        least, most = _BOUNDS[name]
        if not least <= bound <= most:
            raise ValueError(f"{name} is {bound}: it must be between {least} and {most}")
