"""Check regular expressions of origins for mistakes that let strangers in. Pure."""

from __future__ import annotations

import re

# Origins that no expression can mean: the domain .invalid belongs to nobody (RFC 6761).
_STRANGERS = ("https://anybody.invalid", "http://anybody.invalid", "https://a-7.anybody.invalid", "null")
_OPEN_END = re.compile(r"(?<![:\\])\.[*+][?)$]*$")
_OPEN_BEGINNING = re.compile(r"(?<!\\)\.[*+][?)]*[a-z0-9]", re.IGNORECASE)
# Group 1 is a dot that stands for any character. The other alternatives skip escapes and sets in brackets.
_UNESCAPED_DOT = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(\.)(?![*+{])", re.DOTALL)


def check_origin_expression(text: str) -> str:
    """Return the expression unchanged if it matches only origins that it can mean. It is compared with whole origins.

    Raises:
        ValueError: the text is no regular expression, or matches origins that strangers can have; the message names
            the mistake, and suggests an expression where it can.
    """
    try:
        matches = re.compile(text).fullmatch
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    if any(map(matches, _STRANGERS)):
        raise ValueError(f"{text!r} lets every origin in; name the hosts, or set cors_origins=* if that is meant")
    escaped = _escape_dots(text)
    if escaped != text:
        raise ValueError(
            f"{text!r} has a '.' that stands for any character, so that others could register a name that matches; did "
            f"you mean {escaped!r}?"
        )
    if _OPEN_END.search(text):
        raise ValueError(
            f"{text!r} has an open end, which https://shop.example.evil.example matches as well; end it with the host, "
            "or with (:[0-9]+)? for ports"
        )
    if _OPEN_BEGINNING.search(text):
        raise ValueError(
            rf"{text!r} has '.*' or '.+' before a name, which https://evilshop.example matches as well; for the names "
            r"below one write [a-z0-9-]+\. before it"
        )
    return text


def _escape_dots(expression: str) -> str:
    return _UNESCAPED_DOT.sub(lambda piece: r"\." if piece[1] else piece[0], expression)
