"""JSON that is parsed strictly."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.contrib.oidc.strict_json import parse_object

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_whatever_the_standard_library_writes_is_read_back(value):
    """Objects without duplicates are read as they were."""
    assert value == parse_object(json.dumps(value).encode())
    assert value == parse_object(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_nothing_else(data):
    """Bytes are an object, or raise a ValueError whose message repeats nothing of them."""
    try:
        parse_object(data)
    except ValueError as error:
        assert str(error) in ("isn't JSON in UTF-8", "isn't a JSON object") or str(error).startswith("has ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 1}', "has a key twice"),
        ('{"a": {"b": 1, "\\u0062": 2}}', "has a key twice"),
        ('{"a": NaN}', "has NaN"),
        ('{"a": -Infinity}', "has Infinity"),
        ('{"a": 1e999}', "beyond all bounds"),
        ('{"a": "\\udc00"}', "half of a surrogate pair"),
        ('{"\\ud800": 1}', "half of a surrogate pair"),
        ("[]", "isn't a JSON object"),
        ("", "isn't JSON"),
        ("{} {}", "isn't JSON"),
        ('{"a":' * 100_000, "isn't JSON"),
        (f'{{"a": {"9" * 5000}}}', "isn't JSON"),
    ],
)
def test_what_parsers_read_differently_is_refused(text, message):
    """Duplicate keys, numbers that JSON doesn't have, and too much nesting raise."""
    with pytest.raises(ValueError, match=message):
        parse_object(text.encode())


def test_pairs_of_surrogates_are_read():
    """An emoji may be written as an escape."""
    assert {"a": "\U0001f600"} == parse_object(b'{"a": "\\ud83d\\ude00"}')
