"""Which names hold secrets: of settings and variables, and of the keys of data."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

_SECRET_WORDS = re.compile(
    r"(?:password|passwd|pwd|passphrase|secret|token|credential|authorization"
    r"|(?:api|access|private|signing|secret|encryption)[_-]?key)s?(?![a-z])"
    r"|(?:password|passwd|pass|pw)[_-]?hash(?:es)?(?![a-z])"
    r"|(?:^|[^a-z])pass$"
)
# Names that hold such a word, but only describe a secret: token_url, password_min_length, max_tokens, token_expires_at.
_ABOUT_SECRETS = re.compile(
    r"^(?:max|min|num|has|is|use|require|allow)[_-]|[_-]per[_-]"
    r"|[_-](?:url|uri|endpoint|path|file|dir|name|type|kind|method|header|algorithm|ttl|timeout|seconds|length|size"
    r"|count|limit|at|age|expiry|expired|expires(?:[_-]in)?|issuer|audience|scopes?|policy|strength|required|enabled"
    r"|changed|version|status|provider|usage|budget|prefix)$"
    r"|(?:key|token)[_-]id$"
    # The figures of language models.
    r"|^(?:\w+[_-])?(?:prompt|completion|input|output|cached|reasoning|total|used|remaining)[_-]tokens$"
)
# Names that are secrets as the keys of data. As settings, most of them name something else: the cookie's name.
_SECRET_KEYS = re.compile(
    r"(?:^|_)(?:cookies?|jwts?|t?otp|passcode|cvv2?|cvc2?|ssn|ibans?|session_?(?:id|key)|sessid|credit_?card|card_?number"
    r"|social_security_number|passport_number|code_verifier|(?:client|saml)_assertion|saml_?response|basic_auth"
    r"|proxy_auth|http_auth|recovery_codes?|backup_codes?|csrf|xsrf|connection_string)$"
    r"|^(?:auth|pin|card_pin|user_pin|sid|phpsessid|jsessionid|card_?no)$"
)
# Each name of a secret has one of these in lower case, and so has each text that `known_secrets` masks. The letters are
# factored out, because that makes the search several times faster.
_HINTS = (
    r"p(?:ass|w|in|arameters|ypi)|s(?:ecret|es|sn|i[dg]|aml|k[-_]|g\.|hpat)|token|c(?:redential|ookie|v[vc]|ard|ode"
    r"|srf|onnection)|auth|key|jwt|otp|iban|xsrf|verifier|a(?:ssertion|kia|sia|iza)|input|recovery|b(?:ackup|earer|asic"
    r"|mk_)|security|eyj|-----begin|rk_|g(?:h|lpat)|xox|whsec|hf_|npm_|dop_|ya29|failing"
)
_NEW_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BETWEEN_WORDS = re.compile(r"[\W_]+")


class SecretNames(NamedTuple):
    """Decides which names in a text hold a secret."""

    is_secret: Callable[[str], bool]
    hint: re.Pattern[str]
    """Found in the lower case of every text with a secret that the text itself shows, passwords of URLs aside."""


def make_secret_names(is_secret: Callable[[str], bool], more_hints: tuple[str, ...] = ()) -> SecretNames:
    """The names for which a function is true. ``more_hints`` are found in names that `is_secret_key` doesn't know."""
    return SecretNames(is_secret, re.compile("|".join([_HINTS, *map(re.escape, more_hints)])))


def split_words(name: str) -> str:
    """The words of a name in lower case with ``_`` between: ``db_password`` for ``dbPassword`` and ``DB-PASSWORD``."""
    return _BETWEEN_WORDS.sub("_", _NEW_WORD.sub("_", name)).strip("_").lower()


def is_secret_name(name: str) -> bool:
    """Whether a variable, a field or a key of this name holds a secret: ``db_password``, ``apiKey``, ``TOKENS``."""
    words = _NEW_WORD.sub("_", name).lower()
    return bool(_SECRET_WORDS.search(words)) and not _ABOUT_SECRETS.search(words)


def is_secret_key(key: str) -> bool:
    """Whether a key of data holds a secret: a name of a secret, of a cookie, a session id, a card or a person."""
    return is_secret_name(key) or _SECRET_KEYS.search(split_words(key)) is not None


SETTING_NAMES = make_secret_names(is_secret_name)
