"""Laws of redaction: no secret survives, whatever it stands in, and nothing else is lost."""

import json
import string
from collections import ChainMap, OrderedDict, UserDict, UserList, deque
from dataclasses import make_dataclass
from functools import cache
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import attrs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretBytes, SecretStr, create_model

from bandmaster.kernel import REDACTED, Redactor
from bandmaster.kernel.logs import mask_fields
from bandmaster.kernel.redaction.masking import MASK
from bandmaster.kernel.redaction.redactor import redact_fields
from bandmaster.kernel.redaction.rules import Rules

REDACTOR = Redactor(patterns=["customer_ref", "tax*"])
KERNEL_RULES = Rules(marker=MASK, patterns=["customer_ref", "tax*"], max_depth=8, max_items=1000, max_text=100_000)
EXAMPLES = 2500
"""Each of four laws is tried with a quarter of 10 000 examples."""

SECRET_KEYS = [
    *["password", "db_password", "userPassword", "passwd", "PWD", "passphrase", "secret", "client-secret", "apiKey"],
    *["api_key", "X-Api-Key", "private_key", "access_token", "refreshToken", "tokens", "authorization", "credentials"],
    *["cookie", "Set-Cookie", "session_id", "jwt", "otp", "pin", "cvv", "card_number", "ssn", "iban", "customerRef"],
    *["customer_ref", "tax_number", "taxid", "Proxy-Authorization", "AWS_SECRET_ACCESS_KEY", "smtp_pass"],
]
FIELD_NAMES = [key for key in SECRET_KEYS if key.isidentifier()]
HARMLESS_KEYS = ["user", "compass", "token_count", "note", "items", "name", "session_name", "a b", "Straße", "", "x-y"]

# Letters that occur in no key and in no marker, so that a part of a secret is recognised wherever it stands.
secrets = st.text("QZXWJqzxwj0123456789", min_size=12, max_size=40).map(lambda text: f"Zq{text}Zq")
# A secret with the signs that passwords have, too.
passwords = st.builds(
    lambda parts: "Zq" + "Zq".join(parts) + "Zq",
    st.lists(st.text("QZXWqzxw0123456789!$%^*+~|ü", min_size=1, max_size=8), min_size=2, max_size=4),
)
harmless_texts = st.text(max_size=12).map(lambda text: text.replace("Z", "y"))
harmless = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=8), harmless_texts
)  # fmt: skip


class Plain:
    """A class whose text shows every attribute."""

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)

    def __repr__(self) -> str:
        return "Plain of " + " and ".join(map(str, vars(self).values()))


class Failure(Exception):
    """An exception whose text shows every attribute."""

    def __init__(self, **values: Any) -> None:
        super().__init__(*values.values())
        vars(self).update(values)


# Making a class takes longer than all the rest of an example.
@cache
def define(make, names):
    return make(names)


def make_attrs(**values):
    return define(define_attrs, tuple(values))(**values)


def define_attrs(names):
    return attrs.make_class("Attrs", names)


def make_named_tuple(**values):
    return define(define_named_tuple, tuple(values))(**values)


def define_named_tuple(names):
    return NamedTuple("Pair", [(name, Any) for name in names])


def make_model(**values):
    return define(define_model, tuple(values))(**values)


def define_model(names):
    return create_model("Model", **dict.fromkeys(names, (Any, ...)))


def make_data(**values):
    return define(define_data, tuple(values))(**values)


def define_data(names):
    return make_dataclass("Data", names)


MAPPINGS = [dict, OrderedDict, UserDict, ChainMap, MappingProxyType]
OBJECTS = [make_data, make_model, make_attrs, make_named_tuple, SimpleNamespace, Plain, Failure]
SEQUENCES = [list, tuple, deque, UserList, lambda values: {1: values}.values()]
TEXTS = [
    "postgresql://kim:{}@db:5432/shop",
    "redis://:{}@cache/0 is away",
    "https://{}@host/x",
    "GET /x?access_token={}&y=1",
    "GET /x?y=1&api_key={}#z",
    "connect(password='{}', user='kim')",
    '{{"user": "kim", "password": "{}"}}',
    '{{"event": "{{\\"token\\": \\"{}\\"}}"}}',
    "{{'tokens': ['a', '{}'], 'b': 1}}",
    "Authorization: Bearer {}",
    "authorization: Basic {}",
    "[(b'authorization', b'Bearer {}'), (b'host', b'x')]",
    "X-Api-Key: {}",
    "Set-Cookie: session={}; Path=/",
    "['mysql', '--password', '{}']",
    "mysql --password {} --silent",
    "customer_ref={}",
    "<password>{}</password>",
    "api_key: {}",
    "(type=int_parsing, input_value='{}', input_type=str)",
    "[SQL: INSERT]\n[parameters: ('{}', 1)]",
    "DETAIL:  Failing row contains (1, {}).",
]


def as_bytes(text):
    return text.encode()


def make_mapping(make, key, value, more):
    return make({**more, key: value})


def make_object(make, key, value):
    return make(**{key: value, "user": "kim"})


keys = st.sampled_from(SECRET_KEYS)
values_under_keys = st.one_of(
    secrets,
    passwords,
    passwords.map(as_bytes),
    st.lists(passwords, min_size=1),
    st.dictionaries(secrets, secrets, min_size=1),
)
more_items = st.dictionaries(st.sampled_from(HARMLESS_KEYS), harmless, max_size=3)
under_key = st.one_of(
    st.builds(make_mapping, st.sampled_from(MAPPINGS), keys, values_under_keys, more_items),
    st.builds(make_object, st.sampled_from(OBJECTS), st.sampled_from(FIELD_NAMES), values_under_keys),
    st.builds(lambda key, value: (key, value), keys, values_under_keys),
    st.builds(lambda key, value: {"name": key, "value": value}, keys, values_under_keys),
    st.builds(lambda key, value: ["run", f"--{key}", value], keys, values_under_keys),
)
in_text = st.builds(str.format, st.sampled_from(TEXTS), secrets)
by_type = st.one_of(secrets.map(SecretStr), secrets.map(lambda text: SecretBytes(text.encode())))
texts = st.one_of(in_text, in_text.map(as_bytes), in_text.map(ValueError), in_text.map(lambda text: {text: 1}))
planted = st.one_of(under_key, by_type, texts)


def put_into(inner):
    """A container around values, of any kind."""
    lists = st.lists(inner, min_size=1, max_size=3)
    dicts = st.dictionaries(st.sampled_from(HARMLESS_KEYS), inner, min_size=1, max_size=3)
    return st.one_of(
        st.builds(lambda make, values: make(values), st.sampled_from(SEQUENCES), lists),
        st.builds(lambda make, values: make(values), st.sampled_from(MAPPINGS), dicts),
        st.builds(lambda make, value: make(data=value), st.sampled_from(OBJECTS[:5]), inner),
    )


anywhere = st.recursive(planted, put_into, max_leaves=6)


def check(value, plain):
    """No part of a secret is in the result, which is data for JSON."""
    text = json.dumps(plain, allow_nan=False, ensure_ascii=False)
    assert orjson.loads(orjson.dumps(plain)) == plain
    assert "Zq" not in text, (value, text)


@pytest.mark.requirement("P-13", "OB-12", "OBS-L2")
@given(anywhere)
@settings(max_examples=EXAMPLES)
def test_no_secret_survives_anywhere(value):
    """A secret under a key, in a text or of a secret type is found in containers and objects at any depth."""
    check(value, REDACTOR.redact(value))


@pytest.mark.requirement("P-13")
@given(st.dictionaries(st.sampled_from(HARMLESS_KEYS), anywhere, max_size=3), st.sampled_from(SECRET_KEYS), passwords)
@settings(max_examples=EXAMPLES)
def test_no_secret_survives_in_an_event(event, key, secret):
    """An event with fields loses its secrets and keeps its keys."""
    event[key] = secret
    plain = REDACTOR.redact_mapping(event)
    check(event, plain)
    assert set(event) == set(plain)
    assert REDACTED == plain[key]


@pytest.mark.requirement("P-13", "OBS-L2")
@given(
    st.lists(st.one_of(in_text, st.text(string.printable.replace("Z", "").replace("q", ""), max_size=20)), max_size=5)
)
@settings(max_examples=EXAMPLES)
def test_no_secret_survives_in_texts_on_lines(lines):
    """Secrets in a text of several lines are found, between other text."""
    text = REDACTOR.redact_text("\n".join(lines))
    assert "Zq" not in text, text
    assert REDACTOR.redact_text(text) == text


@pytest.mark.requirement("P-13", "AU-17")
@given(anywhere, st.sampled_from(SECRET_KEYS[:20]), passwords)
@settings(max_examples=EXAMPLES)
def test_no_secret_survives_in_the_kernels_logs(value, key, secret):
    """The fields of the kernel's own events go through the same redaction."""
    fields = redact_fields({"data": {"data": value, "password": "Zq"}, key: secret}, KERNEL_RULES)
    assert "Zq" not in str(fields), fields


plain_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False),
        st.text(string.ascii_lowercase.replace("k", "") + " .äß", max_size=12),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(HARMLESS_KEYS), inner, max_size=4)
    ),
    max_leaves=10,
)  # fmt: skip


@given(plain_values)
@settings(max_examples=1000)
def test_plain_data_without_secrets_stays_as_it_is(value):
    """Data for JSON without secrets comes through unchanged, and the kernel's fields are the same objects."""
    if not has_pair(value):
        assert value == REDACTOR.redact(value)
        assert mask_fields({"field": value})["field"] is value


def has_pair(value):
    """Whether some text or list may be taken for a secret after all."""
    return any(hint in json.dumps(value) for hint in ("pass", "pin", "otp", "ssn", "sid", "auth", "jwt"))


@given(anywhere)
@settings(max_examples=300)
def test_redacting_twice_changes_nothing(value):
    """The redaction of redacted data is the same data."""
    once = REDACTOR.redact(value)
    assert once == REDACTOR.redact(once)
