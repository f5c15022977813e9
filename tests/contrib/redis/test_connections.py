"""Connections that are lost, retried, and closed for good."""

import asyncio

import anyio
import pytest
from redis import exceptions as known
from redis.asyncio import Connection
from tests.contrib.redis.relays import relay

from bandmaster.contrib.redis import RedisClosedError, RedisRefusedError, RedisUnavailableError
from bandmaster.kernel import PermanentError
from bandmaster.kernel.testing import free_port

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CF-22", "F-12")
async def test_a_command_whose_connection_is_cut_is_tried_again(local_server, open_redis) -> None:
    """A command is retried on a new connection, without an error."""
    async with relay(local_server.port) as wire, open_redis(f"redis://127.0.0.1:{wire.port}", retries=3) as client:
        await client.set("key", "value")
        wire.cuts = {b"GET": 2}
        assert b"value" == await client.get("key")
        assert (3, 3) == (wire.saw(b"GET"), wire.accepted)


@pytest.mark.requirement("CF-22")
@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_tries_are_counted(local_server, open_redis, retries) -> None:
    """A command or a handshake is tried as often as the settings say."""
    async with (
        relay(local_server.port) as wire,
        open_redis(f"redis://127.0.0.1:{wire.port}", retries=retries) as client,
    ):
        await client.ping()
        wire.cuts = {b"GET": 100}
        with pytest.raises(RedisUnavailableError):
            await client.get("key")
        assert (retries + 1, retries + 1) == (wire.saw(b"GET"), wire.accepted)
        wire.cuts, wire.accepted = {b"HELLO": 100}, 0
        with pytest.raises(RedisUnavailableError):
            await client.get("key")
        assert retries + 1 == wire.accepted


@pytest.mark.requirement("CF-22")
async def test_tries_are_counted_when_a_server_goes_away(local_server, open_redis, monkeypatch) -> None:
    """Failed attempts to connect in the middle of a command count as attempts of the command."""
    refused = []

    async def refuse(connection):
        refused.append(connection)
        raise ConnectionRefusedError

    async with relay(local_server.port) as wire, open_redis(f"redis://127.0.0.1:{wire.port}", retries=3) as client:
        await client.ping()
        monkeypatch.setattr(Connection, "_connect", refuse)
        wire.cuts = {b"GET": 1}
        with pytest.raises(RedisUnavailableError):
            await client.get("key")
        assert 3 == len(refused)


async def test_a_connection_with_unread_answers_gets_no_command(open_redis) -> None:
    """A connection with unread answers gets no command."""

    async def babble(reader, writer):
        try:
            while await reader.read(1000):
                writer.write(b"+OK\r\n" * 9)
        except ConnectionResetError:
            pass
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with open_redis(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(RedisUnavailableError, match="not ready"):
            await client.get("key")
    server.close()
    await anyio.sleep(0.01)


async def test_a_pipeline_is_tried_again_as_a_whole(local_server, open_redis) -> None:
    """A transaction whose connection was cut did nothing, and is retried."""
    async with relay(local_server.port) as wire, open_redis(f"redis://127.0.0.1:{wire.port}") as client:
        await client.ping()
        wire.cuts = {b"MULTI": 1}
        assert [1, 2] == await client.pipeline().incr("n").incr("n").execute()


async def test_permanent_errors_are_not_retried(start_server, open_redis) -> None:
    """A permanent error, such as a wrong password, isn't retried."""
    async with relay(start_server("--requirepass", "right").port) as wire:
        async with open_redis(f"redis://:wrong@127.0.0.1:{wire.port}") as client:
            with pytest.raises(RedisRefusedError) as caught:
                await client.ping()
        assert isinstance(caught.value, known.AuthenticationError)
        assert 1 == wire.accepted


@pytest.mark.requirement("CF-22")
async def test_a_connection_that_rested_is_asked_whether_it_lives(local_server, open_redis) -> None:
    """An idle connection is checked before use, if the settings say so."""
    for interval, asked in ((0.01, 1), (0, 0)):
        async with relay(local_server.port) as wire:
            async with open_redis(f"redis://127.0.0.1:{wire.port}", health_check_interval=interval) as client:
                await client.get("key")
                before = wire.saw(b"PING")
                await anyio.sleep(0.03)
                await client.get("key")
                assert asked == wire.saw(b"PING") - before


@pytest.mark.requirement("CF-22")
async def test_an_answer_that_is_late_is_an_error(redis_url, open_redis) -> None:
    """An answer after the timeout is an error, and its connection isn't used again."""
    async with open_redis(redis_url, socket_timeout=0.1, retries=0, max_connections=1) as client:
        with pytest.raises(RedisUnavailableError, match="Timeout") as caught:
            await client.blpop(["nothing"], timeout=2)
        assert isinstance(caught.value, known.TimeoutError)
        assert await client.ping()


@pytest.mark.parametrize("kill", [False, True])
async def test_a_restart_of_the_server_is_survived(own_server, open_redis, kill) -> None:
    """Idle connections that died are found before they are used."""
    async with open_redis(own_server.url(), retries=0, max_connections=3) as client:
        await asyncio.gather(*(client.ping() for _ in range(3)))
        own_server.restart(kill=kill)
        await anyio.sleep(0.01)
        assert [True] * 3 == await asyncio.gather(*(client.ping() for _ in range(3)))


async def test_subscriptions_survive_a_restart(own_server, open_redis) -> None:
    """Channels are subscribed again after a restart."""
    async with open_redis(own_server.url(), retries=5) as client, client.pubsub() as subscription:
        await subscription.subscribe("news")
        assert "subscribe" == (await subscription.get_message(timeout=2))["type"]
        own_server.restart()
        with anyio.fail_after(5):
            while not await client.publish("news", "hello"):
                await subscription.get_message(timeout=0.1)
            while (message := await subscription.get_message(timeout=1)) is None or message["type"] != "message":
                pass
        assert b"hello" == message["data"]


@pytest.mark.requirement("XC-E1", "P-19", "XC-E3", "CF-32")
async def test_refusals_of_the_server_are_permanent(redis_url, open_redis) -> None:
    """Refusals are permanent errors, with redis-py's as the cause, for every kind of command."""
    async with open_redis(redis_url) as client:
        await client.set("text", "x")
        for ask in (
            lambda: client.lpush("text", 1),
            lambda: client.pipeline(transaction=False).lpush("text", 1).execute(),
            lambda: client.pipeline(transaction=True).lpush("text", 1).execute(),
        ):
            with pytest.raises(RedisRefusedError, match="WRONGTYPE") as caught:
                await ask()
            assert isinstance(caught.value, known.ResponseError)
            assert isinstance(caught.value.__cause__, known.ResponseError)
        with pytest.raises(RedisRefusedError) as caught:
            await client.evalsha("0" * 40, 0)
        assert isinstance(caught.value, known.NoScriptError)


async def test_handlers_of_redis_pys_errors_still_work(redis_url, open_redis) -> None:
    """redis-py's own handling of its errors still works: scripts are sent again, groups are found."""
    async with open_redis(redis_url) as client:
        script = client.register_script("return 7")
        assert 7 == await script()
        await client.script_flush()
        assert 7 == await script()
        await client.xgroup_create("stream", "group", mkstream=True)
        with pytest.raises(known.ResponseError, match=r"^BUSYGROUP"):
            await client.xgroup_create("stream", "group", mkstream=True)
        async with client.lock("lock", timeout=5), client.pipeline() as pipe:
            await pipe.watch("n")
            await client.set("n", 1)
            pipe.multi()
            with pytest.raises(known.WatchError):
                await pipe.get("n").execute()


@pytest.mark.requirement("XC-E3", "CF-32")
@pytest.mark.parametrize(
    ("options", "command", "kind"),
    [
        (("--maxmemory", "1"), ("SET", "key", "value"), known.OutOfMemoryError),
        (("--replicaof", "127.0.0.1", "1"), ("SET", "key", "value"), known.ReadOnlyError),
        (
            ("--replicaof", "127.0.0.1", "1", "--replica-serve-stale-data", "no"),
            ("GET", "key"),
            known.MasterDownError,
        ),
        (("--cluster-enabled", "yes"), ("GET", "key"), known.ClusterDownError),
    ],
    ids=["full", "replica", "stale", "cluster"],
)
async def test_temporary_refusals_are_transient(start_server, open_redis, options, command, kind) -> None:
    """Temporary refusals are transient: full, a replica, without its master, an incomplete cluster."""
    if "--cluster-enabled" in options:
        # By itself the server would listen at a port that is 10000 higher, which there may not be.
        options = (*options, "--cluster-port", str(free_port()))
    async with open_redis(start_server(*options).url()) as client:
        with pytest.raises(RedisUnavailableError) as caught:
            await client.execute_command(*command)
        assert isinstance(caught.value, kind)


async def test_a_right_that_is_missing(own_server, open_redis) -> None:
    """A missing right is a permanent error."""
    async with open_redis(own_server.url()) as client:
        await client.acl_setuser("reader", enabled=True, passwords=["+pw"], keys=["*"], commands=["+get"])
    url = f"redis://reader:pw@127.0.0.1:{own_server.port}"
    async with open_redis(url, client_name="") as client:
        assert await client.get("key") is None
        with pytest.raises(RedisRefusedError) as caught:
            await client.set("key", "value")
        assert isinstance(caught.value, known.NoPermissionError)
    async with open_redis(url) as client:
        with pytest.raises(RedisRefusedError, match=r"client.setname"):
            await client.get("key")


async def test_nothing_opens_a_closed_client_again(redis_url, open_redis) -> None:
    """No command, pipeline, subscription, lock, monitor or connection from before the end reopens the client."""
    async with open_redis(redis_url, client_name="ended") as client, open_redis(redis_url) as other:
        await client.ping()
        watching = client.pipeline()
        await watching.watch("key")
        subscribed = client.pubsub()
        await subscribed.subscribe("news")
        lock, script = client.lock("lock", timeout=1, blocking_timeout=0.1), client.register_script("return 1")
        await client.connection_pool.aclose()
        uses = {
            "command": client.ping,
            "pipeline": client.pipeline().get("key").execute,
            "watching pipeline": lambda: watching.get("key"),
            "subscription": lambda: client.pubsub().subscribe("news"),
            "subscribed": lambda: subscribed.get_message(timeout=0.1),
            "subscribe": lambda: subscribed.subscribe("more"),
            "lock": lock.acquire,
            "script": script,
            "monitor": client.monitor().connect,
            "one connection": client.client().ping,
        }
        for name, use in uses.items():
            with pytest.raises(RedisClosedError, match="was closed with the application"):
                pytest.fail(f"{name} answered {await use()!r}")
        with pytest.raises(RedisClosedError):
            await watching.aclose()
        await subscribed.aclose()
        assert [] == [each for each in await other.client_list() if each["name"] == "ended"]


def test_the_end_is_permanent() -> None:
    """The error after the end isn't retried by handlers of redis-py's errors."""
    assert issubclass(RedisClosedError, PermanentError)
    assert not issubclass(RedisClosedError, known.RedisError)


async def test_a_command_in_flight_ends_with_the_client(redis_url, open_redis) -> None:
    """A command in flight fails when the client is closed, and isn't retried."""
    async with open_redis(redis_url) as client:
        task = asyncio.ensure_future(client.blpop(["nothing"], timeout=4))
        await anyio.sleep(0.05)
    with pytest.raises(RedisClosedError):
        await asyncio.wait_for(task, 1)


async def test_a_connection_that_is_being_made_ends_with_the_client(open_redis) -> None:
    """A connection that is being made is closed with the client."""
    left = asyncio.Event()

    async def hold(reader, writer):
        with anyio.CancelScope(shield=True):
            while await reader.read(1000):
                pass
        writer.close()
        left.set()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with open_redis(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        task = asyncio.ensure_future(client.ping())
        await anyio.sleep(0.05)
    with pytest.raises(RedisClosedError):
        await asyncio.wait_for(task, 1)
    await asyncio.wait_for(left.wait(), 1)
    server.close()


async def test_a_connection_that_is_made_too_late_is_closed(redis_url, open_redis, monkeypatch) -> None:
    """A connection that is ready after the client's end is closed."""
    go_on, connect = asyncio.Event(), Connection._connect

    async def slowly(self):
        await go_on.wait()
        await connect(self)

    async with open_redis(redis_url) as other:
        await other.ping()
        monkeypatch.setattr(Connection, "_connect", slowly)
        async with open_redis(redis_url, client_name="late") as client:
            task = asyncio.ensure_future(client.ping())
            await anyio.wait_all_tasks_blocked()
        go_on.set()
        with pytest.raises(RedisClosedError):
            await asyncio.wait_for(task, 1)
        assert [] == [each for each in await other.client_list() if each["name"] == "late"]
