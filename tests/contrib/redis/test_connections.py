"""Connections that are lost, mended, and closed for good."""

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


# -- retries ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("CF-22", "F-12")
async def test_a_command_whose_connection_is_cut_is_tried_again(local_server, opened) -> None:
    """Nobody notices."""
    async with relay(local_server.port) as wire, opened(f"redis://127.0.0.1:{wire.port}", retries=3) as client:
        await client.set("key", "value")
        wire.cuts = {b"GET": 2}
        assert b"value" == await client.get("key")
        assert (3, 3) == (wire.saw(b"GET"), wire.accepted)


@pytest.mark.requirement("CF-22")
@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_tries_are_counted(local_server, opened, retries) -> None:
    """As often as the settings say, whether it is the command that fails or the handshake."""
    async with relay(local_server.port) as wire, opened(f"redis://127.0.0.1:{wire.port}", retries=retries) as client:
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
async def test_tries_are_counted_when_a_server_goes_away(local_server, opened, monkeypatch) -> None:
    """In the middle of a command, connections that can't be made count as tries of it."""
    refused = []

    async def refuse(connection):
        refused.append(connection)
        raise ConnectionRefusedError

    async with relay(local_server.port) as wire, opened(f"redis://127.0.0.1:{wire.port}", retries=3) as client:
        await client.ping()
        monkeypatch.setattr(Connection, "_connect", refuse)
        wire.cuts = {b"GET": 1}
        with pytest.raises(RedisUnavailableError):
            await client.get("key")
        assert 3 == len(refused)


async def test_a_server_that_says_more_than_it_is_asked(opened) -> None:
    """Gets no command: its answers would be taken for those of others."""

    async def babble(reader, writer):
        try:
            while await reader.read(1000):
                writer.write(b"+OK\r\n" * 9)
        except ConnectionResetError:
            pass
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with opened(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(RedisUnavailableError, match="not ready"):
            await client.get("key")
    server.close()
    await anyio.sleep(0.01)


async def test_a_pipeline_is_tried_again_as_a_whole(local_server, opened) -> None:
    """A transaction that was cut off has done nothing."""
    async with relay(local_server.port) as wire, opened(f"redis://127.0.0.1:{wire.port}") as client:
        await client.ping()
        wire.cuts = {b"MULTI": 1}
        assert [1, 2] == await client.pipeline().incr("n").incr("n").execute()


async def test_what_stays_is_not_tried_again(start_server, opened) -> None:
    """A wrong password is one at the second try as well."""
    async with relay(start_server("--requirepass", "right").port) as wire:
        async with opened(f"redis://:wrong@127.0.0.1:{wire.port}") as client:
            with pytest.raises(RedisRefusedError) as caught:
                await client.ping()
        assert isinstance(caught.value, known.AuthenticationError)
        assert 1 == wire.accepted


@pytest.mark.requirement("CF-22")
async def test_a_connection_that_rested_is_asked_whether_it_lives(local_server, opened) -> None:
    """If the settings say so."""
    for interval, asked in ((0.01, 1), (0, 0)):
        async with relay(local_server.port) as wire:
            async with opened(f"redis://127.0.0.1:{wire.port}", health_check_interval=interval) as client:
                await client.get("key")
                before = wire.saw(b"PING")
                await anyio.sleep(0.03)
                await client.get("key")
                assert asked == wire.saw(b"PING") - before


@pytest.mark.requirement("CF-22")
async def test_an_answer_that_is_late_is_an_error(redis_url, opened) -> None:
    """After the time that the settings say; the connection isn't used again."""
    async with opened(redis_url, socket_timeout=0.1, retries=0, max_connections=1) as client:
        with pytest.raises(RedisUnavailableError, match="Timeout") as caught:
            await client.blpop(["nothing"], timeout=2)
        assert isinstance(caught.value, known.TimeoutError)
        assert await client.ping()


@pytest.mark.parametrize("kill", [False, True])
async def test_a_restart_of_the_server_is_survived(own_server, opened, kill) -> None:
    """Connections that rested meanwhile are found to be dead before they are used."""
    async with opened(own_server.url(), retries=0, max_connections=3) as client:
        await asyncio.gather(*(client.ping() for _ in range(3)))
        own_server.restart(kill=kill)
        await anyio.sleep(0.01)
        assert [True] * 3 == await asyncio.gather(*(client.ping() for _ in range(3)))


async def test_subscriptions_survive_a_restart(own_server, opened) -> None:
    """Channels are subscribed to again."""
    async with opened(own_server.url(), retries=5) as client, client.pubsub() as subscription:
        await subscription.subscribe("news")
        assert "subscribe" == (await subscription.get_message(timeout=2))["type"]
        own_server.restart()
        with anyio.fail_after(5):
            while not await client.publish("news", "hello"):
                await subscription.get_message(timeout=0.1)
            while (message := await subscription.get_message(timeout=1)) is None or message["type"] != "message":
                pass
        assert b"hello" == message["data"]


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("XC-E1", "P-19", "XC-E3", "CF-32")
async def test_what_the_server_refuses_for_good(redis_url, opened) -> None:
    """Comes as this package's error, with redis-py's as the cause, by whatever way it was asked for."""
    async with opened(redis_url) as client:
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


async def test_what_catches_redis_pys_errors_still_does(redis_url, opened) -> None:
    """Scripts that the server has forgotten are sent again, groups that are there are found by their text."""
    async with opened(redis_url) as client:
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
async def test_what_the_server_refuses_for_now(start_server, opened, options, command, kind) -> None:
    """Is transient: full, a replica, cut off from its master, a cluster that isn't whole."""
    if "--cluster-enabled" in options:
        # By itself the server would listen at a port that is 10000 higher, which there may not be.
        options = (*options, "--cluster-port", str(free_port()))
    async with opened(start_server(*options).url()) as client:
        with pytest.raises(RedisUnavailableError) as caught:
            await client.execute_command(*command)
        assert isinstance(caught.value, kind)


async def test_a_right_that_is_missing(own_server, opened) -> None:
    """Stays missing."""
    async with opened(own_server.url()) as client:
        await client.acl_setuser("reader", enabled=True, passwords=["+pw"], keys=["*"], commands=["+get"])
    url = f"redis://reader:pw@127.0.0.1:{own_server.port}"
    async with opened(url, client_name="") as client:
        assert await client.get("key") is None
        with pytest.raises(RedisRefusedError) as caught:
            await client.set("key", "value")
        assert isinstance(caught.value, known.NoPermissionError)
    async with opened(url) as client:
        with pytest.raises(RedisRefusedError, match=r"client.setname"):
            await client.get("key")


# -- the end ---------------------------------------------------------------------------------------------------------


async def test_nothing_opens_a_closed_client_again(redis_url, opened) -> None:
    """No command, pipeline, subscription, lock, monitor or connection that was made before the end."""
    async with opened(redis_url, client_name="ended") as client, opened(redis_url) as other:
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
            with pytest.raises(RedisClosedError, match="has been closed with the application"):
                pytest.fail(f"{name} answered {await use()!r}")
        with pytest.raises(RedisClosedError):
            await watching.aclose()
        await subscribed.aclose()
        assert [] == [each for each in await other.client_list() if each["name"] == "ended"]


def test_the_end_is_permanent() -> None:
    """Nothing that tries again after redis-py's errors goes on for ever."""
    assert issubclass(RedisClosedError, PermanentError)
    assert not issubclass(RedisClosedError, known.RedisError)


async def test_a_command_in_flight_ends_with_the_client(redis_url, opened) -> None:
    """It isn't tried again."""
    async with opened(redis_url) as client:
        task = asyncio.ensure_future(client.blpop(["nothing"], timeout=4))
        await anyio.sleep(0.05)
    with pytest.raises(RedisClosedError):
        await asyncio.wait_for(task, 1)


async def test_a_connection_that_is_being_made_ends_with_the_client(opened) -> None:
    """Nothing is left open that nobody knows of."""
    left = asyncio.Event()

    async def hold(reader, writer):
        with anyio.CancelScope(shield=True):
            while await reader.read(1000):
                pass
        writer.close()
        left.set()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with opened(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        task = asyncio.ensure_future(client.ping())
        await anyio.sleep(0.05)
    with pytest.raises(RedisClosedError):
        await asyncio.wait_for(task, 1)
    await asyncio.wait_for(left.wait(), 1)
    server.close()


async def test_a_connection_that_is_made_too_late_is_closed(redis_url, opened, monkeypatch) -> None:
    """When its client has been closed meanwhile."""
    go_on, connect = asyncio.Event(), Connection._connect

    async def slowly(self):
        await go_on.wait()
        await connect(self)

    async with opened(redis_url) as other:
        await other.ping()
        monkeypatch.setattr(Connection, "_connect", slowly)
        async with opened(redis_url, client_name="late") as client:
            task = asyncio.ensure_future(client.ping())
            await anyio.wait_all_tasks_blocked()
        go_on.set()
        with pytest.raises(RedisClosedError):
            await asyncio.wait_for(task, 1)
        assert [] == [each for each in await other.client_list() if each["name"] == "late"]
