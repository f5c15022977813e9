"""HMAC-SHA256 with peppers."""

import hashlib
import hmac

import pytest
from pydantic import SecretStr
from tests.contrib.oidc.api_keys.conftest import OLD_PEPPER, PEPPER

from bandmaster.contrib.oidc import ApiKeyError, BcryptHasher, HmacSha256Hasher, KeyHashers
from bandmaster.contrib.oidc.api_keys.hashers import NoHasher, describe_missing

pytestmark = pytest.mark.anyio

NEW = {"2026": SecretStr(PEPPER)}
BOTH = {"2026": SecretStr(PEPPER), "2025": SecretStr(OLD_PEPPER)}
OLD = {"2025": SecretStr(OLD_PEPPER)}


@pytest.mark.requirement("AU-3")
async def test_a_hash_is_the_hmac_of_the_whole_key() -> None:
    """The stored text names the algorithm and the pepper, and has the HMAC-SHA256 in hexadecimal."""
    digest = hmac.new(PEPPER.encode(), b"bmk_live_abc", hashlib.sha256).hexdigest()
    assert f"hmac-sha256$2026${digest}" == await HmacSha256Hasher(BOTH).hash("bmk_live_abc")


@pytest.mark.requirement("AU-3")
async def test_a_key_belongs_to_its_own_hash_only() -> None:
    """Neither another key nor a changed hash verifies."""
    hasher = HmacSha256Hasher(NEW)
    stored = await hasher.hash("one")
    assert await hasher.verify("one", stored)
    assert not await hasher.verify("two", stored)
    assert not await hasher.verify("one", stored[:-1] + ("0" if stored[-1] != "0" else "1"))
    assert not await hasher.verify("one", stored[:-1])
    assert not await hasher.verify("one", stored + "0")
    assert not await hasher.verify("one", "hmac-sha256$2026$")


@pytest.mark.requirement("AU-7")
async def test_hashes_are_compared_in_constant_time(monkeypatch) -> None:
    """`hmac.compare_digest` alone decides, with two digests of the same length; also where no key has the id."""
    compared = []

    def compare(one, other):
        compared.append((one, other))
        return True

    monkeypatch.setattr("hmac.compare_digest", compare)
    hasher = HmacSha256Hasher(NEW)
    stored = await hasher.hash("one")
    assert await hasher.verify("two", stored), "another comparison has decided"
    await hasher.verify_nothing("two")
    assert [(64, 64), (64, 64)] == [(len(one), len(other)) for one, other in compared]
    assert stored.endswith(compared[0][1])
    assert compared[0][0] == compared[1][0], "as much is computed for an unknown id"


@pytest.mark.requirement("CA-50")
async def test_the_first_pepper_makes_hashes_and_older_ones_verify() -> None:
    """A hash of an older pepper verifies, and counts as one to be replaced."""
    before, now = HmacSha256Hasher(OLD), HmacSha256Hasher(BOTH)
    stored = await before.hash("key")
    assert stored.startswith("hmac-sha256$2025$")
    assert await now.verify("key", stored)
    assert (True, False) == (now.can_verify(stored), now.is_current(stored))
    renewed = await now.hash("key")
    assert (True, True) == (now.can_verify(renewed), now.is_current(renewed))
    assert not await now.verify("other", stored)


@pytest.mark.requirement("CA-50")
async def test_without_its_pepper_a_hash_verifies_nothing() -> None:
    """Once the pepper is removed the key is dead, and the reason names the pepper."""
    stored = await HmacSha256Hasher(OLD).hash("key")
    now = HmacSha256Hasher(NEW)
    assert not await now.verify("key", stored)
    assert not now.can_verify(stored)
    assert "'2025', which isn't configured here" in describe_missing(now, stored)
    assert "" == describe_missing(now, await now.hash("key"))


async def test_a_pepper_of_another_id_does_not_help() -> None:
    """The id of the pepper decides which one is used, not the order."""
    stored = await HmacSha256Hasher(OLD).hash("key")
    wrong = HmacSha256Hasher({"2025": SecretStr(PEPPER), "2026": SecretStr(OLD_PEPPER)})
    assert not await wrong.verify("key", stored)


async def test_the_ids_of_peppers_do_not_match_by_their_beginning() -> None:
    """A hash of the pepper 2 isn't one of the pepper 20."""
    hasher = HmacSha256Hasher({"20": SecretStr(PEPPER), "2": SecretStr(OLD_PEPPER)})
    two = HmacSha256Hasher({"2": SecretStr(OLD_PEPPER)})
    assert not hasher.is_current(await two.hash("key"))
    assert not two.is_current(await hasher.hash("key"))


async def test_an_algorithm_that_is_not_known_is_not_verified() -> None:
    """A hash of another algorithm isn't read as one of this."""
    hasher = HmacSha256Hasher(NEW)
    stored = (await hasher.hash("key")).replace("hmac-sha256", "hmac-md5")
    assert not await hasher.verify("key", stored)
    assert not hasher.can_verify(stored)
    assert not hasher.is_current(stored)


@pytest.mark.parametrize("stored", ["", "abc", "$", "$$", "hmac-sha256", "hmac-sha256$2026", "bcrypt$2026", "bcrypt"])
async def test_what_is_no_hash_verifies_nothing(stored) -> None:
    """A broken row refuses the key, and doesn't fail the request in another way."""
    for hasher in (HmacSha256Hasher(NEW), BcryptHasher(NEW), KeyHashers(HmacSha256Hasher(NEW), BcryptHasher(NEW))):
        assert not await hasher.verify("key", stored)
        assert not hasher.can_verify(stored)
        assert not hasher.is_current(stored)
        assert "isn't configured here" in describe_missing(hasher, stored)


async def test_several_hashers_verify_each_their_own() -> None:
    """The first makes new hashes; those of the others verify until they are replaced."""
    first, second = HmacSha256Hasher(NEW), HmacSha256Hasher(OLD)
    both = KeyHashers(first, second)
    old = await second.hash("key")
    assert await both.verify("key", old)
    assert not await both.verify("other", old)
    assert (True, False) == (both.can_verify(old), both.is_current(old))
    new = await both.hash("key")
    assert new == await first.hash("key")
    assert await both.verify("key", new)
    assert not await both.verify("other", new)
    assert (True, True) == (both.can_verify(new), both.is_current(new))
    assert not both.can_verify("bcrypt$2026$x")
    assert not await both.verify("key", "bcrypt$2026$x")


async def test_a_hasher_needs_a_pepper() -> None:
    """Without a pepper no hasher is made; the one for commands that need none refuses to hash."""
    with pytest.raises(ValueError, match="peppers: expected at least one"):
        HmacSha256Hasher({})
    nothing = NoHasher()
    with pytest.raises(ApiKeyError, match="no pepper"):
        await nothing.hash("key")
    stored = await HmacSha256Hasher(NEW).hash("key")
    assert (False, False, False) == (
        await nothing.verify("key", stored),
        nothing.can_verify(stored),
        nothing.is_current(stored),
    )
