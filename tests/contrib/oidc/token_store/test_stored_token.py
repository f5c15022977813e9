"""Stored tokens validate themselves, and survive every round trip."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandmaster.contrib.oidc.principal import Principal
from bandmaster.contrib.oidc.token_store.stored_token import StoredToken, TokenExpired

BLANK = st.text(st.sampled_from(" \t\r\n\f\v\u00a0\u2003\u3000"), max_size=5)
TEXT = st.text(min_size=1, max_size=30).filter(str.strip)
ZONES = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
PAST = st.datetimes(*map(datetime.fromisoformat, ("1970-01-02", "2026-01-01")), timezones=ZONES)
FUTURE = st.datetimes(*map(datetime.fromisoformat, ("2100-01-02", "9000-01-01")), timezones=ZONES)


@st.composite
def stored_tokens(draw):
    """Every valid token."""
    return StoredToken(
        jti=draw(TEXT),
        user_id=draw(TEXT),
        issuer=draw(st.text(max_size=30)),
        created_at=draw(PAST | FUTURE.filter(lambda moment: moment.year < 2101)),
        expires_at=draw(FUTURE.filter(lambda moment: moment.year > 2102)),
        revoked=draw(st.booleans()),
    )


@pytest.mark.requirement("P-04")
@settings(max_examples=200)
@given(token=stored_tokens(), blank=BLANK, past=PAST, name=st.sampled_from(["jti", "user_id", "expires_at"]))
def test_p04_blank_ids_and_past_expiries_are_refused(token, blank, past, name):
    """P-04: blank ``jti`` or ``user_id`` and a past ``expires_at`` are refused, when made and when loaded."""
    wrong = past if name == "expires_at" else blank
    fields = {each: getattr(token, each) for each in ("jti", "user_id", "expires_at", "revoked", "issuer")}
    with pytest.raises(ValueError, match=name):
        StoredToken(**{**fields, "created_at": datetime(1970, 1, 1, tzinfo=UTC) - timedelta(days=1), name: wrong})
    stored = {
        **token.to_dict(),
        "created_at": "1969-12-01T00:00:00+00:00",
        name: past.isoformat() if wrong is past else blank,
    }
    with pytest.raises(ValueError, match=name):
        StoredToken.from_dict(stored)
    with pytest.raises(ValueError, match=name):
        StoredToken.from_json(json.dumps(stored))


@pytest.mark.requirement("P-05")
@settings(max_examples=200)
@given(token=stored_tokens())
def test_p05_round_trips_are_exact(token):
    """P-05: a token comes back equal from a dictionary and from JSON, to the microsecond."""
    assert token == StoredToken.from_dict(token.to_dict())
    assert token == StoredToken.from_json(token.to_json())
    assert token == StoredToken.from_json(token.to_json().encode())
    assert token.to_dict() == json.loads(token.to_json()) == StoredToken.from_json(token.to_json()).to_dict()


@pytest.mark.requirement("P-07")
@settings(max_examples=100)
@given(token=stored_tokens(), now=PAST | FUTURE)
def test_a_time_to_live_is_never_negative(token, now):
    """At any time, also long after the expiry."""
    left = token.seconds_left(now)
    assert left >= 0
    assert (left == 0) == (now >= token.expires_at)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"expires_at": datetime.fromisoformat("2100-01-01")}, "expires_at: expected a datetime with a time zone"),
        ({"created_at": "2026-01-01"}, "created_at: expected a datetime, got str"),
        ({"created_at": datetime(2200, 1, 1, tzinfo=UTC)}, "before created_at"),
        ({"created_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))}, "outside the years"),
        ({"jti": 3}, "jti"),
        ({"user_id": None}, "user_id"),
        ({"issuer": None}, "issuer"),
        ({"revoked": 1}, "revoked: expected True or False"),
    ],
)
def test_wrong_fields_are_refused(wrong, message):
    """By name."""
    fields = {
        "jti": "t",
        "user_id": "ada",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "expires_at": datetime(2100, 1, 1, tzinfo=UTC),
    }
    StoredToken(**fields)
    with pytest.raises(ValueError, match=message):
        StoredToken(**{**fields, **wrong})


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '"x"', "{", "\u00ff", "NaN", "[" * 99_999, '{"jti": "t"}', '{"jti": "t", "other": 1}']
)
def test_json_of_anything_else_is_refused(text):
    """With a ValueError in each case."""
    with pytest.raises(ValueError):
        StoredToken.from_json(text)


def test_unknown_and_missing_fields_are_refused():
    """A record of another version isn't half read, and the values aren't shown."""
    known = {
        "jti": "t",
        "user_id": "ada",
        "created_at": "2026-01-01T00:00:00+00:00",
        "expires_at": "2100-01-01T00:00:00+00:00",
    }
    assert StoredToken.from_dict(known) == StoredToken.from_dict({**known, "revoked": False, "issuer": ""})
    with pytest.raises(ValueError, match="1 unknown fields; expected"):
        StoredToken.from_dict({**known, "secret": "x"})
    with pytest.raises(ValueError, match="expires_at: missing"):
        StoredToken.from_dict({name: value for name, value in known.items() if name != "expires_at"})
    for wrong in (5, None, "yesterday", "2100-01-01T00:00:00"):
        with pytest.raises(ValueError, match="expires_at"):
            StoredToken.from_dict({**known, "expires_at": wrong})


def test_an_expired_token_is_told_apart():
    """Callers that load tokens may expect that."""
    with pytest.raises(TokenExpired):
        StoredToken(
            jti="t",
            user_id="ada",
            created_at=datetime(2020, 1, 1, tzinfo=UTC),
            expires_at=datetime(2020, 1, 2, tzinfo=UTC),
        )


def test_the_token_of_a_principal():
    """A token with an id and times is stored when the application first sees one."""
    principal = Principal(
        subject="ada", issuer="https://id.example", credential_id="t", issued_at=1.5, expires_at=4102444800
    )
    token = StoredToken.of(principal)
    assert ("t", "ada", "https://id.example") == (token.jti, token.user_id, token.issuer)
    assert (1.5, 4102444800) == (token.created_at.timestamp(), token.expires_at.timestamp())
    for missing in ({"credential_id": None}, {"issued_at": None}, {"expires_at": None}):
        values = {"subject": "ada", "credential_id": "t", "issued_at": 1.5, "expires_at": 4102444800, **missing}
        with pytest.raises(ValueError, match="principal"):
            StoredToken.of(Principal(**values))
