"""Tests of bandmaster.kernel.process.console_logging."""

import logging

import structlog

from bandmaster.kernel.process.console_logging import readable_logging


def test_logging_that_is_configured_already():
    """An application's own logging configuration stays as it is."""
    structlog.configure(processors=[])
    handlers = list(logging.getLogger().handlers)
    with readable_logging():
        assert structlog.get_config()["processors"] == []
        assert handlers or len(logging.getLogger().handlers) == 1
    assert logging.getLogger().handlers == handlers
    assert structlog.is_configured()


def test_logging_for_people(monkeypatch, capsys):
    """Log lines go to stderr, without colours outside a terminal; the configuration is undone at the end."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with readable_logging():
        structlog.get_logger("x").info("hello", who="you")
        structlog.get_logger("x").debug("not this")
        logging.getLogger("y").warning("from the library")
    out, err = capsys.readouterr()
    assert out == ""
    assert "who=you" in err
    assert "y: from the library" in err
    assert "not this" not in err
    assert "\x1b" not in err
    assert not structlog.is_configured()
    assert logging.getLogger().handlers == []
