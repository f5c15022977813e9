"""Tests of bandmaster.kernel.testing.recording."""

import anyio
import pytest
from tests.kernel.testing.parts import cache, database

from bandmaster.kernel import events
from bandmaster.kernel.testing import (
    Recording,
    run,
)

pytestmark = pytest.mark.anyio

PARTS = [database, cache]


async def test_recording():
    """The recording can be asked."""
    async with run(contributions=PARTS) as running:
        seen = running.events
        assert ["KernelStarting", "ComponentStarting", "ComponentStarted"] == seen.kinds[:3]
        assert ["cache"] == [event.component for event in seen.of(events.ComponentStarted, component="cache")]
        assert seen[0] is seen[:1][0]
        assert seen.first(events.Ready) in seen
        with pytest.raises(AssertionError, match=r"(?s)no ComponentStarted\(component='x'\). What happened:\n.*Ready"):
            seen.first(events.ComponentStarted, component="x")
        with pytest.raises(TimeoutError, match=r"(?s)What happened:.*There was no ComponentCrashed\(\) within 0.01 s"):
            await seen.wait(events.ComponentCrashed, timeout=0.01)
        assert "<Recording: KernelStarting, " == repr(seen)[:28]
        seen.clear()
        assert ("<Recording: nothing happened>", "") == (repr(seen), str(seen))


async def test_recording_waits():
    """Several tasks can wait for later events at once."""
    recording = Recording()
    found = []

    async def wait(name):
        found.append((await recording.wait(events.ComponentStopped, component=name)).component)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "database")
        tasks.start_soon(wait, "cache")
        await anyio.wait_all_tasks_blocked()
        async with run(contributions=PARTS, listeners=[recording]):
            pass
    assert ["cache", "database"] == sorted(found)


async def test_recording_tells_errors_and_warnings():
    """The text of a recording has errors and warnings."""
    recording = Recording()
    recording(events.Warned(at=1.0, component="a", message="careful"))
    recording(events.ComponentStopFailed(at=1.5, component="b", error=ValueError("x"), own=0))
    assert (["careful"], "   0.000 s  Warned a careful\n   0.500 s  ComponentStopFailed b ValueError: x") == (
        recording.warnings,
        str(recording),
    )
