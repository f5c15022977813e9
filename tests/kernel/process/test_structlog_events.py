"""Tests of bandmaster.kernel.process.structlog_events."""

import json
import sys

import pytest
import structlog

from bandmaster.kernel.process.console_logging import log_to_stderr

pytestmark = pytest.mark.usefixtures("left_as_it_was")


def test_events_of_structlog_are_records(capsys):
    """An application that uses structlog, and hasn't configured it, logs in the format of all others."""
    with log_to_stderr("json", "info"):
        log = structlog.get_logger("shop")
        log.info("sold %s", "well", seats=7, password="hunter2")
        log.debug("not this")
        try:
            raise LookupError("no luck")
        except LookupError:
            log.exception("failed")
    out, err = capsys.readouterr()
    first, second = map(json.loads, err.splitlines())
    assert "" == out
    assert {"logger": "shop", "level": "info", "event": "sold well", "seats": 7}.items() <= first.items()
    assert "hunter2" not in err
    assert ("failed", True) == (second["event"], second["exception"].endswith("LookupError: no luck"))
    assert not structlog.is_configured()


def test_structlog_that_is_configured_already(capsys):
    """A configuration of structlog stays as it is."""
    structlog.configure(processors=[])
    with log_to_stderr("json", "info"):
        assert [] == structlog.get_config()["processors"]
    assert structlog.is_configured()


def test_structlog_is_not_needed(monkeypatch, capsys):
    """Where structlog isn't imported, it isn't imported for this."""
    monkeypatch.delitem(sys.modules, "structlog")
    with log_to_stderr("json", "info"):
        assert "structlog" not in sys.modules
