"""The loggers of the standard library and of servers, while the log is taken over and afterwards."""

from __future__ import annotations

import io
import logging
import logging.config
import logging.handlers
import queue
import sys
import threading
import warnings

import pytest
from hypercorn.config import Config as HypercornConfig
from tests.contrib.logging.logs import logged, make_pipeline
from uvicorn.config import LOGGING_CONFIG

from bandmaster.contrib.logging.takeover.process_log import PROCESS_LOG
from bandmaster.contrib.logging.takeover.records import pass_record
from bandmaster.contrib.logging.takeover.standard_loggers import ACCESS_LOGGERS, SERVER_LOGGERS
from bandmaster.kernel import get_logger


@pytest.fixture(autouse=True)
def restore_loggers():
    """Restore the loggers that these tests configure as servers do."""
    names = ["", *SERVER_LOGGERS, *ACCESS_LOGGERS, "mine", "mine.below", "alembic"]
    before = {name: describe(name) for name in names}
    yield
    for name, (level, propagate, disabled, handlers, filters) in before.items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled
        logger.handlers[:], logger.filters[:] = handlers, filters


def describe(name):
    logger = logging.getLogger(name)
    return logger.level, logger.propagate, logger.disabled, list(logger.handlers), list(logger.filters)


def test_extra_values_are_fields() -> None:
    """What callers pass as extra is in the event, and arguments are in its text."""
    with logged() as captured:
        logging.getLogger("lib").warning(
            "read %d rows of %s", 3, "orders", extra={"table": "orders", "token": "planted"}
        )
    event = captured.one("read 3 rows of orders")
    assert ("lib", "warning", "orders", "[REDACTED]") == (
        event["logger"],
        event["level"],
        event["table"],
        event["token"],
    )


@pytest.mark.requirement("OBS-L2")
def test_foreign_messages_have_no_secrets() -> None:
    """URLs, queries and headers in messages and arguments of other libraries are redacted."""
    logger = logging.getLogger("httpx2")
    with logged() as captured:
        logger.info(
            'HTTP Request: %s %s "%s"', "GET", "https://kim:planted@host/x?api_key=planted&page=2", "HTTP/1.1 200"
        )
        logger.info("headers %s", {"Authorization": "Bearer planted", "cookie": "planted"})
        logger.info("Authorization: Basic planted")
        try:
            raise ConnectionError("amqp://guest:planted@mq")
        except ConnectionError:
            logger.exception("failed")
    assert "planted" not in captured.text
    assert "page=2" in captured.text


def test_arguments_that_dont_fit_are_no_failure() -> None:
    """A message whose arguments are wrong is written as it stands."""
    pipeline, lines = make_pipeline()
    record = logging.makeLogRecord({"name": "lib", "msg": "%d rows", "args": ("many",), "levelno": logging.INFO})
    pass_record(record, pipeline)
    (event,) = lines.events
    assert ("%d rows", "can't be rendered: TypeError") == (event["event"], event["arguments"])


def test_bandmasters_events_have_their_fields() -> None:
    """A record of bandmaster's loggers is an event with fields, not one text."""
    with logged() as captured:
        try:
            raise LookupError("x")
        except LookupError as error:
            get_logger("bandmaster.redis").error("failed", exception=error, command="GET")
    event = captured.one("failed")
    assert ("GET", "bandmaster.redis") == (event["command"], event["logger"])
    assert event["exception"].endswith("LookupError: x")


@pytest.mark.requirement("OBS-L8")
def test_a_server_that_is_configured_before(monkeypatch) -> None:
    """Handlers of uvicorn are taken away for the time, so that nothing is printed twice, and are back afterwards."""
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stdout", printed)
    logging.config.dictConfig(LOGGING_CONFIG)
    for name in ("uvicorn", "uvicorn.access"):
        logging.getLogger(name).handlers[0].stream = printed
    before = {name: describe(name) for name in SERVER_LOGGERS}
    with logged() as captured:
        logging.getLogger("uvicorn.error").info("started")
        logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "1.2.3.4:5", "GET", "/", "1.1", 200)
    assert ["started"] == [event["event"] for event in captured.events]
    assert "" == printed.getvalue()
    assert before == {name: describe(name) for name in SERVER_LOGGERS}


@pytest.mark.requirement("OBS-L8")
def test_a_server_that_is_configured_after_our_start(capsys) -> None:
    """hypercorn makes its handlers when the application runs already: the first record finds them gone."""
    with logged() as captured:
        config = HypercornConfig()
        config.accesslog = "-"
        server_log = config.log
        server_log.error_logger.info("Running on http://127.0.0.1")
        server_log.access_logger.info("GET / 200")
        logging.config.dictConfig(LOGGING_CONFIG)
        logging.getLogger("uvicorn.error").info("started late")
        logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "1.2.3.4:5", "GET", "/", "1.1", 200)
    assert ["Running on http://127.0.0.1", "started late"] == [event["event"] for event in captured.events]
    assert "" == "".join(capsys.readouterr())


def test_handlers_that_show_nothing_stay(tmp_path) -> None:
    """A file and a handler of an error tracker get records as before."""
    file = logging.FileHandler(tmp_path / "own.log")
    tracker = logging.handlers.MemoryHandler(100)
    logging.getLogger().addHandler(file)
    logging.getLogger().addHandler(tracker)
    with logged():
        logging.getLogger("mine").warning("kept")
        assert {file, tracker} <= set(logging.getLogger().handlers)
    file.close()
    assert "kept" in (tmp_path / "own.log").read_text()


def test_a_handler_of_ones_own_that_shows_records_is_taken_away() -> None:
    """A logger whose own handler writes to standard output isn't printed twice."""
    printed = io.StringIO()
    handler = logging.StreamHandler(sys.__stdout__)
    logger = logging.getLogger("mine")
    logger.addHandler(handler)
    logger.propagate = False
    with logged() as captured:
        assert [] == logger.handlers
        logging.getLogger("mine.below").warning("once")
    assert [handler] == logger.handlers and not logger.propagate
    assert ["once"] == [event["event"] for event in captured.events]
    assert "" == printed.getvalue()


@pytest.mark.requirement("OBS-L8")
def test_a_queue_in_front_of_a_handler_that_shows_records(capsys) -> None:
    """Litestar's default is a queue, behind which a thread writes to standard error: nothing comes twice."""
    root = logging.getLogger()
    before = list(root.handlers)
    listener = logging.handlers.QueueListener(queue.SimpleQueue(), logging.StreamHandler(sys.__stderr__))
    shows, keeps = (logging.handlers.QueueHandler(queue.SimpleQueue()) for _ in range(2))
    shows.listener = listener
    root.addHandler(shows)
    root.addHandler(keeps)
    with logged() as captured:
        assert shows not in root.handlers
        assert keeps in root.handlers
        logging.getLogger("mine").warning("once")
    assert [*before, shows, keeps] == root.handlers
    assert captured.named("once")


@pytest.mark.requirement("OBS-L8")
def test_a_configuration_in_the_middle_is_taken_over_again() -> None:
    """alembic's fileConfig replaces the root's handlers and disables loggers; both are put right."""
    logger = logging.getLogger("mine")
    with logged() as captured:
        logging.config.dictConfig(
            {
                "version": 1,
                "handlers": {"console": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}},
                "root": {"handlers": ["console"], "level": "ERROR"},
                "loggers": {"alembic": {"level": "INFO"}},
            }
        )
        assert logger.disabled
        assert PROCESS_LOG.take_again()
        assert not PROCESS_LOG.take_again()
        logger.info("heard")
    assert "heard" in [event["event"] for event in captured.events]
    assert not any(isinstance(each, logging.StreamHandler) for each in captured.events)


@pytest.mark.parametrize(
    ("values", "heard"),
    [
        ({"level": "warning"}, ["warning"]),
        ({"level": "info"}, ["info", "warning"]),
        ({"level": "debug"}, ["info", "warning"]),
        ({"level": "error", "levels": {"uvicorn": "debug"}}, ["debug", "info", "warning"]),
        ({"level": "debug", "levels": {"uvicorn.error": "error"}}, []),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_the_level_holds_for_servers(values, heard, late) -> None:
    """A server gives its loggers levels, before or after the start: lower ones than that of the log have no effect."""
    if not late:
        logging.config.dictConfig(LOGGING_CONFIG)
    with logged(**values) as captured:
        if late:
            logging.config.dictConfig(LOGGING_CONFIG)
            logging.getLogger("uvicorn.error").setLevel(min(logging.INFO, logging.getLogger("uvicorn").level))
        for level in ("debug", "info", "warning"):
            getattr(logging.getLogger("uvicorn.error"), level)("x")
    assert [each for each in heard if not (late and each == "debug")] == [event["level"] for event in captured.events]


def test_levels_are_restored_unless_changed_since() -> None:
    """A level that somebody has set meanwhile stays; all others are as before."""
    logging.getLogger("mine").setLevel(logging.NOTSET)
    before = logging.getLogger().level
    with logged(level="debug", levels={"mine": "error", "mine.below": "error"}):
        assert logging.DEBUG == logging.getLogger().level
        logging.getLogger("mine.below").setLevel(logging.CRITICAL)
    assert before == logging.getLogger().level
    assert logging.NOTSET == logging.getLogger("mine").level
    assert logging.CRITICAL == logging.getLogger("mine.below").level


def test_everything_is_as_before(capsys) -> None:
    """Every logger that exists is as it was, handlers, filters and levels included."""
    names = ["", *logging.Logger.manager.loggerDict]
    with logged():  # loggers that the take-over makes exist from now on
        pass
    names = ["", *logging.Logger.manager.loggerDict]
    before = {name: describe(name) for name in names}
    with logged(level="error", levels={"uvicorn": "debug"}):
        pass
    assert before == {name: describe(name) for name in names}


def test_warnings_of_python_are_events() -> None:
    """A warning is an event of the log, and a warning again afterwards."""
    with warnings.catch_warnings(), logged() as captured:
        warnings.simplefilter("always")
        warnings.warn("old name, token=planted", DeprecationWarning, stacklevel=1)
    (event,) = captured.events
    assert ("py.warnings", "warning") == (event["logger"], event["level"])
    assert "old name" in event["event"] and "planted" not in event["event"]
    with pytest.warns(DeprecationWarning):
        warnings.warn("again", DeprecationWarning, stacklevel=1)


def test_pytests_own_handlers_stay(caplog) -> None:
    """caplog has the records as well, at the levels of the log."""
    with logged():
        logging.getLogger("mine").info("both")
    assert ["both"] == [record.message for record in caplog.records]


def test_a_thread_that_fails_is_an_event(capsys) -> None:
    """An exception that nobody catches in a thread is in the log, without secrets, and not on standard error."""

    def fail() -> None:
        raise LookupError("token=planted")

    def leave() -> None:
        raise SystemExit

    before = threading.excepthook
    with logged() as captured:
        for function in (fail, leave):
            thread = threading.Thread(target=function, name="worker-7")
            thread.start()
            thread.join()
    event = captured.one("a thread failed")
    assert ("worker-7", "error") == (event["thread_name"], event["level"])
    assert event["exception"].endswith("LookupError: token=[REDACTED]")
    assert "" == "".join(capsys.readouterr())
    assert before is threading.excepthook
