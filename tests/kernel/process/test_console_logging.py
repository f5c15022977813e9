"""Tests of bandmaster.kernel.process.console_logging."""

import io
import json
import logging

import pytest

from bandmaster.kernel import get_logger
from bandmaster.kernel.process.console_logging import log_to_stderr, report_failure, report_refusal

pytestmark = pytest.mark.usefixtures("left_as_it_was")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def own_handler():
    """A program that has configured logging in code, to another stream."""
    handler = logging.StreamHandler(io.StringIO())
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def test_logging_that_is_configured_already(own_handler, capsys):
    """An application's own logging configuration stays unchanged, with all levels."""
    levels = {name: logging.getLogger(name).level for name in ("", "bandmaster", "uvicorn.error")}
    with log_to_stderr("json", "debug"):
        assert [own_handler] == logging.getLogger().handlers
        assert levels == {name: logging.getLogger(name).level for name in levels}
        logging.getLogger("shop").warning("sold")
    assert ("", "") == capsys.readouterr()
    assert "sold\n" == own_handler.stream.getvalue()


@pytest.mark.parametrize("form", ["console", "json"])
def test_every_record_goes_to_stderr(form, capsys):
    """Records of the kernel, of servers and of other libraries go to stderr; the configuration is undone at the end."""
    names = ["", "uvicorn.error", "hypercorn.error"]
    before = [logging.getLogger(name).level for name in names]
    with log_to_stderr(form, "info"):
        get_logger("bandmaster.kernel").info("hello", who="you")
        get_logger("bandmaster.kernel").debug("not this")
        logging.getLogger("uvicorn.error").info("nor this, which the launcher tells itself")
        logging.getLogger("uvicorn.error").warning("from the server")
        logging.getLogger("y").info("from the library")
    get_logger("bandmaster.kernel").info("nor this, after the end")
    out, err = capsys.readouterr()
    assert "" == out
    assert ["hello", "from the server", "from the library"] == [
        word for word in ("hello", "from the server", "from the library", "not this", "nor this") if word in err
    ]
    assert "\x1b" not in err
    assert [] == logging.getLogger().handlers
    assert before == [logging.getLogger(name).level for name in names]


def test_the_level(capsys):
    """The level of the settings counts for every logger."""
    with log_to_stderr("console", "error"):
        get_logger("bandmaster.kernel").warning("left out")
        get_logger("bandmaster.kernel").error("logged")
    with log_to_stderr("console", "debug"):
        logging.getLogger("uvicorn.error").debug("logged too")
    err = capsys.readouterr().err
    assert (True, True, False) == ("logged\n" in err, "logged too\n" in err, "left out" in err)


def test_auto_is_for_people_on_a_terminal(monkeypatch):
    """On a terminal the line is for people, with the level in colour unless NO_COLOR is set."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for setting, colored in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", setting)
        monkeypatch.setattr("sys.stderr", stderr := Terminal())
        with log_to_stderr("auto", "info"):
            get_logger("bandmaster.kernel").warning("hello", who="you")
        assert stderr.getvalue().endswith(" hello who=you\n")
        assert colored is ("\x1b[33mwarning" in stderr.getvalue())


def test_auto_is_json_elsewhere(capsys):
    """Off a terminal each line is a JSON object."""
    with log_to_stderr("auto", "info"):
        get_logger("bandmaster.kernel").warning("hello", who="you")
    assert {"event": "hello", "who": "you"}.items() <= json.loads(capsys.readouterr().err).items()


FAILURE = "The start failed: 'db' is down\n\nTraceback\n  line 1"


def test_a_failure_for_people(capsys):
    """For people the report of a failure stands by itself."""
    with log_to_stderr("console", "info"):
        report_failure(FAILURE)
    assert f"bandmaster: {FAILURE}\n" == capsys.readouterr().err


def test_a_failure_for_programs(capsys):
    """For programs the report is one record: the sentence is the event, and the rest is the exception."""
    with log_to_stderr("json", "info"):
        report_failure(FAILURE)
    told = json.loads(capsys.readouterr().err)
    assert ("error", "The start failed: 'db' is down", "Traceback\n  line 1") == (
        told["level"],
        told["event"],
        told["exception"],
    )


def test_a_failure_in_the_programs_own_log(own_handler, capsys):
    """The report goes to the handlers of a program that has configured logging."""
    report_failure(FAILURE)
    assert f"{FAILURE.replace(chr(10) * 2, chr(10))}\n" == own_handler.stream.getvalue()
    assert "" == capsys.readouterr().err


@pytest.mark.parametrize("configured", [True, False])
def test_a_failure_is_never_lost(request, configured, capsys):
    """Where no record would be handled, the report is printed."""
    if configured:
        request.getfixturevalue("own_handler")
        logging.disable(logging.CRITICAL)
    try:
        report_failure(FAILURE)
    finally:
        logging.disable(logging.NOTSET)
    assert f"bandmaster: {FAILURE}\n" == capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "form", "is_json"),
    [(None, None, True), ("console", None, False), (" JSON ", None, True), ("console", "json", True)],
)
def test_a_refusal(monkeypatch, capsys, variable, form, is_json):
    """A refusal has the log's format: that of the settings, else that of the variable, else JSON off a terminal."""
    monkeypatch.delenv("BANDMASTER_LOG_FORMAT")
    if variable is not None:
        monkeypatch.setenv("BANDMASTER_LOG_FORMAT", variable)
    report_refusal("the port is taken", form)
    err = capsys.readouterr().err
    assert "the port is taken" == (json.loads(err)["event"] if is_json else err.removeprefix("bandmaster: ").rstrip())


def test_a_refusal_of_the_settings_themselves(monkeypatch, capsys):
    """Where the format can't be read from the environment, it is that of `auto`."""
    monkeypatch.setenv("BANDMASTER_LOG_FORMAT", "xml")
    report_refusal("BANDMASTER_LOG_FORMAT is wrong")
    assert "BANDMASTER_LOG_FORMAT is wrong" == json.loads(capsys.readouterr().err)["event"]
