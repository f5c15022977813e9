"""Rotate keys, and end the old ones."""

import anyio
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from tests.contrib.oidc.api_keys.conftest import PEPPER
from tests.contrib.oidc.api_keys.keys import create
from tests.contrib.oidc.clock import Clock

from bandmaster.contrib.oidc import (
    ApiKeyError,
    ApiKeys,
    ApiKeySettings,
    HmacSha256Hasher,
    MemoryApiKeyStore,
)
from bandmaster.contrib.oidc.errors import InvalidTokenError

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CA-52")
async def test_both_keys_work_before_the_deadline_and_the_old_one_ends_at_it(keys, clock) -> None:
    """A rotation with a grace causes no outage, and ends the old key exactly at the deadline."""
    old, record = await create(keys, name="ci", scopes=["read"])
    made = await keys.rotate(record.id, grace=30)
    new = made.key.get_secret_value()
    assert ("acme", "ci", {"read"}, None) == (
        made.record.owner,
        made.record.name,
        made.record.scopes,
        made.record.expires_at,
    )
    assert made.record.id == (await keys.get(record.id)).replaced_by
    clock.advance(29.999)
    principals = [await keys.verify(old), await keys.verify(new)]
    assert [record.id, made.record.id] == [each.credential_id for each in principals]
    clock.advance(0.001)
    with pytest.raises(InvalidTokenError, match=f"was rotated to '{made.record.id}', and its grace is over"):
        await keys.verify(old)
    await keys.verify(new)


@pytest.mark.requirement("CA-52")
async def test_without_a_grace_the_old_key_ends_at_once(keys, clock) -> None:
    """For a leaked key: refused at the same instant, also by a process whose clock is behind."""
    old, record = await create(keys)
    new = (await keys.rotate(record.id, grace=0)).key.get_secret_value()
    for seconds in (0, -60):
        clock.advance(seconds)
        with pytest.raises(InvalidTokenError, match="was revoked"):
            await keys.verify(old)
        await keys.verify(new)


@pytest.mark.requirement("CA-52")
async def test_the_grace_is_a_setting(keys, clock) -> None:
    """Without an argument the setting counts; a key that was to expire earlier isn't prolonged."""
    old, record = await create(keys)
    brief, brief_record = await create(keys, expires_in=10)
    await keys.rotate(record.id)
    renewed = await keys.rotate(brief_record.id)
    assert clock.now + 10 == renewed.record.expires_at, "as long as the old one was meant to live"
    clock.advance(10)
    with pytest.raises(InvalidTokenError):
        await keys.verify(brief)
    clock.advance(89.999)
    await keys.verify(old)
    clock.advance(0.001)
    with pytest.raises(InvalidTokenError):
        await keys.verify(old)


async def test_a_successor_lives_as_long_from_now(keys, clock) -> None:
    """A key for 100 seconds is replaced by one for 100 seconds, unless the caller says."""
    _, record = await create(keys, expires_in=100)
    clock.advance(60)
    second = (await keys.rotate(record.id)).record
    assert clock.now + 100 == second.expires_at
    third = (await keys.rotate(second.id, expires_in=5)).record
    assert clock.now + 5 == third.expires_at


async def test_a_leaked_key_in_its_grace_can_be_ended(keys) -> None:
    """`revoke` ends the old key of a rotation at once; the new one stays."""
    old, record = await create(keys)
    made = await keys.rotate(record.id, grace=1000)
    await keys.revoke(record.id)
    with pytest.raises(InvalidTokenError, match="was revoked"):
        await keys.verify(old)
    await keys.verify(made.key.get_secret_value())


async def test_a_key_is_rotated_once(keys, clock) -> None:
    """A second rotation would leave a third key that nobody uses: the error names the successor."""
    _, record = await create(keys)
    made = await keys.rotate(record.id)
    with pytest.raises(ApiKeyError, match=f"was rotated already, to '{made.record.id}'"):
        await keys.rotate(record.id)
    assert 2 == len(await keys.list())


async def test_what_has_ended_is_not_rotated(keys, clock) -> None:
    """Neither a revoked nor an expired key gets a successor, and an unknown one is named."""
    _, revoked = await create(keys)
    _, brief = await create(keys, expires_in=1)
    await keys.revoke(revoked.id)
    clock.advance(1)
    with pytest.raises(ApiKeyError, match="was revoked; create a new one"):
        await keys.rotate(revoked.id)
    with pytest.raises(ApiKeyError, match="has expired; create a new one"):
        await keys.rotate(brief.id)
    for call in (keys.rotate("0" * 13), keys.revoke("0" * 13)):
        with pytest.raises(ApiKeyError, match="there is no API key '0000000000000'"):
            await call


async def test_of_concurrent_rotations_one_succeeds(keys) -> None:
    """The others get an error, and nobody gets a key that isn't stored."""
    _, record = await create(keys)
    made, errors = [], []

    async def rotate():
        try:
            made.append(await keys.rotate(record.id))
        except ApiKeyError as error:
            errors.append(str(error))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(rotate)
    assert (1, 9) == (len(made), len(errors))
    assert all("was rotated already" in error for error in errors)
    await keys.verify(made[0].key.get_secret_value())


async def test_arguments_of_rotation_and_revocation_are_checked(keys) -> None:
    """A whole key in place of an id isn't repeated, and a negative grace is refused."""
    key, record = await create(keys)
    for call in (keys.revoke(key), keys.rotate(key), keys.get(key)):
        with pytest.raises(ValueError, match="key_id: expected the id of a key") as caught:
            await call
        assert key not in str(caught.value)
    for grace in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="grace: expected"):
            await keys.rotate(record.id, grace=grace)
    with pytest.raises(ValueError, match="expires_in"):
        await keys.rotate(record.id, expires_in=0)
    assert (await keys.get(record.id)).replaced_by is None


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["create", "rotate", "revoke", "wait"]), st.integers(0, 5), st.integers(0, 60)),
    max_size=25,
)


@pytest.mark.requirement("CA-52")
@hypothesis_settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
async def test_a_key_is_accepted_exactly_while_it_should_be(actions) -> None:
    """Against a model: after any history each key is accepted if, and only if, the end lies in the future."""
    clock = Clock()
    settings = ApiKeySettings(peppers={"2026": SecretStr(PEPPER)})
    keys = ApiKeys(MemoryApiKeyStore(), HmacSha256Hasher(settings.peppers), settings, clock=clock)
    ends: dict[str, float | None] = {}
    texts: dict[str, str] = {}
    rotated: set[str] = set()

    def note(made):
        ends[made.record.id] = made.record.expires_at
        texts[made.record.id] = made.key.get_secret_value()

    for action, place, seconds in actions:
        if action == "create":
            note(await keys.create("acme", expires_in=seconds or None))
        elif action == "wait":
            clock.advance(seconds)
        elif ends:
            key_id = list(ends)[place % len(ends)]
            usable = ends[key_id] is None or ends[key_id] > clock.now
            if action == "revoke":
                await keys.revoke(key_id)
                ends[key_id] = min(clock.now, ends[key_id] or clock.now)
            elif usable and key_id not in rotated:
                note(await keys.rotate(key_id, grace=seconds))
                rotated.add(key_id)
                deadline = clock.now + seconds
                ends[key_id] = deadline if ends[key_id] is None else min(deadline, ends[key_id])
            else:
                with pytest.raises(ApiKeyError):
                    await keys.rotate(key_id, grace=seconds)
    for key_id, end in ends.items():
        if end is None or end > clock.now:
            assert key_id == (await keys.verify(texts[key_id])).credential_id
        else:
            with pytest.raises(InvalidTokenError):
                await keys.verify(texts[key_id])
