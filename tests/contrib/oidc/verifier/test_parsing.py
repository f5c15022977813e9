"""The parts of a token, before anything is verified."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contrib.oidc.verifier.issuer import encode, make_token

from bandmaster.contrib.oidc import InvalidTokenError
from bandmaster.contrib.oidc.tokens.parsing import _parse_kept, parse_message, parse_token

HEADER = encode({"alg": "ES256", "kid": "one"})
SIGNATURE = encode(b"x" * 64)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "doesn't have the three parts"),
        ("a.b", "doesn't have the three parts"),
        (f"{HEADER}.e30.{SIGNATURE}.e30", "doesn't have the three parts"),
        (f"{HEADER}.e30.x.y.z", "doesn't have the three parts"),
        (f"{HEADER}.e30.", "isn't signed"),
        (f"{HEADER}.e3.{SIGNATURE}", "payload isn't base64url"),
        (f"{HEADER}.e30.{SIGNATURE}=", "signature isn't base64url"),
        (f"e30.e30.{SIGNATURE}", "names no algorithm"),
        (f"{HEADER}.{encode(b'[]')}.{SIGNATURE}", "payload isn't a JSON object"),
        ("é" * 10, "beyond ASCII"),
        ("x" * 10_001, "more than 10000 bytes"),
    ],
)
def test_a_malformed_token_is_refused_with_a_reason_for_the_log(token, message):
    """Each reason names the part, and repeats nothing of the part."""
    with pytest.raises(InvalidTokenError, match=message):
        parse_token(token, 10_000)


@given(
    st.text(max_size=80)
    | st.lists(st.binary(max_size=40), min_size=2, max_size=4).map(lambda all_: ".".join(map(encode, all_)))
)
def test_arbitrary_text_raises_nothing_else(text):
    """Text is a token, or raises an InvalidTokenError."""
    try:
        parse_token(text, 1000)
    except InvalidTokenError as error:
        assert len(str(error)) < 200


@pytest.mark.parametrize("size", [100, 900, 3000])
def test_headers_of_any_size_are_read_alike(size):
    """Small headers are kept parsed, and large ones, such as those with certificates, aren't."""
    token = make_token(header={"x5c": ["x" * size], "typ": "application/AT+JWT"})
    for _ in range(2):
        header = parse_message(token, 10_000).header
        assert ("ES256", "one", "at+jwt") == (header.algorithm, header.kid, header.type)


def test_large_headers_are_not_kept():
    """A header may hold certificates, and many of them would fill the memory."""
    token = make_token(header={"x5c": ["x" * 3000]})
    before = _parse_kept.cache_info().currsize, _parse_kept.cache_info().misses
    parse_message(token, 10_000)
    assert before == (_parse_kept.cache_info().currsize, _parse_kept.cache_info().misses)


@pytest.mark.parametrize(("size", "holds"), [(512, True), (513, False)])
def test_the_length_of_a_key_id(size, holds):
    """Key ids are kept, and go into logs."""
    token = make_token(kid="k" * size)
    if holds:
        assert "k" * size == parse_message(token, 10_000).header.kid
    else:
        with pytest.raises(InvalidTokenError, match="key id that isn't a short text"):
            parse_message(token, 10_000)


def test_the_text_of_a_parsed_token_shows_nothing_of_the_token():
    """Neither claims nor signature are in the text of the object."""
    token = make_token(sub="alice-in-the-log")
    text = repr(parse_token(token, 10_000))
    assert "alice" not in text
    assert token.split(".")[1] not in text
