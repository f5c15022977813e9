"""A queue on a master that sentinels name, when another becomes the master."""

import anyio
import pytest
from redis.asyncio import Redis
from tests.contrib.redis.sentinels import sentinel
from tests.contrib.taskiq.streams.helpers import STREAM, listening, message, text_of, until

from bandmaster.contrib.redis.testing import redis_server as serving
from bandmaster.kernel import BandmasterError

pytestmark = pytest.mark.anyio


async def test_a_failover(own_server, tmp_path, worker) -> None:
    """Worker and sender follow a promoted replica, and a running task is kept and acknowledged there."""
    folder = tmp_path / "replica"
    folder.mkdir()
    told = []
    options = ["--replicaof", "127.0.0.1", str(own_server.port), "--shutdown-timeout", "0"]
    with serving(folder, options=options) as replica:
        with sentinel(tmp_path / "sentinel", own_server.port) as port, anyio.fail_after(45):
            url = f"redis+sentinel://127.0.0.1:{port}/main/1"
            async with (
                Redis(port=port, decode_responses=True) as asked,
                Redis(port=own_server.port) as old,
                Redis(port=replica.port, db=1) as new,
                worker(url=url, lease=10) as broker,
                worker(url=url) as sender,
                listening(broker) as messages,
            ):
                await until(lambda: _knows_replica(asked), 12)
                await sender.kick(message("before"))
                before = await anext(messages)
                assert before.handle.begin(lambda: told.append(1))
                await until(lambda: new.exists(STREAM))
                await asked.execute_command("SENTINEL", "FAILOVER", "main")
                await until(lambda: _is_master(asked, replica.port), 15)
                # Sentinels leave the old master writable for ten seconds more, and writes until then are lost.
                await old.replicaof("127.0.0.1", str(replica.port))
                await old.client_kill_filter(_type="normal")  # as sentinels do

                async def sent() -> bool:
                    try:
                        await sender.kick(message("after"))
                    except BandmasterError:
                        return False
                    return True

                await until(sent, 15)
                assert text_of(await anext(messages)) == "after"
                assert len(await new.xrange(STREAM)) == 2
                await before.handle.acknowledge()
                assert (await sender.depth()).held == 1
                assert len(await new.xrange(STREAM)) == 1
    assert told == []


async def _knows_replica(asked) -> bool:
    return any("master-link-status" in one and one["master-link-status"] == "ok" for one in await _replicas(asked))


async def _replicas(asked):
    found = await asked.execute_command("SENTINEL", "REPLICAS", "main")
    return [one if isinstance(one, dict) else dict(zip(one[::2], one[1::2], strict=True)) for one in found]


async def _is_master(asked, port) -> bool:
    return (await asked.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"))[1] == str(port)
