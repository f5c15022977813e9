"""Encryption with several keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from tests.contrib.oidc.sessions.conftest import make_cipher

from bandmaster.contrib.oidc.sessions.cipher import Cipher, UndecipherableError
from bandmaster.contrib.oidc.sessions.records import load_session


@given(plain=st.binary(), place=st.text(st.characters(codec="utf-8")))
def test_decrypting_reverts_encrypting(plain, place):
    """For all data, and all places."""
    cipher = make_cipher()
    assert plain == cipher.decrypt(cipher.encrypt(plain, place), place)


def test_a_text_belongs_to_its_place_key_and_purpose():
    """Elsewhere, with another key, or for another purpose the text is refused."""
    text = make_cipher(a="a" * 40).encrypt(b"x", "here")
    with pytest.raises(UndecipherableError, match="belongs elsewhere"):
        make_cipher(a="a" * 40).decrypt(text, "there")
    with pytest.raises(UndecipherableError, match="another key"):
        make_cipher(a="b" * 40).decrypt(text, "here")
    with pytest.raises(UndecipherableError, match="another key"):
        make_cipher("another", a="a" * 40).decrypt(text, "here")
    with pytest.raises(UndecipherableError, match="isn't among the keys"):
        make_cipher(b="a" * 40).decrypt(text, "here")


def test_the_id_of_a_key_is_bound_to_the_text():
    """A text can't be passed off as one of another key, even if both keys are the same."""
    cipher = make_cipher(a="a" * 40, b="a" * 40)
    text = cipher.encrypt(b"x", "here")
    assert text.startswith("a.")
    with pytest.raises(UndecipherableError):
        cipher.decrypt(f"b.{text[2:]}", "here")


def test_without_a_key_nothing_can_be_encrypted():
    """An empty mapping is a mistake in the settings."""
    with pytest.raises(ValueError, match="keys"):
        Cipher({}, "x")


def test_keys_are_not_in_its_text():
    """Only their ids are."""
    cipher = Cipher({"first": SecretStr("secret" * 10)}, "x")
    assert "<Cipher for x with the keys first>" == repr(cipher)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'"x"', b"null", b"\xff", b'{"v":2}', b'{"v":1}', b'{"v":1,"id":"a","unknown":1}', b"[" * 9999],
)
def test_what_is_no_session_is_a_value_error(data):
    """Whatever the bytes are: another version, another shape, or junk."""
    with pytest.raises(ValueError):
        load_session(data)
