"""Tests of bandmaster.kernel.redaction.redactor."""

import collections
import copy
import datetime
import decimal
import enum
import ipaddress
import json
import pathlib
import threading
import time
import types
import uuid
from dataclasses import dataclass, field
from typing import NamedTuple

import attrs
import orjson
import pytest
from pydantic import BaseModel, ConfigDict, Field, PostgresDsn, SecretBytes, SecretStr, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from bandmaster.kernel import REDACTED, PlainValue, Redactor

SECRET = "hunter2hunter3"
URL = f"postgresql://app:{SECRET}@db/shop"


class Level(enum.Enum):
    HIGH = "high"
    URL = URL


class Login(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str = "kim"
    password: str = SECRET
    key: SecretStr = SecretStr(SECRET)
    note: str = Field(SECRET, repr=False)
    hidden: str = Field(SECRET, exclude=True)


@dataclass
class Account:
    name: str = "kim"
    api_key: str = SECRET
    note: str = field(default=SECRET, repr=False)
    login: Login = field(default_factory=Login)


@attrs.define
class Order:
    number: int = 1
    token: str = SECRET
    note: str = attrs.field(default=SECRET, repr=False)


class Pair(NamedTuple):
    user: str = "kim"
    passphrase: str = SECRET


class Slotted:
    __slots__ = ("password", "user")

    def __init__(self):
        self.user, self.password = "kim", SECRET

    def __repr__(self):
        return f"<{self.user} with {self.password}>"


class Client:
    def __init__(self):
        self.user, self.token = "kim", SecretStr(SECRET)

    def __str__(self):
        return "unlike the repr"

    def __repr__(self):
        return f"Client({self.user}, {self.token.get_secret_value()!r})"


class LoginError(Exception):
    def __init__(self, message, password):
        super().__init__(message)
        self.password = password


class Broken:
    def __repr__(self):
        raise RuntimeError(SECRET)


class BrokenMapping(dict):
    def items(self):
        raise RuntimeError(SECRET)


class Text(str):
    __slots__ = ()

    def __str__(self):
        return SECRET


def make_validation_error():
    class Form(BaseModel):
        size: int

    try:
        Form(size=SECRET)
    except ValidationError as error:
        return error


def redact(value, **options):
    """The value as a redactor shows it, checked to be plain data for JSON; the input must not change."""
    plain = Redactor(**options).redact(value)
    assert plain == orjson.loads(orjson.dumps(plain))
    assert plain == json.loads(json.dumps(plain, allow_nan=False))
    return plain


@pytest.mark.requirement("P-13", "OB-12")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"password": SECRET, "user": "kim"}, {"password": REDACTED, "user": "kim"}),
        ({"a": [{"b": ({"dbPassword": SECRET},)}]}, {"a": [{"b": [{"dbPassword": REDACTED}]}]}),
        ({"token": {"deep": SECRET}, "secrets": [SECRET]}, {"token": REDACTED, "secrets": REDACTED}),
        ({"pin": 1234, "password": 0}, {"pin": REDACTED, "password": REDACTED}),
        ({"password": None, "token": "", "auth": False}, {"password": None, "token": "", "auth": False}),
        ({b"password": SECRET, "user": b"kim"}, {"password": REDACTED, "user": "kim"}),
        ({Level.HIGH: Level.HIGH, 1: None, None: 1}, {"high": "high", "1": None, "None": 1}),
        (Level.URL, f"postgresql://app:{REDACTED}@db/shop"),
        ({"url": URL}, {"url": f"postgresql://app:{REDACTED}@db/shop"}),
        ({URL: 1}, {f"postgresql://app:{REDACTED}@db/shop": 1}),
        (URL.encode(), f"postgresql://app:{REDACTED}@db/shop"),
        (bytearray(b"token=" + SECRET.encode()), f"token={REDACTED}"),
        (memoryview(b"token=" + SECRET.encode()), f"token={REDACTED}"),
        (b"\x00\xff" * 8, "<16 bytes>"),
        (f"password={SECRET}".encode("utf-16"), f"<{2 + 2 * len('password=' + SECRET)} bytes>"),
        ([SecretStr(SECRET), SecretBytes(b"x")], [REDACTED, REDACTED]),
        (PostgresDsn(URL), f"PostgresDsn('postgresql://app:{REDACTED}@db/shop')"),
        (Login(), {"name": "kim", **dict.fromkeys(["password", "key", "note", "hidden"], REDACTED)}),
        (Login(csrf="x", more="y").model_extra, {"csrf": REDACTED, "more": "y"}),
        (Order(), {"number": 1, "token": REDACTED, "note": REDACTED}),
        (Pair(), {"user": "kim", "passphrase": REDACTED}),
        (Slotted(), f"<kim with {REDACTED}>"),
        (Client(), f"Client(kim, '{REDACTED}')"),
        (types.SimpleNamespace(user="kim", password="x y"), {"user": "kim", "password": REDACTED}),
        (LookupError(URL), f"LookupError: postgresql://app:{REDACTED}@db/shop"),
        (LookupError(), "LookupError"),
        (KeyError({"password": "a b"}), f"KeyError: {{'password': '{REDACTED}'}}"),
        (LoginError(f"{SECRET} is wrong", SECRET), f"LoginError: {REDACTED} is wrong"),
        (
            ExceptionGroup("two", [ValueError(f"token={SECRET}"), OSError("b")]),
            f"ExceptionGroup: two (2 sub-exceptions): ValueError: token={REDACTED} OSError: b",
        ),
        ([("authorization", SECRET), (b"cookie", SECRET)], [["authorization", REDACTED], ["cookie", REDACTED]]),
        (["mysql", "--password", SECRET, "-v"], ["mysql", "--password", REDACTED, "-v"]),
        ([{"name": "password", "value": SECRET}], [{"name": "password", "value": REDACTED}]),
        ({"loc": ["body", "password"], "input": SECRET}, {"loc": ["body", "password"], "input": REDACTED}),
        ({"value": SECRET, "input": SECRET}, {"value": SECRET, "input": SECRET}),
        (collections.OrderedDict(password=SECRET), {"password": REDACTED}),
        (collections.ChainMap({"password": SECRET}, {"a": 1}), {"a": 1, "password": REDACTED}),
        (collections.deque([URL]), [f"postgresql://app:{REDACTED}@db/shop"]),
        ({URL: 1}.keys(), [f"postgresql://app:{REDACTED}@db/shop"]),
        ({1: URL}.values(), [f"postgresql://app:{REDACTED}@db/shop"]),
        ({"password": SECRET}.items(), [["password", REDACTED]]),
        (frozenset({1}), [1]),
        (range(3), [0, 1, 2]),
        (types.MappingProxyType({"password": SECRET}), {"password": REDACTED}),
        (datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC), "2026-11-29T00:00:00+00:00"),
        (datetime.date(2026, 11, 29), "2026-11-29"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.50"), "1.50"),
        (pathlib.Path("/a/b"), "/a/b"),
        (ipaddress.ip_address("127.0.0.1"), "127.0.0.1"),
        ([2**64 - 1, -(2**63), 2**64, 10**700], [2**64 - 1, -(2**63), "18446744073709551616", "<2326 bits>"]),
        ([float("nan"), float("inf"), 1.5], ["nan", "inf", 1.5]),
        (["\ud800", "ä", "\x00"], ["\\ud800", "ä", "\x00"]),
        ({"\ud800": 1}, {"\\ud800": 1}),
        (Text("plain"), "plain"),
        (Login, "<class 'tests.kernel.redaction.test_redactor.Login'>"),
        (BrokenMapping(a=1), "[UNREADABLE]"),
        ({"a": Broken(), "b": 1}, {"a": "[UNREADABLE]", "b": 1}),
    ],
)  # fmt: skip
def test_values_become_plain_data_without_secrets(value, expected):
    """A value of any kind becomes plain data; whatever has the name or the form of a secret is replaced."""
    assert expected == redact(value)


@pytest.mark.requirement("P-13")
def test_models_inside_models():
    """The fields of dataclasses and models are named, at any depth, and more fields of a model as well."""
    shown = redact(Account(login=Login(csrf="x", more=URL)))
    assert {"name", "api_key", "note", "login"} == set(shown)
    assert {"name", "password", "key", "note", "hidden", "csrf", "more"} == set(shown["login"])
    assert SECRET not in json.dumps(shown)


def test_a_dataclass_of_pydantic():
    """A dataclass that pydantic validates is one."""

    @pydantic_dataclass
    class Card:
        holder: str
        cvv: int

    assert {"holder": "kim", "cvv": REDACTED} == redact(Card("kim", 123))


def test_a_dataclass_that_is_half_made():
    """A field that has no value yet is left out."""
    account = Account.__new__(Account)
    assert {"name": "kim", "api_key": REDACTED, "note": REDACTED} == redact(account)


def test_the_error_of_a_validation_repeats_no_input():
    """The text of pydantic's error has the input, which may be a password in a field of any name."""
    assert SECRET not in redact(make_validation_error())
    assert SECRET not in json.dumps(redact(make_validation_error().errors()[0] | {"loc": ("body", "password")}))


def test_a_secret_that_is_too_short_to_be_found():
    """Where a secret attribute is a few characters long, the text of the object is left out."""
    shop = Slotted()
    shop.password = "ab"
    assert "<Slotted>" == redact(shop)
    shop.password = ""
    assert "<kim with >" == redact(shop)


@pytest.mark.requirement("P-13")
def test_cycles_end():
    """A value that contains itself ends where it begins again; a value that only occurs twice is shown twice."""
    ring = {"name": "ring", "password": SECRET}
    ring["self"] = ring
    ring["list"] = [ring]
    twice = ["a"]
    assert {"name": "ring", "password": REDACTED, "self": "[CYCLE]", "list": ["[CYCLE]"]} == redact(ring)
    assert {"name": "ring", "password": REDACTED, "self": "[CYCLE]", "list": ["[CYCLE]"]} == Redactor().redact_mapping(
        ring
    )
    assert [["a"], ["a"]] == redact([twice, twice])
    group = ExceptionGroup("g", [ValueError("x")])
    assert "ExceptionGroup" in redact(group)


@pytest.mark.requirement("P-13")
def test_depth_is_bounded_and_nothing_passes_through():
    """Below the greatest depth stands the marker, not the value."""
    assert {"a": {"b": "[TRUNCATED]"}} == redact({"a": {"b": {"c": URL}}}, max_depth=2)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert 9 == str(redact(deep)).count("[")


def test_the_number_of_items_is_bounded():
    """Further items are cut, in mappings, in lists and in all of them together."""
    assert {"a": 1, "b": 2, "[TRUNCATED]": "[TRUNCATED]"} == redact({"a": 1, "b": 2, "c": 3}, max_items=2)
    assert [1, 2, "[TRUNCATED]"] == redact([1, 2, 3], max_items=2)
    assert [1, 2, 3] == redact([1, 2, 3], max_items=3)
    wide = [0] * 100
    for _ in range(7):
        wide = [wide] * 100
    began = time.process_time()
    assert len(orjson.dumps(redact(wide))) < 200_000
    assert time.process_time() - began < 5  # all of them are 10**16


def test_a_field_after_a_large_one_is_shown():
    """A value that uses up the number of items hides only containers behind it."""
    shown = redact({"large": [[0] * 100] * 100, "request_id": "abc", "password": SECRET, "list": [1]})
    assert ("abc", REDACTED, "[TRUNCATED]") == (shown["request_id"], shown["password"], shown["list"])


def test_the_length_of_a_text_is_bounded():
    """The middle of a long text is cut: of a traceback, the end says most."""
    (text,) = redact(["a" * 500 + "b" * 500], max_text=300)
    assert "a" * 200 + "[TRUNCATED]" + "b" * 100 == text
    assert 8192 + len("[TRUNCATED]") == len(redact("x" * 100_000))


@pytest.mark.parametrize("length", [0, 10, 60, 90, 100, 101, 700, 790, 799, 800, 801, 900, 5000])
@pytest.mark.parametrize(
    "secret",
    [URL, f"password='{SECRET}'", f"token={SECRET}", f"Bearer {SECRET}{SECRET}", f'{{"tokens": ["{SECRET}"]}}'],
)
def test_a_cut_leaves_no_half_of_a_secret(length, secret):
    """A text is cut after the secrets in it were replaced."""
    for text in ("x " * (length // 2) + secret + " y" * 1000, "x " * (length // 2) + secret):
        assert SECRET[:7] not in redact(text, max_text=100)


def test_long_texts_are_bounded_together():
    """Once all texts together are too long, further ones are left out, and short ones are shown."""
    shown = redact([*(["x" * 8000] * 90), "short"], max_text=8192)
    assert ("[TRUNCATED]", "short") == (shown[-2], shown[-1])
    assert len(orjson.dumps(shown)) < 25 * 8192


def test_own_patterns():
    """A pattern is matched against whole words of a key, in any style of writing, in data and in text."""
    redactor = Redactor(patterns=["customer_ref", "acct*", "*Mail", "größe"])
    secret = [
        "customerRef",
        "customer-ref",
        "NEW_CUSTOMER_REF",
        "customer refs",
        "acct",
        "acctNo",
        "accounts_acctnumber",
    ]
    harmless = ["customer", "ref", "customer_reference", "subacct", "mailbox", "customer_new_ref"]
    assert [] == [key for key in [*secret, "email", "user_email", "mail", "größe"] if not redactor.is_secret(key)]
    assert [] == [key for key in harmless if redactor.is_secret(key)]
    assert {"customerRef": REDACTED, "text": f"x, customer_ref={REDACTED}"} == redactor.redact(
        {"customerRef": 5, "text": "x, customer_ref=5"}
    )


@pytest.mark.requirement("OBS-L11")
def test_the_marker_is_constant_with_own_patterns():
    """The marker doesn't quote the text that a pattern has found."""
    shown = redact({"iban_de": SECRET, "text": f"iban={SECRET}"}, patterns=["iban*"])
    assert {"iban_de": REDACTED, "text": f"iban={REDACTED}"} == shown


@pytest.mark.requirement("OBS-L11")
def test_exempt_keys():
    """One key is exempt in any style of writing; others, and secrets in the text below, are still replaced."""
    redactor = Redactor(exempt=["session_id"], patterns=["session_id"])
    shown = redactor.redact({"sessionId": "abc", "SESSION-ID": URL, "my_session_id": "x", "text": "session_id=abc1234"})
    expected = {"sessionId": "abc", "SESSION-ID": f"postgresql://app:{REDACTED}@db/shop", "my_session_id": REDACTED}
    assert {**expected, "text": "session_id=abc1234"} == shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patterns": ["ok", "-"]}, "the pattern '-' has no word"),
        ({"patterns": ["*"]}, r"the pattern '\*' has no word"),
        ({"patterns": ["a*b*c*"]}, "more than 2 stars"),
        ({"exempt": [""]}, "the exempt key '' has no word"),
        ({"patterns": "iban"}, "lists of texts"),
        ({"exempt": "iban"}, "lists of texts"),
        ({"max_depth": 0}, "max_depth is 0: it must be between 1 and 50"),
        ({"max_items": 0}, "max_items is 0"),
        ({"max_text": 15}, "max_text is 15"),
    ],
)
def test_mistakes_in_the_rules(options, message):
    """A rule that hides everything or nothing, or a bound out of its range, is refused."""
    with pytest.raises(ValueError, match=message):
        Redactor(**options)


def test_the_input_stays_as_it_is():
    """No value is changed, and an iterator isn't consumed."""
    value = {"password": SECRET, "list": [{"token": SECRET}], "iterator": iter([1, 2])}
    before = copy.deepcopy({name: inner for name, inner in value.items() if name != "iterator"})
    redact(value)
    assert [1, 2] == list(value.pop("iterator"))
    assert before == value


def test_a_mapping_that_another_thread_changes():
    """A dict that grows and shrinks meanwhile gives a result each time."""
    shared = {}
    ended = threading.Event()

    def change():
        while not ended.is_set():
            shared.update(dict.fromkeys(range(50), "x"))
            shared.clear()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        results = [Redactor().redact({"shared": shared})["shared"] for _ in range(2000)]
    finally:
        ended.set()
        thread.join()
    assert {dict, str} >= {type(result) for result in results}


def test_one_redactor_in_several_threads():
    """Threads share a redactor, and the memory of keys is bounded."""
    redactor = Redactor()
    failures = []

    def work(number):
        for index in range(3000):
            shown = redactor.redact_mapping({f"key{number}_{index}": "x", f"password{number}_{index}": SECRET})
            if SECRET in str(shown):
                failures.append(shown)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == failures
    assert len(redactor._rules.keys) <= 4100


def test_redact_text_cuts_nothing():
    """A text of any length stays whole, apart from the secrets."""
    text = Redactor().redact_text("a b" * 100_000 + f" cookie: {SECRET}; b=c")
    assert (300_000 + len(f" cookie: {REDACTED}"), True) == (len(text), text.endswith(REDACTED))


def test_nothing_fails_for_lack_of_stack():
    """Deep in a recursion the result may be a marker, but no error."""

    def descend():
        try:
            return descend()
        except RecursionError:
            return Redactor().redact({"password": SECRET, "a": [URL]})

    assert SECRET not in str(descend())


@pytest.mark.parametrize(
    "value",
    [
        [{"a" * 50: "b" * 8000}] * 1000,
        ["password=" * 1000] * 100,
        {"://" * 100 + str(number): "a://b:@" * 1000 for number in range(100)},
        "a" * 10_000_000,
        b"token=" * 1_000_000,
        ValueError("token, '" * 1_000_000),
    ],
    ids=["texts", "passwords", "urls", "long", "bytes", "error"],
)
def test_the_time_is_bounded(value):
    """Large values take a time that their bounds limit."""
    began = time.process_time()
    Redactor().redact(value)
    assert time.process_time() - began < 5


def test_the_type_of_a_plain_value():
    """What a redactor returns can be annotated."""
    plain: PlainValue = Redactor().redact(None)
    assert plain is None
