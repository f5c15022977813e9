"""Several applications in one process: one log, whoever starts and stops first."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from tests.contrib.logging.logs import Lines, logged, make_pipeline

from bandmaster.contrib.logging.takeover.process_log import Claim, ProcessLog


def make_claim(level=logging.INFO, **levels) -> tuple[Claim, Lines]:
    pipeline, lines = make_pipeline()
    return Claim(pipeline, level, levels), lines


def describe_logging():
    names = ["", *sorted(logging.Logger.manager.loggerDict)]
    loggers = [logging.getLogger(name) for name in names]
    return (
        [(each.level, each.propagate, list(each.handlers), list(each.filters)) for each in loggers],
        structlog.is_configured(),
    )


@pytest.fixture(scope="module", autouse=True)
def make_the_servers_loggers():
    """Make the loggers that a take-over makes, so that the tests compare the same ones."""
    logging.getLogger("shop")
    with logged():
        pass


@pytest.mark.requirement("P-11")
@given(st.lists(st.integers(0, 3), max_size=24))
def test_p11_any_order_of_starts_and_stops_is_one_log(steps) -> None:
    """P-11: one handler at the most, each event once, and everything as before after the last stop."""
    log = ProcessLog()
    before = describe_logging()
    claims = [make_claim() for _ in range(4)]
    running: list[int] = []
    number = 0
    for step in steps:
        claim, _ = claims[step]
        if step in running:
            running.remove(step)
            log._remove(claim)
        else:
            running.append(step)
            log._add(claim)
        number += 1
        logging.getLogger("shop").warning("event %d", number)
        for index, (_, lines) in enumerate(claims):
            has_it = any(event["event"] == f"event {number}" for event in lines.events)
            assert has_it is (bool(running) and index == running[-1])
    for step in running:
        log._remove(claims[step][0])
    assert before == describe_logging()
    texts = [event["event"] for _, lines in claims for event in lines.events]
    assert len(texts) == len(set(texts))


@pytest.mark.requirement("P-11")
def test_threads_that_start_at_once_are_one_log() -> None:
    """Sixteen threads take over at the same time: one handler, and nothing left afterwards."""
    log = ProcessLog()
    before = describe_logging()
    barrier = threading.Barrier(16)
    handlers: list[int] = []

    def take_over(number):
        claim, lines = make_claim()
        barrier.wait()
        with log.claimed(claim):
            handlers.append(len(logging.getLogger().handlers))
            barrier.wait()
            if number == 0:
                logging.getLogger("shop").warning("once")
            barrier.wait()
        return len([event for event in lines.events if event["event"] == "once"])

    with ThreadPoolExecutor(16) as pool:
        counts = list(pool.map(take_over, range(16)))
    assert 1 == sum(counts)
    assert {len(before[0][0][2]) + 1} == set(handlers)
    assert before == describe_logging()


@pytest.mark.requirement("P-11")
def test_a_take_over_that_fails_changes_nothing(monkeypatch) -> None:
    """There is no partial take-over: a failure half-way leaves logging as it was."""
    log = ProcessLog()
    before = describe_logging()
    claim, _ = make_claim()

    def fail(*arguments):
        raise RuntimeError("structlog can't be configured")

    monkeypatch.setattr("bandmaster.contrib.logging.takeover.process_log.StructlogConfiguration", fail)
    with pytest.raises(RuntimeError):
        log._add(claim)
    assert before == describe_logging()
    assert log.current() is None


def test_the_levels_are_those_of_the_newest() -> None:
    """Each claim has its own levels, as long as it is the newest."""
    log = ProcessLog()
    (first, _), (second, _) = make_claim(logging.ERROR, shop=logging.DEBUG), make_claim(logging.DEBUG)
    before = logging.getLogger().level, logging.getLogger("shop").level
    seen = []
    with log.claimed(first):
        seen.append((logging.getLogger().level, logging.getLogger("shop").level))
        with log.claimed(second):
            seen.append((logging.getLogger().level, logging.getLogger("shop").level))
        seen.append((logging.getLogger().level, logging.getLogger("shop").level))
    assert [(40, 10), (10, 0), (40, 10)] == seen
    assert before == (logging.getLogger().level, logging.getLogger("shop").level)
