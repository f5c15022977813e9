"""Observers of Redis commands: what they are told, and that they harm no command."""

from typing import Annotated

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ResponseError, WatchError
from tests.logged import capture_logs

from bandmaster.contrib.redis import CommandObserver, RedisSettings, open_client, redis, redis_component
from bandmaster.contrib.redis.observed_client import read_name
from bandmaster.kernel import Kernel, Named, value

pytestmark = pytest.mark.anyio


class Recording(CommandObserver):
    """Keeps the commands and the errors at their ends."""

    def __init__(self):
        self.commands, self.errors = [], []

    def observe_command(self, command):
        self.commands.append(command)
        return self.errors.append

    @property
    def names(self):
        return [(command.name, command.names) for command in self.commands]


class Failing(CommandObserver):
    """Raises when a command begins, or when it ends."""

    def __init__(self, when):
        self.when = when

    def observe_command(self, command):
        if self.when == "begin":
            raise LookupError("the observer's own fault")
        return self.end

    def end(self, error):
        raise LookupError("the observer's own fault")


@pytest.fixture
async def seen():
    return Recording()


@pytest.fixture
async def observed(redis_url, seen):
    """A client with an observer."""
    async with open_client(RedisSettings(url=redis_url), "cache", observers=[seen]) as client:
        yield client


async def test_a_command_is_reported_without_keys_and_values(observed, seen) -> None:
    """An observer learns the client, the server, the database and the name of the command."""
    await observed.set("key", "value")
    assert b"value" == await observed.get("key")
    assert [("SET", ("SET",)), ("GET", ("GET",))] == seen.names
    place = seen.commands[0].place
    assert ("cache", "127.0.0.1") == (place.client, place.host)
    assert (observed.connection_pool.connection_kwargs["port"], observed.connection_pool.connection_kwargs["db"]) == (
        place.port,
        place.database,
    )
    assert [None, None] == seen.errors
    assert not {"key", "value"} & set(repr(seen.commands).replace("'", " ").split())


async def test_a_whole_command_in_one_text_is_cut(observed, seen) -> None:
    """redis-py splits such a text itself; its keys and values aren't reported."""
    await observed.execute_command("SET secret hunter2")
    assert b"hunter2" == await observed.get("secret")
    assert ["SET", "GET"] == [command.name for command in seen.commands]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("get", "GET"),
        (b"config get", "CONFIG GET"),
        ("client setname bob", "CLIENT SETNAME"),
        ("json.set key $ 1", "JSON.SET"),
        ("", "OTHER"),
        ("ключ", "OTHER"),
        ("1secret", "OTHER"),
        (b"\xff\xfe", "OTHER"),
        (None, "NONE"),
        ("x" * 1000, "X" * 40),
    ],
)
def test_names_of_commands(command, name) -> None:
    """A name has letters, digits, dots, dashes and underscores, 40 at the most; a second word only where it belongs."""
    assert name == read_name(command)


async def test_a_pipeline_is_reported_as_one(observed, seen) -> None:
    """A pipeline is one round trip: one report with the names of its commands, and none without commands."""
    async with observed.pipeline(transaction=False) as pipeline:
        assert [True, b"1"] == await pipeline.set("a", 1).get("a").execute()
        assert [] == await pipeline.execute()
    async with observed.pipeline() as pipeline:
        assert [2] == await pipeline.incr("a").execute()
    assert [("PIPELINE", ("SET", "GET")), ("MULTI", ("INCRBY",))] == seen.names


async def test_commands_under_watch_are_reported_one_by_one(observed, seen) -> None:
    """A pipeline that watches sends its commands at once until ``multi``; a lost race is the error of the whole."""
    async with observed.pipeline() as pipeline:
        await pipeline.watch("a")
        await pipeline.get("a")
        pipeline.multi()
        pipeline.set("a", 1)
        await observed.set("a", 2)
        with pytest.raises(WatchError):
            await pipeline.execute()
    assert ["WATCH", "GET", "SET", "MULTI"] == [command.name for command in seen.commands]
    *none, lost = seen.errors
    assert ([None] * 3, True) == (none, isinstance(lost, WatchError))


async def test_errors_are_reported(observed, seen) -> None:
    """The observer gets the error that the caller gets."""
    await observed.set("a", 1)
    with pytest.raises(ResponseError) as raised:
        await observed.lpush("a", 1)
    assert [None, raised.value] == seen.errors


async def test_clients_of_one_connection_and_locks_report(observed, seen) -> None:
    """redis-py's helpers on top of a client report, too."""
    async with observed.client() as single:
        await single.set("a", 1)
    async with observed.lock("lock", timeout=10):
        pass
    names = [command.name for command in seen.commands]
    assert "SET" == names[0]
    assert "EVALSHA" in names


@pytest.mark.parametrize("when", ["begin", "end"])
async def test_an_observer_that_fails_harms_no_command(redis_url, seen, when) -> None:
    """The command goes on, other observers are told, and the failure is logged."""
    with capture_logs() as logs:
        async with open_client(RedisSettings(url=redis_url), "redis", observers=[Failing(when), seen]) as client:
            assert True is await client.set("a", 1)
    assert ([("SET", ("SET",))], [None]) == (seen.names, seen.errors)
    (told,) = [log for log in logs if log["event"] == "an observer of Redis commands failed"]
    assert ("LookupError", True) == (told["error"], "Failing" in told["observer"])


async def test_without_observers_the_client_is_redis_pys_own(redis_url) -> None:
    """An application that observes nothing has no class of ours between itself and redis-py."""
    async with open_client(RedisSettings(url=redis_url), "redis") as client:
        assert (Redis, Pipeline) == (type(client), type(client.pipeline()))


async def test_every_client_of_an_application_is_observed_without_its_health_check(redis_url, monkeypatch) -> None:
    """The shared client and the named ones report; the clients of health checks don't."""
    seen = Recording()
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("CACHE_REDIS_URL", redis_url)
    parts = [redis, redis_component("cache"), value(seen, name="seen", provides=CommandObserver)]
    kernel = Kernel(contributions=parts, discover=False)
    async with kernel.running() as resources:
        assert "pass" == (await kernel.ready()).status
        assert [] == seen.commands
        await resources[Annotated[Redis, Named("cache")]].get("a")
        await resources[Redis].get("a")
    assert ["cache", "redis"] == [command.place.client for command in seen.commands]
