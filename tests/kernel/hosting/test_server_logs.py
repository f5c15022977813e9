"""Tests of bandmaster.kernel.hosting.server_logs; `tests/processes/test_logs.py` has those with real servers."""

import logging

import anyio
import pytest
import sniffio

from bandmaster.kernel.hosting.server_logs import ServerLogFilter, omit_traceback_of
from bandmaster.kernel.logs import note_logged

pytestmark = pytest.mark.anyio


class FrozenError(Exception):
    """An exception that takes no attributes."""

    def __setattr__(self, name, value):
        raise AttributeError(name)


async def send(message):
    raise BrokenPipeError


async def lose_client():
    try:
        await send({})
    except BrokenPipeError as error:
        return error


def logged(error):
    note_logged(error)
    return error


@pytest.fixture(params=["uvicorn.error", "hypercorn.error"])
async def server_records(request, caplog):
    """A server's logger with the filter, and the records that are left."""
    log_filter = ServerLogFilter()
    async with log_filter.installed():
        yield log_filter, logging.getLogger(request.param), caplog


async def test_what_is_dropped(server_records):
    """A record about an exception that was logged, that is a client's leaving, or that is a cancellation."""
    log_filter, logger, caplog = server_records
    cancelled = anyio.get_cancelled_exc_class()
    lost = await lose_client()
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep(1)
        except cancelled as error:
            cancellation = error
            raise
    for error in (logged(LookupError()), ExceptionGroup("", [logged(LookupError())]), lost, cancellation):
        log_filter.note_exception(error, send)
        logger.error("Exception in ASGI application", exc_info=error)
    assert [] == caplog.records


async def test_what_is_kept(server_records):
    """Every other record: of an exception that nobody has logged, and without an exception."""
    log_filter, logger, caplog = server_records
    half = ExceptionGroup("", [logged(LookupError()), ValueError()])
    for error in (LookupError(), half, logged(FrozenError()), ConnectionError(), KeyboardInterrupt()):
        log_filter.note_exception(error, send)
        logger.error("Exception in ASGI application", exc_info=error)
    logger.warning("Invalid HTTP request received.")
    assert 6 == len(caplog.records)


@pytest.mark.parametrize(
    ("error", "text", "kept"),
    [
        (logged(LookupError("no luck")), "LookupError: no luck", False),
        (logged(LookupError()), "LookupError", False),
        (LookupError("no luck"), "LookupError: no luck", True),
        (logged(LookupError("no luck")), "ValueError: another", True),
    ],
)
async def test_granians_text(caplog, error, text, kept):
    """granian logs a traceback as text, which is compared with the exception that has left the application."""
    log_filter = ServerLogFilter()
    logger = logging.getLogger("_granian.utils")
    async with log_filter.installed():
        log_filter.note_exception(error, send)
        logger.error("Application callable raised an exception\nTraceback (most recent call last):\n%s", text)
        assert kept is bool(caplog.records)
        caplog.clear()
        logger.error("Application callable raised an exception\n%s", text)
    assert 1 == len(caplog.records), "a second record is another exception's"


async def test_a_stream_that_the_drain_has_ended(caplog):
    """uvicorn's record is dropped in the task of that stream, and kept for every other stream."""
    log_filter = ServerLogFilter()
    logger = logging.getLogger("uvicorn.error")

    async def end_stream(name, is_ours):
        if is_ours:
            log_filter.note_ended_stream()
        logger.error("ASGI callable returned without completing response.")
        logger.error("%s goes on", name)

    async with log_filter.installed(), anyio.create_task_group() as tasks:
        tasks.start_soon(end_stream, "ours", sniffio.current_async_library() == "asyncio")
        tasks.start_soon(end_stream, "another", False)
    texts = sorted(record.getMessage() for record in caplog.records)
    kept = 1 if sniffio.current_async_library() == "asyncio" else 2
    assert [*["ASGI callable returned without completing response."] * kept, "another goes on", "ours goes on"] == texts


async def test_the_filter_is_removed(caplog):
    """After the run the servers' loggers are as they were."""
    async with ServerLogFilter().installed():
        pass
    assert [] == [name for name in ("uvicorn.error", "_granian") if logging.getLogger(name).filters]


async def test_granians_traceback_of_a_failure_that_was_logged(caplog):
    """granian's record of a failed start keeps its line, without the traceback of what has been logged already."""

    class Granians:
        async def send(self, message): ...

    Granians.__module__ = "granian.asgi"
    logger = logging.getLogger("_granian")
    error = LookupError("no luck")
    omit_traceback_of(error, send)
    assert not logger.filters
    omit_traceback_of(error, Granians().send)
    try:
        logger.error("Lifespan failed", exc_info=error)
        logger.error("Another failure", exc_info=ValueError())
        logger.error("No failure")
    finally:
        logger.filters.clear()
    assert [False, True, False] == [bool(record.exc_info) for record in caplog.records]
