"""The places and the form of a request's token."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.contrib.oidc import InvalidRequestError
from bandmaster.contrib.oidc.access.bearer_token import check_form, find_credential, hide_token

TOKEN = "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl"
TEXT = "abcXYZ019-._~+/"


def http(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http", "headers": list(headers)}


def websocket(*subprotocols: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> dict[str, Any]:
    offer = (b"sec-websocket-protocol", ", ".join(subprotocols).encode())
    return {"type": "websocket", "headers": [*headers, offer], "subprotocols": list(subprotocols)}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
@pytest.mark.parametrize("space", [" ", "  "])
def test_the_authorization_header(scheme: str, space: str) -> None:
    """The scheme's name has no case (RFC 9110, section 11.1), and several spaces may follow."""
    found = find_credential(http((b"authorization", f"{scheme}{space}{TOKEN} ".encode())))
    assert (TOKEN, True, False) == (found.token, found.in_header, found.in_first_message)


@pytest.mark.parametrize("header", ["Basic dXNlcjpzZWNyZXQ=", "Digest username=ada", "Bearertoken", "", "DPoP abc"])
def test_other_schemes_are_left_to_others(header: str) -> None:
    """Another scheme is no bearer token, and no error."""
    assert find_credential(http((b"authorization", header.encode()))).token is None


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer a,b",
        'Bearer "a"',
        "Bearer a\tb",
        "Bearer =",
        "Bearer a=b",
        "Bearer ä",
    ],
)
def test_a_malformed_token(header: str) -> None:
    """A bearer header without a well-formed token is a malformed request, and not one without a token."""
    with pytest.raises(InvalidRequestError) as caught:
        find_credential(http((b"authorization", header.encode("latin-1"))))
    assert header.removeprefix("Bearer").strip() == "" or header[7:] not in str(caught.value)


@pytest.mark.parametrize("other", ["Bearer other", "Basic dXNlcg=="])
def test_several_headers(other: str) -> None:
    """Two Authorization headers are refused, whichever of them would be read."""
    with pytest.raises(InvalidRequestError, match="several Authorization headers"):
        find_credential(http((b"authorization", f"Bearer {TOKEN}".encode()), (b"authorization", other.encode())))


def test_the_query_is_not_searched() -> None:
    """A token in the query gets into logs, and isn't accepted (RFC 6750, section 5.3)."""
    scope = {**http(), "query_string": f"access_token={TOKEN}".encode()}
    assert find_credential(scope).token is None


def test_a_subprotocol_of_a_websocket() -> None:
    """Pages can't set headers of a WebSocket, so they offer the token as a subprotocol."""
    found = find_credential(websocket("bearer", f"bearer.{TOKEN}", "chat"))
    assert (TOKEN, False, False) == (found.token, found.in_header, found.in_first_message)


def test_the_first_message_of_a_websocket() -> None:
    """A page that offers the subprotocol alone sends the token as the first message."""
    found = find_credential(websocket("bearer"))
    assert (None, True) == (found.token, found.in_first_message)


def test_subprotocols_of_http_mean_nothing() -> None:
    """Only a WebSocket has subprotocols."""
    scope = {**websocket(f"bearer.{TOKEN}"), "type": "http"}
    assert find_credential(scope).token is None


def test_a_header_needs_no_first_message() -> None:
    """A program that offers the subprotocol, and has the header, is known at once."""
    found = find_credential(websocket("bearer", headers=((b"authorization", f"Bearer {TOKEN}".encode()),)))
    assert (TOKEN, False) == (found.token, found.in_first_message)


@pytest.mark.parametrize(
    ("subprotocols", "headers"),
    [
        ((f"bearer.{TOKEN}", "bearer.other"), ()),
        ((f"bearer.{TOKEN}", f"bearer.{TOKEN}"), ()),
        ((f"bearer.{TOKEN}",), ((b"authorization", f"Bearer {TOKEN}".encode()),)),
        (("bearer.",), ()),
    ],
)
def test_a_websocket_with_several_tokens_or_an_empty_one(subprotocols: Any, headers: Any) -> None:
    """More than one place is refused, also with the same token in both (RFC 6750, section 2)."""
    with pytest.raises(InvalidRequestError):
        find_credential(websocket(*subprotocols, headers=headers))


def test_hiding_the_token() -> None:
    """The app sees neither in the list nor in the header of subprotocols a token that could be sent back or logged."""
    scope = websocket("bearer", f"bearer.{TOKEN}", "chat")
    hide_token(scope)
    assert ["bearer", "chat"] == scope["subprotocols"]
    assert TOKEN.encode() not in b"".join(value for _, value in scope["headers"])
    assert (b"sec-websocket-protocol", b"bearer, chat") in scope["headers"]


def test_the_repr_hides_the_token() -> None:
    """A credential in a traceback or a log shows no token."""
    assert TOKEN not in repr(find_credential(http((b"authorization", f"Bearer {TOKEN}".encode()))))


@given(st.text(TEXT, min_size=1), st.integers(0, 3))
def test_every_well_formed_token_is_accepted(token: str, padding: int) -> None:
    """The characters of b64token (RFC 6750, section 2.1) pass unchanged."""
    padded = token + "=" * padding
    assert padded == find_credential(http((b"authorization", f"Bearer {padded}".encode()))).token


@given(st.text())
def test_no_other_text_is_a_token(text: str) -> None:
    """Any other character anywhere is refused."""
    body = text.rstrip("=")
    well_formed = bool(body) and all(sign in TEXT or (sign.isascii() and sign.isalnum()) for sign in body)
    if well_formed:
        assert check_form(text, "the header") == text
    else:
        with pytest.raises(InvalidRequestError):
            check_form(text, "the header")
