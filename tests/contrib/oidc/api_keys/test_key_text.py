"""The text of a key: parts, checksum, and junk that is refused."""

import math
import re
import string
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bandmaster.contrib.oidc.api_keys.key_text import (
    ALPHABET,
    add_checksum,
    encode_base62,
    find_id,
    generate_key,
    make_prefix,
    read_id,
)

PREFIX = "bmk_live_"
BASE62 = st.text(ALPHABET, min_size=56, max_size=56)
WORDS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=16)


def decode(text: str) -> int:
    """Base 62 as a reader of the format's description would decode a number."""
    number = 0
    for character in text:
        number = number * 62 + (string.digits + string.ascii_uppercase + string.ascii_lowercase).index(character)
    return number


@pytest.mark.requirement("AU-12")
def test_a_key_has_the_documented_form() -> None:
    """A key is the prefix, 13 characters of id, 43 of secret, and the CRC-32 of all that in 6 characters."""
    key = generate_key(PREFIX)
    assert re.fullmatch(r"bmk_live_[0-9A-Za-z]{13}[0-9A-Za-z]{43}[0-9A-Za-z]{6}", key)
    assert zlib.crc32(key[:-6].encode()) == decode(key[-6:])
    assert key[9:22] == read_id(key, PREFIX)


@pytest.mark.requirement("AU-12")
def test_a_secret_has_256_random_bits() -> None:
    """Every bit of the 256 is set in about half of the secrets, and no secret has more than 256 bits."""
    count = 800
    secrets = [decode(generate_key(PREFIX)[22:65]) for _ in range(count)]
    assert len(set(secrets)) == count
    assert max(secrets) < 2**256
    # Six standard deviations of a fair coin.
    tolerance = 6 * math.sqrt(count) / 2
    for bit in range(256):
        assert abs(sum(secret >> bit & 1 for secret in secrets) - count / 2) < tolerance, bit


def test_the_secret_comes_from_the_system(monkeypatch) -> None:
    """The secret is all 32 bytes of `secrets.token_bytes`."""
    asked = []

    def token_bytes(count):
        asked.append(count)
        return bytes(range(1, count + 1))

    monkeypatch.setattr("secrets.token_bytes", token_bytes)
    monkeypatch.setattr("secrets.randbelow", lambda limit: limit - 1)
    key = generate_key(PREFIX)
    assert [32] == asked
    assert int.from_bytes(bytes(range(1, 33)), "big") == decode(key[22:65])
    assert "z" * 13 == key[9:22]


@given(WORDS, WORDS, BASE62)
def test_every_well_formed_key_is_read(product: str, environment: str, body: str) -> None:
    """Whatever the id and the secret are, a text with the right checksum is a key with that id."""
    prefix = make_prefix(product, environment)
    assert body[:13] == read_id(add_checksum(prefix + body), prefix)


@given(st.integers(0, 70), st.characters(max_codepoint=0x2FF))
def test_one_changed_character_is_noticed(place: int, character: str) -> None:
    """A key in which any one character is another isn't a key: a CRC finds every burst of up to 32 bits."""
    key = add_checksum(PREFIX + "7" * 56)
    changed = key[:place] + character + key[place + 1 :]
    assert (read_id(changed, PREFIX) is None) == (changed != key)


@given(st.text(max_size=100) | st.binary(max_size=90).map(lambda junk: junk.decode("latin-1")))
@example("")
@example(PREFIX)
@example(PREFIX + "0" * 62)
@example(PREFIX + "²" * 62)
@example(PREFIX + "é" * 62)
@example(PREFIX + "-" * 62)
@example(add_checksum(PREFIX + "_" * 56))
@example(add_checksum(PREFIX + "0" * 55))
@example(add_checksum(PREFIX + "0" * 57))
@example(add_checksum("bmk_test_" + "0" * 56))
@example(add_checksum(PREFIX + "0" * 56) + "\n")
@example(" " + add_checksum(PREFIX + "0" * 56))
def test_junk_is_no_key(text: str) -> None:
    """Text of another form, and of another environment, is refused without an exception."""
    assert read_id(text, PREFIX) is None


@given(st.integers(0, 62**6 - 1))
def test_base62_is_what_it_says(number: int) -> None:
    """Numbers are written with the digits 0-9, A-Z and a-z, the most significant first, and zeros in front."""
    text = encode_base62(number, 6)
    assert (6, number) == (len(text), decode(text))


@pytest.mark.parametrize("number", [-1, 62**2])
def test_a_number_that_does_not_fit_is_refused(number: int) -> None:
    """No number is cut to the length."""
    with pytest.raises(ValueError, match="number: expected"):
        encode_base62(number, 2)


def test_an_id_is_found_in_a_whole_key() -> None:
    """Somebody who pastes a key where an id is wanted gets messages with the id, which is no secret."""
    key = generate_key("acme_test_")
    assert key[10:23] == find_id(key)
    assert key[10:23] == find_id(key[:-1])
    assert "0123456789abc" == find_id("0123456789abc")
    assert "nonsense" == find_id("nonsense")
