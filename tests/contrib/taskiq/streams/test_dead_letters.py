"""The dead letters of a leased stream."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contrib.taskiq.streams.helpers import PREFIX, message, take, text_of
from tests.contrib.taskiq.timing import PATIENCE

from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetter, Holding, Reason, reset_attempts
from bandmaster.contrib.taskiq.message_labels import ATTEMPT, FAILURES
from bandmaster.contrib.taskiq.streams import LeasedStreamOptions, StreamDeadLetters

DIED = datetime(2025, 3, 4, 5, 6, 7, 89000, tzinfo=UTC)


def letter(text="hello", **fields):
    usual = {
        "id": "",
        "task": "module:task",
        "task_id": f"id of {text}",
        "reason": Reason.EXHAUSTED,
        "detail": "ValueError: é",
        "deliveries": 2,
        "died_at": DIED,
        "data": message(text).message,
        "history": (Holding("one", DIED - timedelta(seconds=9)), Holding("two", DIED)),
    }
    return DeadLetter(**{**usual, **fields})


@pytest.fixture
async def letters(raw):
    """The dead letters of a queue, without a broker."""
    async with raw() as client:
        yield StreamDeadLetters(client, LeasedStreamOptions(prefix=PREFIX))


@pytest.mark.anyio
async def test_an_added_letter(letters) -> None:
    """An added dead letter is read unchanged by its new id."""
    with anyio.fail_after(PATIENCE):
        added = await letters.add(letter(data=b"\xff\x00"))
        assert await letters.get(added) == letter(data=b"\xff\x00", id=added)
        assert await letters.count() == 1
        for other in ("0-1", "nonsense", "", "1-1\r\n"):
            assert await letters.get(other) is None


@pytest.mark.anyio
async def test_pages(letters) -> None:
    """Pages are sorted by age, oldest first, and contain each letter once."""
    with anyio.fail_after(PATIENCE):
        ids = [await letters.add(letter(number)) for number in range(7)]
        first = await letters.page(limit=4)
        second = await letters.page(after=first[-1].id, limit=4)
        assert [one.id for one in (*first, *second)] == ids
        assert await letters.page(after=ids[-1]) == []
        for wrong in ({"limit": 0}, {"after": "nonsense"}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                await letters.page(**wrong)


@pytest.mark.anyio
async def test_replay(letters, worker) -> None:
    """Replayed letters are new messages without attempts; unknown ids are ignored."""
    with anyio.fail_after(PATIENCE):
        async with worker() as broker:
            data = json.dumps({"args": ["b"], "labels": {ATTEMPT: "3", FAILURES: "[]", "kept": "1"}}).encode()
            one, two, three = [await letters.add(letter(*args)) for args in (["a"], ["b"], ["c"])][:3]
            two = await letters.add(letter("b", data=data))
            assert await letters.replay([two, one, two, "0-1", "nonsense"]) == [two, one]
            assert three in [left.id for left in await letters.page()]
            deliveries = await take(broker, 2)
            assert sorted(map(text_of, deliveries)) == ["a", "b"]
            assert json.loads(deliveries[0].data)["labels"] == {"kept": "1"}
            assert {delivery.handle.deliveries for delivery in deliveries} == {1}


@pytest.mark.anyio
async def test_two_replays(letters, worker) -> None:
    """Two concurrent replays send each letter once."""
    with anyio.fail_after(PATIENCE):
        async with worker() as broker:
            ids = [await letters.add(letter(number)) for number in range(250)]
            one, two = await asyncio.gather(letters.replay(), broker.dead_letters.replay())
            assert sorted(one + two) == sorted(ids)
            depth = await broker.depth()
            assert (depth.waiting, depth.dead) == (250, 0)


@pytest.mark.anyio
async def test_a_replay_without_letters(letters) -> None:
    """A replay without letters sends nothing."""
    assert await letters.replay() == []
    assert await letters.replay([]) == []


@pytest.mark.anyio
async def test_purge(letters) -> None:
    """Letters are deleted by id, by age, by both, or all."""
    with anyio.fail_after(PATIENCE):
        old, new, other = [await letters.add(letter(died_at=DIED + timedelta(days=days))) for days in (-1, 1, 2)]
        assert await letters.purge([new, "0-1", new], before=DIED) == 0
        assert await letters.purge(before=DIED) == 1
        assert await letters.get(old) is None
        assert await letters.purge([new, "0-1", new]) == 1
        assert await letters.purge([]) == 0
        assert [one.id for one in await letters.page()] == [other]
        assert await letters.purge() == 1
        assert await letters.purge() == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
LABELS = st.dictionaries(st.sampled_from([ATTEMPT, FAILURES, "other", "delay"]) | st.text(max_size=3), JSON)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=3), LABELS, LABELS)
def test_attempts_are_reset(rest, labels, types) -> None:
    """The labels of attempts are removed, and nothing else."""
    data = json.dumps({**rest, "labels": labels, "labels_types": types}).encode()
    stripped = json.loads(reset_attempts(data))
    forgotten = {ATTEMPT, FAILURES}
    assert stripped == {
        **rest,
        "labels": {name: value for name, value in labels.items() if name not in forgotten},
        "labels_types": {name: value for name, value in types.items() if name not in forgotten},
    }
    assert reset_attempts(json.dumps(stripped).encode()) == json.dumps(stripped).encode()


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_message_without_attempts_is_not_changed(data) -> None:
    """Messages without attempts, and bytes that aren't messages, stay unchanged."""
    assert reset_attempts(data) == data


def test_a_message_that_cannot_be_parsed_is_not_changed() -> None:
    """JSON that is nested too deeply stays unchanged."""
    assert reset_attempts(b"[" * 100_000) == b"[" * 100_000
