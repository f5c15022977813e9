"""The record of a key: fields and state."""

import pytest

from bandmaster.contrib.oidc import ApiKey, KeyState

ID = "0123456789abc"


def make(**fields):
    return ApiKey(**{"id": ID, "owner": "acme", "hash": "hmac-sha256$2026$00", "created_at": 100.0, **fields})


@pytest.mark.parametrize(
    ("fields", "now", "state"),
    [
        ({}, 1e12, KeyState.USABLE),
        ({"expires_at": 200.0}, 199.999999, KeyState.USABLE),
        ({"expires_at": 200.0}, 200.0, KeyState.EXPIRED),
        ({"expires_at": 200.0}, 201.0, KeyState.EXPIRED),
        ({"revoked_at": 300.0}, 100.0, KeyState.REVOKED),
        ({"revoked_at": 300.0, "expires_at": 200.0}, 400.0, KeyState.REVOKED),
        ({"revoked_at": 0.0}, 100.0, KeyState.REVOKED),
    ],
)
def test_the_state_of_a_key(fields, now, state) -> None:
    """A key ends at the time of its end, and a revoked key is refused at any time."""
    assert state is make(**fields).get_state(now)


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"id": "short"}, "id"),
        ({"id": "0123456789ab-"}, "id"),
        ({"id": "0123456789abcd"}, "id"),
        ({"owner": ""}, "owner"),
        ({"owner": " \t"}, "owner"),
        ({"owner": "x" * 256}, "owner"),
        ({"owner": "a\0b"}, "owner"),
        ({"owner": None}, "owner"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"scopes": "read"}, "scopes"),
        ({"scopes": {"a b"}}, "scopes"),
        ({"scopes": {""}}, "scopes"),
        ({"scopes": {'a"'}}, "scopes"),
        ({"scopes": {"a\\"}}, "scopes"),
        ({"scopes": {"é"}}, "scopes"),
        ({"created_at": float("nan")}, "created_at"),
        ({"expires_at": float("inf")}, "expires_at"),
    ],
)
def test_a_field_out_of_range_is_refused_by_name(fields, label) -> None:
    """A record that can't be stored or compared isn't made."""
    with pytest.raises(ValueError, match=label):
        make(**fields)


def test_a_record_shows_neither_key_nor_hash() -> None:
    """The repr has the id, and not the hash."""
    shown = repr(make(scopes=["read", "read"]))
    assert "hmac-sha256" not in shown
    assert ID in shown
    assert "frozenset({'read'})" in shown
    assert "hmac-sha256$2026" == make().hashed_with
