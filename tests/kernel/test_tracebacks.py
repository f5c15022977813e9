"""Tests of bandmaster.kernel.tracebacks."""

import asyncio
import importlib
import inspect
import sys
import threading
from pathlib import Path

import anyio
import pytest

from bandmaster.kernel import tracebacks
from bandmaster.kernel.tracebacks import find_blocking_line, find_frames, list_steps, render_traceback


def fail():
    """An exception with a traceback."""
    try:
        raise RuntimeError("no luck")
    except RuntimeError as error:
        return error


def test_frames_of_the_machinery_are_left_out():
    """Frames of the event loop are left out, except for debugging."""

    async def mine():
        async with anyio.create_task_group():
            raise RuntimeError("no luck")

    with pytest.raises(ExceptionGroup) as failed:
        anyio.run(mine)
    assert "/anyio/" not in render_traceback(failed.value)
    assert "raise RuntimeError" in render_traceback(failed.value)
    assert "/anyio/" in render_traceback(failed.value, debug=True)


def test_a_traceback_of_nothing_but_machinery_stays():
    """A traceback without frames of the application keeps its frames."""
    with pytest.raises(Exception) as failed:
        anyio.current_time()
    error = failed.value
    while error.__traceback__.tb_next:
        error.__traceback__ = error.__traceback__.tb_next
    assert "anyio" in render_traceback(error)


def test_machinery_that_is_not_imported(monkeypatch):
    """An event loop that isn't imported has no frames to leave out."""
    monkeypatch.setattr(tracebacks, "_EVENT_LOOPS", ("not_there_at_all",))
    assert "RuntimeError: no luck" in render_traceback(fail())


def test_values_of_locals_are_not_shown():
    """Values of locals, which may be secrets, stay out of a traceback, for debugging too."""

    def connect(password):
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError) as failed:
        connect("".join(["hun", "ter", "2"]))
    assert "hunter2" not in render_traceback(failed.value, debug=True)


def test_a_bug_in_the_kernel_shows_the_kernel():
    """The kernel's own frames are shown where there are no others."""
    with pytest.raises(ValueError) as caught:
        importlib.import_module("bandmaster.kernel.contributions.bands").resolve_priority((), None, None)
    caught.value.__traceback__ = caught.value.__traceback__.tb_next
    assert all("bands.py" in step for step in list_steps(caught.value)[::2])


def test_the_innermost_frame_of_the_application():
    """Frames of the kernel, of the event loop, of generated code and of further modules are left out."""

    async def mine():
        code = compile("def generated(function): function()", "<string>", "exec")
        exec(code, namespace := {})
        namespace["generated"](importlib.import_module("bandmaster.kernel.text").render_duration)

    with pytest.raises(TypeError) as failed:
        anyio.run(mine)
    assert "mine" == find_frames(failed.value)[-1].name
    assert [] == find_frames(failed.value, skip=[__name__])


def test_code_without_its_source(tmp_path, monkeypatch):
    """A program that is installed without its source has steps without lines of code."""
    monkeypatch.chdir(tmp_path)
    code = compile("raise RuntimeError('no luck')", str(tmp_path / "gone.py"), "exec")
    with pytest.raises(RuntimeError) as failed:
        exec(code, {})
    assert "gone.py:1 in <module>" == list_steps(failed.value)[-1]


def find_place(work, backend="asyncio"):
    """Where an event loop's thread stands while ``work`` runs there, looked at from within."""
    places = []

    def look():
        places.append(find_blocking_line(sys._getframe()))

    async def main():
        work(look)

    anyio.run(main, backend=backend)
    return places[0]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_line_that_blocks_an_event_loop(backend):
    """The innermost line outside of libraries is rendered as in a traceback."""
    line = inspect.getsourcelines(find_place)[1] + 5
    assert find_place(lambda look: look(), backend).startswith(f'  File "{__file__}", line {line}, in look\n')


def test_a_library_that_blocks_an_event_loop(monkeypatch):
    """Where nothing but libraries runs in the event loop, the innermost line of these is found."""
    own = str(Path(__file__).parent)
    monkeypatch.setattr(tracebacks, "_LIBRARIES", own)
    assert f'File "{__file__}"' in find_place(lambda look: look())


def test_an_event_loop_that_waits():
    """An event loop that waits has no blocking line, whichever code runs the loop."""
    place = []

    def wait_and_look():
        idle.wait(10)
        place.append(find_blocking_line(sys._current_frames()[main_thread]))
        loop.call_soon_threadsafe(free.set)

    async def main():
        nonlocal loop, free
        loop, free = asyncio.get_running_loop(), anyio.Event()
        loop.call_later(0.1, idle.set)
        await free.wait()

    loop = free = None
    main_thread, idle = threading.get_ident(), threading.Event()
    thread = threading.Thread(target=wait_and_look)
    thread.start()
    asyncio.run(main())
    thread.join()
    assert place == [""]
