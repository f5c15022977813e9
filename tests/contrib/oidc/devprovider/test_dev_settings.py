"""Settings of the provider for development."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bandmaster.contrib.oidc import DevProviderSettings
from bandmaster.contrib.oidc.devprovider.component import is_wanted


def test_there_is_none_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a setting of its own switches the provider on."""
    monkeypatch.delenv("AUTH_DEV_PROVIDER", raising=False)
    assert not is_wanted(DevProviderSettings())


def test_users_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a subject, and may have scopes and claims."""
    monkeypatch.setenv("AUTH_DEV_PROVIDER", "http://localhost:9000")
    monkeypatch.setenv(
        "AUTH_DEV_PROVIDER_USERS", '[{"subject": "eve", "scopes": ["read"], "claims": {"groups": ["a"]}}]'
    )
    settings = DevProviderSettings()
    (eve,) = settings.dev_provider_users
    assert ("eve", ("read",), {"groups": ("a",)}) == (eve.subject, eve.scopes, eve.claims)
    assert is_wanted(settings)


@pytest.mark.parametrize(
    "address",
    [
        "http://192.168.1.2:8001",
        "http://0.0.0.0:8001",
        "http://provider.example:8001",
        "https://127.0.0.1:8001",
        "http://127.0.0.1",
        "http://127.0.0.1:0",
        "http://127.0.0.1:8001/",
        "http://127.0.0.1:8001/realm",
        "127.0.0.1:8001",
        "http://127.0.0.1:port",
        "true",
    ],
)
def test_the_address_is_one_of_this_machine(address: str) -> None:
    """Other machines must not reach the provider, and the address is the issuer to the letter."""
    with pytest.raises(ValidationError, match="dev_provider"):
        DevProviderSettings(dev_provider=address)


@pytest.mark.parametrize(
    "users", ["[]", '[{"subject": ""}]', '[{"subject": "a"}, {"subject": "a"}]', '[{"name": "a"}]']
)
def test_users_must_be_told_apart(users: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least one, each with a subject of its own."""
    monkeypatch.setenv("AUTH_DEV_PROVIDER_USERS", users)
    with pytest.raises(ValidationError, match="dev_provider_users"):
        DevProviderSettings()
