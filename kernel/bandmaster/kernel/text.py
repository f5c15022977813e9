"""Text for people: near misses, lists, durations, and text with the secrets masked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

MASK = "**********"
"""The text in place of a secret, regardless of the length. pydantic shows secrets in the same way."""

_SECRET_WORDS = re.compile(
    r"(?:password|passwd|pwd|passphrase|secret|token|credential|authorization"
    r"|(?:api|access|private|signing|secret|encryption)[_-]?key)s?(?![a-z])"
)
# Names that hold such a word, but only describe a secret: token_url, password_min_length, max_tokens.
_ABOUT_SECRETS = re.compile(
    r"^(?:max|min|num|has|is|use|require|allow)[_-]|[_-]per[_-]"
    r"|[_-](?:url|uri|endpoint|path|file|dir|name|type|method|header|algorithm|ttl|timeout|seconds|length|size|count|limit)$"
)
_NEW_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

# Every repetition below is possessive: without backtracking, the time is linear whatever the text is.
# A quote is part of a word, unless the next character shows that the word is over.
_INSIDE = r"""(?:[^\s'"]++|['"](?![\s,;:.)\]}>]|$))"""
_WORD = re.compile(rf"{_INSIDE}++")
_AFTER_AUTHORITY = re.compile(r"[/?#]")
_URL = re.compile(r"""[\s'"]*+[A-Za-z][A-Za-z0-9+.-]*+://""")
# A name in front of a value, as queries, keyword arguments, JSON, `repr` and headers write both.
_NAME = re.compile(r"""(?<![\w-])(?P<name>[\w-]++)(?P<quote>\\?['"]|\])?\s*+(?P<sign>[:!=]?=|:(?!//))\s*+""")
_QUOTED = r"""(?P<open>[a-z]{0,2}(?P<mark>\\?['"]))(?:(?!(?P=mark))[^\\\n]|(?!(?P=mark))\\.)*+"""
_SCHEME = r"(?:(?:bearer|basic|digest|negotiate|token)[ \t]++)?"
_VALUE = re.compile(rf"{_QUOTED}|{_SCHEME}{_INSIDE}*+", re.DOTALL | re.IGNORECASE)
# A list or an object as a value: {"tokens": ["a", "b"]}. A password without quotes may begin with a bracket as well.
_LIST = re.compile(r"""[\[({](?=(?P<first>\s*+(?:[a-z]{0,2}\\?['"]|[\[({]))?)""", re.IGNORECASE)
_BRACKET = re.compile(rf"""{_QUOTED}(?P=mark)?|[\[\](){{}}]""", re.DOTALL | re.IGNORECASE)
_QUERY_VALUE = re.compile(r"""(?P<open>)(?:[^\s'"&#]|['"](?![\s,;:.)\]}>]|$))*+""")
_BEARER = re.compile(r"\b(bearer[ \t]++)[\w.~+/-]{16,}+=*+", re.IGNORECASE)


def suggest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """`` Did you mean 'x'?`` with the nearest known name, or nothing."""
    found = find_nearest(name, known, cutoff=cutoff)
    return "" if found is None else f" Did you mean {found!r}?"


def find_nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known name that is most like ``name``, regardless of upper and lower case; None if no name is close."""
    from difflib import get_close_matches  # needed only once something is misspelt

    # In order, so that the same names give the same answer.
    lowered = {candidate.lower(): candidate for candidate in sorted(known, reverse=True)}
    matches = get_close_matches(name.lower(), lowered, n=1, cutoff=cutoff)
    return lowered[matches[0]] if matches else None


def list_names(names: Iterable[str]) -> str:
    """Names as a list in a sentence: ``'a', 'b' and 'c'``."""
    return join_words(map(repr, names)) or "nothing"


def join_words(words: Iterable[str]) -> str:
    """Words or phrases as a list in a sentence: ``a layer, a value and a component``."""
    *most, last = list(words) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def count_noun(count: int, one: str, many: str = "") -> str:
    """A number with its noun: ``no layers``, ``1 layer``, ``2 layers``."""
    return f"{count or 'no'} {one if count == 1 else many or f'{one}s'}"


def render_duration(seconds: float) -> str:
    """A duration with a unit: ``12 ms``, ``3.4 s``."""
    if seconds <= 0.0005:
        return "<1 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f}".removesuffix(".0") + " s"


def is_secret_name(name: str) -> bool:
    """Whether a variable, a field or a key of this name holds a secret: ``db_password``, ``apiKey``, ``TOKENS``."""
    words = _NEW_WORD.sub("_", name).lower()
    return bool(_SECRET_WORDS.search(words)) and not _ABOUT_SECRETS.search(words)


def masked(text: str, *, marker: str = MASK, is_secret: Callable[[str], bool] = is_secret_name) -> str:
    """The text with every recognisable secret masked. Every outlet passes text through this function.

    Masked are the passwords of URLs, the values after the name of a secret (``token=...``, ``"password": "..."``), and
    the credentials of an ``Authorization`` header. The time is linear in the length of the text.

    ``marker`` stands in place of a secret. ``is_secret`` decides by the name in front of a value.

    >>> masked("can't reach postgresql://shop:hunter2@db/shop?sslpassword=x")
    "can't reach postgresql://shop:**********@db/shop?sslpassword=**********"
    """
    if "://" in text and "@" in text:
        text = _WORD.sub(lambda match: _mask_userinfo(match[0], marker), text)
    if "=" in text or ":" in text:
        text = _mask_values(text, marker, is_secret)
    return _BEARER.sub(rf"\1{marker}", text)


def masked_value(text: str, *, marker: str = MASK, is_secret: Callable[[str], bool] = is_secret_name) -> str:
    """A text that is a value by itself, with every recognisable secret masked.

    Such a text may be a URL as a whole, whose password may hold blanks and quotes.

    >>> masked_value("postgresql://shop:correct horse@db/shop")
    'postgresql://shop:**********@db/shop'
    """
    return masked(_mask_userinfo(text, marker) if _URL.match(text) else text, marker=marker, is_secret=is_secret)


def _mask_userinfo(word: str, marker: str) -> str:
    """Mask the password of each URL in a word, and a name without a password, which may be a token.

    A password that isn't percent-encoded may hold any character, so the last ``@`` of the word ends the password. That
    costs the path of ``http://host:8000/path?mail=a@b.c``, which looks like a user with a password. Without a colon
    before the path there is no password: ``https://host/path?mail=a@b.c`` and ``https://host/@user`` stay as they are.
    """
    last = word.rfind("@")
    kept: list[str] = []
    position = 0
    start = word.find("://") + 3
    while 3 <= start <= last:
        path = _AFTER_AUTHORITY.search(word, start)
        authority = path.start() if path else len(word)
        colon = word.find(":", start, authority)
        if 0 <= colon < last:
            # A user with an @ may be a token with a host, in front of a port.
            user = "" if "@" in word[start:colon] else word[start : colon + 1]
            return "".join([*kept, word[position:start], user, marker, word[last:]])
        end = word.rfind("@", start, authority)
        if end >= 0:
            kept += [word[position:start], marker]
            position = end
        start = word.find("://", authority) + 3
    return "".join([*kept, word[position:]])


def _mask_values(text: str, marker: str, is_secret: Callable[[str], bool]) -> str:
    """Mask the value after each name of a secret."""
    kept: list[str] = []
    position = 0
    for match in _NAME.finditer(text):
        name, quote, sign = match["name"], match["quote"], match["sign"]
        # Prose has bare colons, too ("token: expected text"). The name of a header has a hyphen.
        is_prose = sign == ":" and not quote and "-" not in name and name.lower() != "authorization"
        if match.start() < position or is_prose or not is_secret(name):
            continue
        in_query = text[max(match.start() - 1, 0) : match.start()] in ("?", "&")
        value = (_QUERY_VALUE if in_query else _VALUE).match(text, match.end())
        opening = _LIST.match(text, match.end())
        if opening and (quote or opening["first"]):
            kept += [text[position : match.end()], marker]
            position = _find_closing(text, match.end())
        elif value and value[0]:
            kept += [text[position : match.end()], value["open"] or "", marker]
            position = value.end()
    return "".join([*kept, text[position:]])


def _find_closing(text: str, start: int) -> int:
    """The position after the bracket that closes the one at ``start``; the end of the text if none does."""
    depth = 0
    for match in _BRACKET.finditer(text, start):
        if match[0] in tuple("[({"):
            depth += 1
        elif match[0] in tuple("])}"):
            depth -= 1
        if not depth:
            return match.end()
    return len(text)
