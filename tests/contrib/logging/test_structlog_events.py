"""structlog's loggers while the log is taken over."""

from __future__ import annotations

import logging

import pytest
import structlog
from structlog.testing import capture_logs
from tests.contrib.logging.logs import logged, make_settings

log = structlog.get_logger()
"""As applications have it: made when the module is imported, before anything is configured."""


def test_the_module_names_a_logger_without_a_name() -> None:
    """A logger that nobody has named has the name of the module that logs."""
    with logged() as captured:
        log.info("one")
        structlog.get_logger("shop").info("two")
        structlog.stdlib.get_logger("shop.billing").info("three")
    assert [__name__, "shop", "shop.billing"] == [event["logger"] for event in captured.events]


@pytest.mark.requirement("OB-1", "OBS-L1")
def test_events_of_structlog_go_through_the_same_way() -> None:
    """Bound values, arguments and exceptions are in the event, and secrets aren't."""
    with logged() as captured:
        bound = log.bind(order=7, password="planted")
        try:
            raise LookupError("token=planted")
        except LookupError as error:
            bound.exception("failed %s", "twice")
            bound.error("again", exc_info=error)
            bound.warning("shown", stack_info=True)
    failed, again, shown = captured.events
    assert ("failed twice", "error", 7, "[REDACTED]") == (
        failed["event"],
        failed["level"],
        failed["order"],
        failed["password"],
    )
    assert failed["exception"].endswith("LookupError: token=[REDACTED]")
    assert again["exception"] == failed["exception"]
    assert shown["exception"].startswith("Stack (most recent call last)") and "stack_info=True" in shown["exception"]
    assert "planted" not in captured.text


@pytest.mark.parametrize("method", ["debug", "info", "msg", "warning", "warn", "error", "critical", "fatal"])
def test_every_method_logs(method) -> None:
    """Each method of structlog's loggers writes at its level."""
    names = {"msg": "info", "warn": "warning", "fatal": "critical"}
    with logged(level="debug") as captured:
        getattr(log, method)("x")
    assert [names.get(method, method)] == [event["level"] for event in captured.events]


@pytest.mark.anyio
async def test_the_async_methods_log() -> None:
    """ainfo and its like write as well."""
    with logged() as captured:
        await log.ainfo("x", a=1)
    assert [("x", 1)] == [(event["event"], event["a"]) for event in captured.events]


test_the_async_methods_log = pytest.mark.parametrize("anyio_backend", ["asyncio"])(test_the_async_methods_log)


@pytest.mark.requirement("OB-7")
def test_levels_hold_for_both_libraries() -> None:
    """One setting decides for a logger, whichever library its code uses."""
    with logged(level="warning", levels={"shop": "debug", "shop.loud": "error"}) as captured:
        for name in ("other", "shop", "shop.billing", "shop.loud"):
            for level in ("debug", "info", "warning", "error"):
                getattr(structlog.get_logger(name), level)("native")
                getattr(logging.getLogger(name), level)("standard")
    events = [(each["logger"], each["level"]) for each in captured.events]
    all_levels = ["debug", "info", "warning", "error"]
    expected = [("other", level) for level in all_levels[2:]]
    expected += [(name, level) for name in ("shop", "shop.billing") for level in all_levels]
    expected += [("shop.loud", "error")]
    assert [pair for pair in expected for _ in range(2)] == events


def test_logging_disable_holds_for_both_libraries() -> None:
    """logging.disable silences structlog's loggers, too."""
    with logged() as captured:
        logging.disable(logging.CRITICAL)
        try:
            log.critical("no")
            assert not log.is_enabled_for(logging.CRITICAL)
        finally:
            logging.disable(logging.NOTSET)
        log.error("yes")
    assert ["yes"] == [event["event"] for event in captured.events]


def test_a_level_in_between_rounds_up() -> None:
    """A level of one's own lets the next higher one through."""
    with logged() as captured:
        logger = logging.getLogger("between")
        logger.setLevel(25)
        structlog.get_logger("between").info("no")
        structlog.get_logger("between").warning("yes")
        logger.setLevel(logging.NOTSET)
    assert ["yes"] == [event["event"] for event in captured.events]


@pytest.mark.requirement("OB-1")
def test_the_configuration_is_restored() -> None:
    """Afterwards structlog is as it was: unconfigured, or as the program has configured it."""
    with logged():
        assert structlog.is_configured()
    assert not structlog.is_configured()
    processors = [structlog.processors.KeyValueRenderer()]
    structlog.configure(processors=processors, cache_logger_on_first_use=True)
    with logged() as captured:
        structlog.get_logger("mine").info("x")
    assert processors is structlog.get_config()["processors"]
    assert structlog.get_config()["cache_logger_on_first_use"]
    assert ["x"] == [event["event"] for event in captured.events]


def test_a_logger_that_was_used_before_logs_as_before_afterwards(capsys) -> None:
    """A logger of a module keeps nothing of the log that has stopped."""
    with logged() as first:
        log.info("during")
    log.info("between")
    with logged() as second:
        log.info("later")
    assert ["during"] == [event["event"] for event in first.events]
    assert ["later"] == [event["event"] for event in second.events]
    assert "between" in capsys.readouterr().out


def test_structlogs_own_capture_works() -> None:
    """The test helper of structlog sees events of an application that runs."""
    with logged() as captured:
        with capture_logs() as entries:
            log.info("seen", a=1)
        log.info("written")
    assert [("seen", 1)] == [(entry["event"], entry["a"]) for entry in entries]
    assert ["written"] == [event["event"] for event in captured.events]


def test_a_configuration_that_came_later_stays() -> None:
    """A program that configures structlog anew while the application runs keeps that."""
    with logged():
        structlog.configure(processors=[structlog.processors.JSONRenderer()])
    assert isinstance(structlog.get_config()["processors"][0], structlog.processors.JSONRenderer)


def test_many_names_don_t_fill_the_memory() -> None:
    """Loggers with made-up names are forgotten, as far as this package keeps them."""
    with logged(make_settings(level="error")):
        factory = structlog.get_config()["logger_factory"]
        for number in range(20_000):
            factory(f"made.up.{number % 15_000}")
        assert len(factory.__self__._names) <= 10_000
