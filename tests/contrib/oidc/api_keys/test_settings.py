"""Settings of API keys: peppers by id, and values that need an extra."""

import pytest
from pydantic import ValidationError

from bandmaster.contrib.oidc import ApiKeySettings

LONG = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"


def read(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return ApiKeySettings()


@pytest.mark.requirement("CA-50")
def test_peppers_keep_their_order(monkeypatch) -> None:
    """The first pepper of the text is the one that makes new hashes; a secret may end in = signs."""
    found = read(monkeypatch, AUTH_API_KEY_PEPPERS=f" 2026-b = {LONG}==, 2025={OTHER},")
    assert [("2026-b", f"{LONG}=="), ("2025", OTHER)] == [
        (name, pepper.get_secret_value()) for name, pepper in found.peppers.items()
    ]
    assert found.is_enabled


def test_json_is_read_as_well(monkeypatch) -> None:
    """A JSON object means the same, as for other mappings."""
    found = read(monkeypatch, AUTH_API_KEY_PEPPERS=f'{{"b": "{LONG}", "a": "{OTHER}"}}')
    assert ["b", "a"] == list(found.peppers)


def test_without_peppers_there_are_no_keys(monkeypatch) -> None:
    """API keys are off by default, and an empty variable sets nothing."""
    assert not ApiKeySettings().is_enabled
    assert not read(monkeypatch, AUTH_API_KEY_PEPPERS="").is_enabled


@pytest.mark.requirement("AU-17")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LONG, "entry 1 has another form"),
        (f"a={LONG},{OTHER}", "entry 2 has another form"),
        (f"a={LONG},b=", "entry 2 has another form"),
        (f"={LONG}", "entry 1 has another form"),
        (f"a={LONG},a={OTHER}", "the id of entry 2 is given twice"),
        (f"a={LONG},b={OTHER[:-1]}", "entry 2 is shorter than 32 characters"),
        (f"a$b={LONG}", "the id of entry 1 isn't made of"),
        (f"ä={LONG}", "the id of entry 1 isn't made of"),
        (f"{'a' * 33}={LONG}", "the id of entry 1 isn't made of"),
        (f"a={LONG},b={LONG}", "one secret stands under several ids"),
        (f'{{"a": "{LONG}"', "EOF while parsing"),
    ],
)
def test_a_mistake_is_found_without_showing_a_pepper(monkeypatch, text, message) -> None:
    """The error names an entry by number, since any part of the text may be a secret."""
    with pytest.raises(ValidationError, match="peppers") as caught:
        read(monkeypatch, AUTH_API_KEY_PEPPERS=text)
    assert message in str(caught.value)
    assert LONG not in str(caught.value)
    assert OTHER[:-1] not in str(caught.value)


@pytest.mark.requirement("AU-3")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bcrypt_rounds", 11),
        ("bcrypt_rounds", 32),
        ("bcrypt_threads", 0),
        ("bcrypt_cache", -1),
        ("prefix", "bmk_"),
        ("prefix", ""),
        ("environment", "li ve"),
        ("header", "X API"),
        ("header", "Authorization"),
        ("header", "Cookie"),
        ("store", "file"),
        ("hasher", "sha256"),
        ("rotation_grace", -1),
        ("rotation_grace", float("inf")),
        ("rotation_grace", 1e12),
        ("last_used_interval", 0.5),
    ],
)
def test_values_out_of_range_are_refused(field, value) -> None:
    """No setting weakens a key or a hash."""
    with pytest.raises(ValidationError, match=field):
        ApiKeySettings(**{field: value})


@pytest.mark.parametrize(("field", "value"), [("store", "sql"), ("hasher", "bcrypt")])
def test_a_missing_extra_is_named(monkeypatch, field, value) -> None:
    """A value that needs an extra says so when the settings are read."""
    ApiKeySettings(**{field: value})
    monkeypatch.setattr("bandmaster.contrib.oidc.extras.has_extra", lambda name: name != value)
    with pytest.raises(ValidationError) as caught:
        ApiKeySettings(**{field: value})
    assert f"'{value}' needs an extra: pip install 'bandmaster-oidc[{value}]'" in str(caught.value)
