"""The settings of the log."""

from __future__ import annotations

import logging

import pytest
from pydantic import ValidationError

from bandmaster.contrib.logging import LogSettings
from bandmaster.kernel import KernelSettings


@pytest.mark.requirement("OB-12")
@pytest.mark.parametrize(
    ("environment", "is_terminal", "form"),
    [
        ("development", True, "console"),
        ("development", False, "json"),
        ("staging", True, "console"),
        ("production", True, "json"),
        ("prod", True, "json"),
        ("production", False, "json"),
    ],
)
def test_the_format_follows_the_environment_and_the_terminal(environment, is_terminal, form) -> None:
    """People at a terminal read text; production, and whatever reads a pipe, gets JSON."""
    assert form == LogSettings().choose_format(KernelSettings(environment=environment), is_terminal=is_terminal)


@pytest.mark.parametrize(
    ("own", "kernel", "form"),
    [
        ({"format": "json"}, {"log_format": "console"}, "json"),
        ({}, {"log_format": "json"}, "json"),
        ({"format": "auto"}, {"log_format": "json"}, "console"),
        ({"format": "console"}, {"environment": "production"}, "console"),
    ],
)
def test_the_log_has_precedence_over_the_launcher(own, kernel, form) -> None:
    """A format that is set for the log counts, and otherwise the launcher's."""
    assert form == LogSettings(**own).choose_format(KernelSettings(**kernel), is_terminal=True)


@pytest.mark.requirement("OB-7")
@pytest.mark.parametrize(
    ("variables", "level"),
    [
        ({}, logging.INFO),
        ({"LOG_LEVEL": "WARNING"}, logging.WARNING),
        ({"LOG_LEVEL": " debug "}, logging.DEBUG),
        ({"BANDMASTER_LOG_LEVEL": "error"}, logging.ERROR),
        ({"LOG_LEVEL": "critical", "BANDMASTER_LOG_LEVEL": "debug"}, logging.CRITICAL),
        ({"BANDMASTER_DEBUG": "true"}, logging.DEBUG),
    ],
)
def test_the_level_is_a_variable(variables, level, monkeypatch) -> None:
    """LOG_LEVEL counts, and otherwise the level of the launcher."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert level == LogSettings().choose_level(KernelSettings())


@pytest.mark.requirement("OB-7")
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOG_LEVEL", "verbose"),
        ("LOG_LEVEL", "20"),
        ("LOG_FORMAT", "xml"),
        ("LOG_STREAM", "stdin"),
        ("LOG_LEVELS", "shop=loud"),
        ("LOG_LEVELS", "root=debug"),
        ("LOG_LEVELS", "shop"),
        ("LOG_MAX_EVENT_BYTES", "100"),
        ("LOG_BUFFER_BYTES", "100"),
        ("LOG_REPEAT_LIMIT", "0"),
        ("LOG_FLUSH_TIMEOUT", "0"),
    ],
)
def test_what_makes_no_sense_is_refused(variable, value, monkeypatch) -> None:
    """A value that is out of range is an error of the start, not a log without lines."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError):
        LogSettings()


def test_levels_of_single_loggers(monkeypatch) -> None:
    """Levels by name are a list with commas."""
    monkeypatch.setenv("LOG_LEVELS", "sqlalchemy.engine=info, shop=DEBUG")
    assert {"sqlalchemy.engine": "info", "shop": "debug"} == LogSettings().levels


def test_repeats_may_be_unlimited(monkeypatch) -> None:
    """The word none switches the limit off."""
    monkeypatch.setenv("LOG_REPEAT_LIMIT", "none")
    assert LogSettings().repeat_limit is None


def test_the_redactor_has_the_keys_of_the_settings(monkeypatch) -> None:
    """Own keys are secrets, and exempt ones aren't."""
    monkeypatch.setenv("LOG_REDACT_KEYS", "patient,ward*")
    monkeypatch.setenv("LOG_REDACT_EXEMPT", "session_token")
    redactor = LogSettings().make_redactor()
    secret = [
        redactor.is_secret(key) for key in ("patient", "patient_name", "warden", "password", "session_token", "page")
    ]
    assert [True, True, True, True, False, False] == secret
