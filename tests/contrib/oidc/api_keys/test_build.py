"""The hasher that the settings describe."""

import pytest
from tests.contrib.oidc.api_keys.conftest import PEPPER

from bandmaster.contrib.oidc import ApiKeySettings
from bandmaster.contrib.oidc.api_keys.build import build_hasher

pytestmark = pytest.mark.anyio


def build(hasher, **settings):
    return build_hasher(ApiKeySettings(peppers={"2026": PEPPER}, hasher=hasher, **settings))


@pytest.mark.parametrize(
    ("chosen", "other", "begins"),
    [("hmac-sha256", "bcrypt", "hmac-sha256$2026$"), ("bcrypt", "hmac-sha256", "bcrypt$2026$$2b$12$")],
)
async def test_the_chosen_hasher_makes_hashes_and_both_verify(chosen, other, begins) -> None:
    """The setting decides how new keys are hashed, and doesn't end those that were hashed before it changed."""
    before, now = build(other), build(chosen)
    old, new = await before.hash("key"), await now.hash("key")
    assert new.startswith(begins)
    for stored, is_current in ((old, False), (new, True)):
        assert await now.verify("key", stored)
        assert not await now.verify("other", stored)
        assert is_current == now.is_current(stored)


async def test_the_cost_is_the_setting() -> None:
    """A higher cost makes new hashes, and counts those of a lower one as old."""
    low, high = build("bcrypt"), build("bcrypt", bcrypt_rounds=13)
    stored = await low.hash("key")
    assert (True, False) == (low.is_current(stored), high.is_current(stored))
    assert (await high.hash("key")).startswith("bcrypt$2026$$2b$13$")
