"""Properties of the errors of all contribs (P-18, P-19)."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import anyio
import pytest
import sqlalchemy.exc
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from redis import exceptions as redis_exceptions
from sqlalchemy import Column, Integer, MetaData, Table, text
from starlette.websockets import WebSocket, WebSocketState
from taskiq import TaskiqResult

from bandmaster.contrib.fastapi import Resource
from bandmaster.contrib.persistence import (
    DatabaseManager,
    DatabaseSettings,
    OutboxSettings,
    Retries,
    TenantPolicy,
    protect,
)
from bandmaster.contrib.redis import RedisRefusedError, RedisSettings, RedisUnavailableError, redis_errors
from bandmaster.contrib.taskiq import LeasedStreamOptions, MemoryResults, Schedule, TaskIQSettings, TaskOptions
from bandmaster.contrib.web import ProblemDetails, ProblemError, WebSettings, problem_type
from bandmaster.kernel import PermanentError, TransientError

SETTINGS: list[type[BaseModel]] = [DatabaseSettings, OutboxSettings, RedisSettings, TaskIQSettings, WebSettings]

below_one = st.integers(max_value=0)
negative = st.floats(max_value=-1e-9, allow_infinity=False)
not_positive = st.floats(max_value=0, allow_infinity=False)
no_identifier = st.text().filter(lambda name: not (name.isidentifier() and name.isascii()) and "$" not in name)
no_seconds = st.just(math.nan) | st.just(math.inf) | negative
no_error_status = st.integers(max_value=399) | st.integers(min_value=600)
any_text = st.text(max_size=30)


def find_numeric_fields(kind: type[BaseModel]) -> list[str]:
    """The fields of a settings type whose values have a lower bound."""
    return [
        name
        for name, field in kind.model_fields.items()
        if any(hasattr(constraint, bound) for constraint in field.metadata for bound in ("ge", "gt"))
    ]


def make_table() -> Table:
    return Table("notes", MetaData(), Column("id", Integer, primary_key=True))


# Each row is a call, the argument that is wrong, and the strategy of its wrong values.
WRONG_CALLS: list[tuple[Callable[[Any], object], str, st.SearchStrategy[Any]]] = [
    *(
        (
            lambda value, kind=kind, name=name: kind(**{name: value}),
            name,
            negative | st.just("many") | st.just(math.nan),
        )
        for kind in SETTINGS
        for name in find_numeric_fields(kind)
    ),
    (lambda value: DatabaseSettings(url=value), "url", st.text(alphabet=" \t\n", max_size=5)),
    (lambda value: RedisSettings(url=value), "url", st.text(alphabet=" \t\n:/@#", max_size=8)),
    (lambda value: WebSettings(allowed_hosts=(value,)), "allowed_hosts", st.just("") | st.just("a b") | st.just("a/b")),
    (
        lambda value: WebSettings(cors_origins=(value,)),
        "cors_origins",
        any_text.filter(lambda text: "://" not in text and text != "*"),
    ),
    (lambda value: ProblemDetails(status=value), "status", no_error_status),
    (
        lambda value: ProblemDetails(status=400, members={value: 1}),
        "members",
        st.sampled_from(["type", "errors", "detail"]),
    ),
    (lambda value: problem_type(ValueError, name="wrong", status=value), "status", no_error_status),
    (
        lambda value: Resource(int, scope=value),
        "scope",
        any_text.filter(lambda text: text not in ("function", "request")),
    ),
    (lambda value: Resource(int, value), "name", st.just("") | any_text.map(lambda text: f"{text} ")),
    (lambda value: TenantPolicy(value), "table", no_identifier),
    (lambda value: TenantPolicy("notes", schema=value), "schema", no_identifier),
    (lambda value: TenantPolicy("notes", column=value), "column", no_identifier),
    (lambda value: TenantPolicy("notes", setting=value), "setting", no_identifier.filter(lambda name: "." not in name)),
    (
        lambda value: TenantPolicy("notes", type=value),
        "type",
        st.sampled_from([int, str, sqlalchemy.Float, sqlalchemy.Boolean]),
    ),
    (lambda value: protect(make_table(), column=value), "column", no_identifier),
    (lambda value: protect(value), "table", st.integers() | st.none() | any_text),
    (lambda value: Retries(attempts=value), "attempts", below_one),
    (lambda value: Retries(pause=value), "pause", negative),
    (lambda value: Retries(longest=value), "longest", negative),
    (lambda value: TaskOptions(attempts=value), "attempts", below_one | any_text | st.floats()),
    (lambda value: TaskOptions(backoff=value), "backoff", negative | any_text),
    (lambda value: TaskOptions(longest_backoff=value), "longest_backoff", negative | any_text),
    (lambda value: TaskOptions(timeout=value), "timeout", not_positive | any_text),
    (lambda value: TaskOptions(jitter=value), "jitter", negative | st.floats(min_value=1.001) | any_text),
    (lambda value: Schedule(every=value), "every", no_seconds | st.floats(0.001, 0.999)),
    (lambda value: Schedule(cron=value), "cron", st.text(alphabet="0123456789 ", max_size=6)),
    (lambda value: Schedule(cron="* * * * *", timezone=value), "timezone", any_text.map(lambda text: f"None/{text}")),
    (lambda value: MemoryResults(value), "ttl", no_seconds | st.just(0)),
    (lambda value: LeasedStreamOptions(slots=value), "slots", below_one),
    (lambda value: LeasedStreamOptions(max_deliveries=value), "max_deliveries", below_one),
    (lambda value: LeasedStreamOptions(lease=value), "lease", no_seconds | st.just(0)),
    (lambda value: LeasedStreamOptions(queue=value), "queue", st.text(alphabet=" \t", max_size=5)),
]


@pytest.mark.requirement("P-18")
@settings(max_examples=500, deadline=None)
@given(st.data())
def test_p18_a_wrong_argument_is_a_value_error_that_names_the_argument(data: st.DataObject) -> None:
    """Every public constructor and settings field refuses a wrong value with a message that names the argument."""
    call, argument, values = data.draw(st.sampled_from(WRONG_CALLS))
    value = data.draw(values)
    with pytest.raises(ValueError) as caught:
        call(value)
    assert argument in str(caught.value)
    # pydantic's errors have one message for each field, and the field's name beside the message.
    messages = [error["msg"] for error in getattr(caught.value, "errors", list)()] or [str(caught.value)]
    assert all(message.strip() for message in messages)


def test_every_bounded_setting_is_among_the_wrong_calls() -> None:
    """The settings types have bounded fields, which the property covers."""
    assert all(find_numeric_fields(kind) for kind in SETTINGS)


REDIS_ERRORS = sorted(
    {
        kind
        for kind in vars(redis_exceptions).values()
        # AskError and its subclasses parse their text, and so take no other.
        if isinstance(kind, type)
        and issubclass(kind, redis_exceptions.RedisError)
        and not issubclass(kind, redis_exceptions.AskError)
    },
    key=lambda kind: kind.__name__,
)


@pytest.mark.requirement("XC-E1", "P-19")
@settings(max_examples=200)
@given(st.sampled_from(REDIS_ERRORS), any_text)
def test_p19_errors_of_redis_py_are_causes(kind: type[Exception], message: str) -> None:
    """Any error of redis-py becomes the package's own, of the same class as well, with the original as its cause."""
    original = kind(message)
    with pytest.raises((RedisUnavailableError, RedisRefusedError)) as caught, redis_errors():
        raise original
    assert caught.value.__cause__ is original
    assert isinstance(caught.value, kind)
    assert isinstance(caught.value, TransientError | PermanentError)


wrong_statements = (
    st.from_regex(r"SELECT \* FROM missing_[a-z]{1,8}", fullmatch=True)
    | st.from_regex(r"[a-z]{3,10} nonsense", fullmatch=True)
    | st.integers(0, 9).map(lambda key: f"INSERT INTO keys VALUES ({key}), ({key})")
    | st.sampled_from(["SELECT missing()", "INSERT INTO keys VALUES (NULL)", "CREATE TABLE keys (id int)"])
)


@pytest.mark.requirement("XC-E1", "P-19")
@settings(max_examples=100, deadline=None)
@given(wrong_statements)
def test_p19_errors_of_the_database_driver_are_causes(statement: str) -> None:
    """Any failed statement raises the package's own error, of SQLAlchemy's class too, with the driver's as cause."""

    async def main() -> None:
        manager = DatabaseManager(DatabaseSettings(url="sqlite://"))
        try:
            async with manager.session() as session:
                await session.execute(text("CREATE TABLE keys (id int PRIMARY KEY NOT NULL)"))
                with pytest.raises((TransientError, PermanentError)) as caught:
                    await session.execute(text(statement))
            assert isinstance(caught.value, sqlalchemy.exc.DBAPIError)
            assert isinstance(caught.value.__cause__, sqlite3.Error)
        finally:
            await manager.dispose()

    anyio.run(main)


exceptions = st.builds(
    lambda kind, message: kind(message),
    st.sampled_from([ValueError, KeyError, OSError, TransientError, PermanentError, ProblemError]),
    any_text,
)


@pytest.mark.requirement("XC-E1", "P-19")
@settings(max_examples=200, deadline=None)
@given(st.lists(exceptions, min_size=1, max_size=5))
def test_p19_the_causes_of_a_tasks_error_reach_its_sender(chain: list[Exception]) -> None:
    """A result keeps the chain of causes of the task's error, through JSON."""
    for error, cause in pairwise(chain):
        error.__cause__ = cause

    async def main() -> BaseException | None:
        results = MemoryResults(ttl=60)
        await results.set_result(
            "task", TaskiqResult(is_err=True, log=None, return_value=None, execution_time=0.1, error=chain[0])
        )
        return (await results.get_result("task")).error

    received = anyio.run(main)
    for error in chain:
        assert (type(error), error.args) == (type(received), getattr(received, "args", None))
        received = None if received is None else received.__cause__
    assert received is None


@pytest.mark.requirement("XC-E1", "P-19")
@settings(max_examples=100, deadline=None)
@given(exceptions, st.integers(400, 599))
def test_p19_a_websocket_that_is_closed_raises_the_exception_itself(error: Exception, status: int) -> None:
    """A problem type can't answer on a closed WebSocket, and lets the original exception go on."""
    handler: Any = problem_type(type(error), name="any", status=status).handler

    async def refuse(*_: object) -> Any:
        raise AssertionError("a closed WebSocket neither receives nor sends")

    websocket = WebSocket({"type": "websocket", "path": "/", "headers": []}, refuse, refuse)
    websocket.application_state = WebSocketState.DISCONNECTED
    with pytest.raises(type(error)) as caught:
        anyio.run(handler, websocket, error)
    assert caught.value is error
