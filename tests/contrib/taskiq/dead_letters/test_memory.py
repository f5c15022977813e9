"""Dead letters in memory."""

from datetime import UTC, datetime, timedelta

import pytest

from bandmaster.contrib.taskiq import DeadLetter, Reason
from bandmaster.contrib.taskiq.dead_letters.memory import MOST_LETTERS, MemoryDeadLetters

pytestmark = pytest.mark.anyio


NOW = datetime(2026, 7, 1, tzinfo=UTC)


def _letter(text="a", died_at=NOW):
    return DeadLetter(
        id="",
        task="t",
        task_id=text,
        reason=Reason.POISON,
        detail="",
        deliveries=3,
        died_at=died_at,
        data=text.encode(),
    )


async def test_letters_come_in_pages():
    """Pages of dead letters are sorted by age, oldest first."""
    letters = MemoryDeadLetters()
    ids = [await letters.add(_letter(str(number))) for number in range(5)]
    assert ids[:2] == [letter.id for letter in await letters.page(limit=2)]
    assert ids[2:4] == [letter.id for letter in await letters.page(after=ids[1], limit=2)]
    assert [] == await letters.page(after=ids[-1])
    assert ("3", 5) == ((await letters.get(ids[3])).task_id, await letters.count())
    assert None is await letters.get("99")


async def test_letters_are_purged():
    """Dead letters are deleted by id, by age, or all."""
    letters = MemoryDeadLetters()
    ids = [await letters.add(_letter(died_at=NOW + timedelta(days=number))) for number in range(5)]
    assert 1 == await letters.purge([ids[0], ids[0], "99"])
    assert 2 == await letters.purge(before=NOW + timedelta(days=3))
    assert 0 == await letters.purge([ids[4]], before=NOW)
    assert ids[3:] == [letter.id for letter in await letters.page()]
    assert 2 == await letters.purge()
    assert 0 == await letters.count()


async def test_only_the_last_letters_are_kept():
    """Above the limit the oldest letter is deleted, and ids aren't used again."""
    letters = MemoryDeadLetters()
    for _ in range(MOST_LETTERS + 2):
        await letters.add(_letter())
    assert (MOST_LETTERS, "3") == (await letters.count(), (await letters.page(limit=1))[0].id)


async def test_letters_without_a_broker_are_not_replayed():
    """A replay without a broker raises and loses nothing."""
    letters = MemoryDeadLetters()
    await letters.add(_letter())
    with pytest.raises(RuntimeError, match="MemoryDeadLetters was made without send"):
        await letters.replay()
    assert 1 == await letters.count()
