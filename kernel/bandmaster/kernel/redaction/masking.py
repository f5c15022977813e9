"""Mask the secrets in text, in a time that is linear in the length of the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from bandmaster.kernel.redaction.known_secrets import mask_known_secrets
from bandmaster.kernel.redaction.names import SETTING_NAMES, SecretNames

MASK = "**********"
"""The text in place of a secret, regardless of the length. pydantic shows secrets in the same way."""
REDACTED = "[REDACTED]"
"""The text in place of a secret in data for other programs: a constant, which tells nothing of the secret."""

# Every repetition below is possessive or bounded: without backtracking, the time is linear whatever the text is.
# A quote is part of a word, unless the next character shows that the word is over.
_INSIDE = r"""(?:[^\s'"]++|['"](?![\s,;:.)\]}>]|$))"""
_WORD = re.compile(rf"{_INSIDE}++")
_AFTER_AUTHORITY = re.compile(r"[/?#]")
_URL = re.compile(r"""[\s'"]*+[A-Za-z][A-Za-z0-9+.-]*+://""")
# The quote around a text, which JSON inside of JSON escapes once or several times.
_MARK = r"""\\{0,7}['"]"""
# A name in front of a value, as queries, keyword arguments, JSON, `repr`, headers and databases write both.
_NAME = re.compile(
    rf"""(?<![\w-])(?P<name>[\w-]++)(?P<quote>{_MARK}|[\])])?\s*+"""
    r"""(?P<sign>=>|[:!=]?=|:(?!//)|,|>|%3[dD])\s*+"""
)
_QUOTED = rf"""(?P<open>[a-zA-Z]{{0,2}}(?P<mark>{_MARK}))(?:(?!(?P=mark))[^\\\n]|(?!(?P=mark))\\.)*+"""
_SCHEME = (
    r"(?:(?:bearer|basic|negotiate|ntlm|token|api-?key|key|jwt|dpop)[ \t]++"
    # The credentials of these schemes are a list of several values.
    r"|(?:digest|aws4-hmac-sha256|hawk|oauth|signature|scram-sha-[0-9]{1,3})[ \t][^\n]*+)?"
)
_VALUE = re.compile(rf"{_QUOTED}|{_SCHEME}{_INSIDE}*+", re.DOTALL | re.IGNORECASE)
_QUOTED_VALUE = re.compile(rf"{_QUOTED}(?=(?P=mark)\s*+[)\]])", re.DOTALL)
_QUERY_VALUE = re.compile(r"""(?P<open>)(?:[^\s'"&#]|['"](?![\s,;:.)\]}>]|$))*+""")
_COOKIES = re.compile(r"""(?P<open>)[^\s'"][^\n'"]*+""")
_ELEMENT = re.compile(r"(?P<open>)[^<]++")
# A value after a bare colon may be prose. A word with letters and digits is none.
_TOKEN_LIKE = re.compile(r"""(?P<open>)(?=[^\s'"0-9]{0,64}+[0-9])(?=[^\s'"A-Za-z]{0,64}+[A-Za-z])[^\s'",;]{6,}+""")
# A list or an object as a value: {"tokens": ["a", "b"]}. A password without quotes may begin with a bracket as well.
_LIST = re.compile(rf"""[\[({{](?=(?P<first>\s*+(?:[a-z]{{0,2}}{_MARK}|[\[({{]))?)""", re.IGNORECASE)
_REST = re.compile(r"""[^\s'",;:.)\]}>&<]*+""")
_MASKED = re.compile(rf"""(?P<open>)(?:{re.escape(MASK)}|{re.escape(REDACTED)})(?=[\s'",;:.)\]}}>&<]|$)""")
_BRACKET = re.compile(rf"""{_QUOTED}(?P=mark)?|[\[\](){{}}]""", re.DOTALL)
_OPTION = re.compile(rf"""(?<![\w-])--(?P<name>[\w-]++)(?P<between>(?:{_MARK},)?[ \t]++)(?!-)""")
_PARAMETERS = re.compile(r"\[parameters: (?=[\[({])")
_ROW = re.compile(r"(Failing row contains )\([^\n]*+")
_ERROR_LOCATION = re.compile(rf"{_MARK}loc{_MARK}:")
_SIGNS = ("=", "%3", "</", ",")
"""Each pair of a name and a value has one of these, or a colon."""
_OTHER_NAMES = frozenset({
    "input_value=",  # pydantic repeats the input of a validation
    # Credentials in the queries of signed URLs and of SAML, whose names say so nowhere else.
    *("?sig", "?signature", "?x-amz-signature", "?x-goog-signature", "?samlresponse", "?assertion"),
})  # fmt: skip
_LONGEST_OTHER = 20


def masked(text: str, *, marker: str = MASK, names: SecretNames = SETTING_NAMES) -> str:
    """The text with every recognisable secret masked. Every outlet passes text through this function.

    Masked are the passwords of URLs, the values after the name of a secret (``token=...``, ``"password": "..."``), the
    credentials of an ``Authorization`` header, JSON Web Tokens, private keys, tokens with the prefix of a well-known
    issuer, and the data that errors of pydantic and of databases repeat. The time is linear in the length of the text.

    ``marker`` stands in place of a secret. ``names`` decide by the name in front of a value.

    >>> masked("can't reach postgresql://shop:hunter2@db/shop?sslpassword=x")
    "can't reach postgresql://shop:**********@db/shop?sslpassword=**********"
    """
    if "://" in text and "@" in text:
        text = _WORD.sub(lambda match: _mask_userinfo(match[0], marker), text)
    if names.hint.search(text.lower()) is None:
        return text
    if ":" in text:
        text = _mask_values(_mask_data_of_errors(text, marker), marker, names.is_secret)
    elif any(sign in text for sign in _SIGNS):
        text = _mask_values(text, marker, names.is_secret)
    if "--" in text:
        text = _mask_options(text, marker, names.is_secret)
    return mask_known_secrets(text, marker)


def masked_value(text: str, *, marker: str = MASK, names: SecretNames = SETTING_NAMES) -> str:
    """A text that is a value by itself, with every recognisable secret masked.

    Such a text may be a URL as a whole, whose password may hold blanks and quotes.

    >>> masked_value("postgresql://shop:correct horse@db/shop")
    'postgresql://shop:**********@db/shop'
    """
    if "://" in text and "@" in text and _URL.match(text):
        text = _mask_userinfo(text, marker)
    return masked(text, marker=marker, names=names)


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
    also_secret = _list_other_names(text)
    for match in _NAME.finditer(text):
        if match.start() < position or not _is_named_secret(text, match, is_secret, also_secret):
            continue
        start = match.end()
        opening = _LIST.match(text, start)
        value = _MASKED.match(text, start)
        if not value and opening and match["sign"] != "," and (match["quote"] or opening["first"]):
            kept += [text[position:start], marker]
            position = _find_end(text, start)
            continue
        value = value or _find_value(text, match)
        if value and value[0]:
            kept += [text[position:start], value["open"] or "", marker]
            position = value.end()
    return "".join([*kept, text[position:]]) if kept else text


def _list_other_names(text: str) -> frozenset[str]:
    """Names that hold a secret in a text of this kind, with the sign before or behind."""
    names = _OTHER_NAMES
    if "state=" in text:
        names |= {"?code"}  # the code with which a login ends stands beside the state (RFC 6749, section 4.1.2)
    if "loc" in text and _ERROR_LOCATION.search(text):
        names |= {"'input"}
    return names


def _is_named_secret(
    text: str, match: re.Match[str], is_secret: Callable[[str], bool], also_secret: frozenset[str]
) -> bool:
    """Whether a name with a value behind is the name of a secret."""
    name, sign = match["name"], match["sign"]
    before = text[max(match.start() - 1, 0) : match.start()]
    if sign == ",":
        # A pair of name and value: (b"authorization", b"Bearer ...").
        return match["quote"] is not None and _opens_pair(text, match.start()) and is_secret(name)
    if sign == ">":
        # An element of XML.
        return before in ("<", ":") and is_secret(name)
    if is_secret(name):
        return True
    if len(name) > _LONGEST_OTHER:
        return False
    if before in ("?", "&"):
        return f"?{name.lower()}" in also_secret
    return f"{name}{sign}" in also_secret or (match["quote"] is not None and f"'{name}" in also_secret)


def _opens_pair(text: str, start: int) -> bool:
    before = text[max(start - 12, 0) : start].rstrip("\\'\"")
    return before.rstrip("bBuUrR").rstrip().endswith(("(", "["))


def _find_value(text: str, match: re.Match[str]) -> re.Match[str] | None:
    """The value behind the name of a secret."""
    name, quote, sign = match["name"].lower(), match["quote"], match["sign"]
    if sign == ",":
        return _QUOTED_VALUE.match(text, match.end())
    if sign == ">":
        return _ELEMENT.match(text, match.end())
    if sign == ":" and not quote:
        if "cookie" in name:
            return _COOKIES.match(text, match.end())
        # Prose has bare colons, too ("token: expected text"). The name of a header has a hyphen.
        if "-" not in name and not name.endswith("authorization"):
            return _TOKEN_LIKE.match(text, match.end())
    in_query = text[max(match.start() - 1, 0) : match.start()] in ("?", "&")
    return (_QUERY_VALUE if in_query else _VALUE).match(text, match.end())


def _mask_options(text: str, marker: str, is_secret: Callable[[str], bool]) -> str:
    """Mask the value after each option of a command: ``--password x``, ``['--password', 'x']``."""
    kept: list[str] = []
    position = 0
    for match in _OPTION.finditer(text):
        if match.start() < position or not is_secret(match["name"]):
            continue
        value = _MASKED.match(text, match.end()) or _VALUE.match(text, match.end())
        if value and value[0]:
            kept += [text[position : match.end()], value["open"] or "", marker]
            position = value.end()
    return "".join([*kept, text[position:]]) if kept else text


def _mask_data_of_errors(text: str, marker: str) -> str:
    """Mask the parameters of a statement, as SQLAlchemy shows them, and the row that PostgreSQL shows."""
    if "[parameters: " in text:
        text = "".join(_mask_parameters(text, marker))
    if "Failing row contains (" in text:
        text = _ROW.sub(rf"\1{marker}", text)
    return text


def _mask_parameters(text: str, marker: str) -> Iterator[str]:
    position = 0
    for match in _PARAMETERS.finditer(text):
        if match.start() >= position:
            yield text[position : match.end()]
            yield marker
            position = _find_end(text, match.end())
    yield text[position:]


def _find_end(text: str, start: int) -> int:
    """The end of a list or an object at ``start``, with the rest of the word behind."""
    depth = 0
    for match in _BRACKET.finditer(text, start):
        if match[0] in tuple("[({"):
            depth += 1
        elif match[0] in tuple("])}"):
            depth -= 1
        if not depth:
            rest = _REST.match(text, match.end())
            return rest.end() if rest else match.end()
    return len(text)
