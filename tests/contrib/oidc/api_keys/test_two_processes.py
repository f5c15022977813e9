"""Two processes with one database: each sees the changes of the other one at once."""

import json
import re
import subprocess
import sys
from contextlib import contextmanager

import anyio
import pytest
from tests.contrib.oidc.api_keys.conftest import OLD_PEPPER, PEPPER

from bandmaster.contrib.oidc import ApiKeys, ApiKeySettings, HmacSha256Hasher
from bandmaster.contrib.oidc.errors import InvalidTokenError

pytestmark = pytest.mark.anyio

# Serves commands from standard input, a JSON list each, as an application serves requests.
PROCESS = """
import json, sys
import anyio
from pydantic import SecretStr
from bandmaster.contrib.oidc import ApiKeyError, ApiKeys, ApiKeySettings, SqlApiKeyStore, HmacSha256Hasher
from bandmaster.contrib.oidc.api_keys.build import build_hasher
from bandmaster.contrib.oidc.api_keys.pending_updates import PendingUpdates
from bandmaster.contrib.oidc.errors import InvalidTokenError
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings

url, hasher, peppers = json.loads(sys.argv[1])

async def main():
    settings = ApiKeySettings(peppers=peppers, hasher=hasher, bcrypt_wait=60)
    manager = DatabaseManager(DatabaseSettings(url=url, connect_timeout=20, slow_query=0))
    store = SqlApiKeyStore(manager)
    updates = PendingUpdates(store, interval=60)
    keys = ApiKeys(store, build_hasher(settings), settings, updates=updates)
    print("ready", flush=True)
    while line := await anyio.to_thread.run_sync(sys.stdin.readline):
        action, *arguments = json.loads(line)
        try:
            if action == "verify":
                answer = (await keys.verify(arguments[0])).subject
            elif action == "rotate":
                answer = (await keys.rotate(arguments[0], grace=arguments[1])).record.id
            elif action == "revoke":
                answer = (await keys.revoke(arguments[0])).id
            else:
                answer = await updates.write()
        except (InvalidTokenError, ApiKeyError) as error:
            answer = type(error).__name__
        print(json.dumps(answer), flush=True)
    await manager.dispose()

anyio.run(main)
"""


class Process:
    """Another process of the application."""

    def __init__(self, process):
        self._process = process

    def send(self, *command):
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def receive(self):
        return json.loads(self._process.stdout.readline())

    def ask(self, *command):
        self.send(*command)
        return self.receive()


@contextmanager
def open_process(url, hasher="hmac-sha256", peppers=None):
    arguments = json.dumps([url, hasher, peppers or {"2026": PEPPER}])
    with subprocess.Popen(
        [sys.executable, "-c", PROCESS, arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert "ready\n" == process.stdout.readline()
            yield Process(process)
        finally:
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
def anyio_backend():
    """SQLAlchemy's asynchronous engines run on asyncio only."""
    return "asyncio"


@pytest.fixture
def keys(sql_store, hasher, settings):
    return ApiKeys(sql_store, hasher, settings)


@pytest.mark.requirement("CA-52")
@pytest.mark.parametrize("hashing", ["hmac-sha256", "bcrypt"])
@pytest.mark.parametrize("database_url", ["sqlite", "psycopg"], indirect=True)
async def test_what_one_process_ends_the_other_refuses_at_once(keys, database_url, hashing) -> None:
    """No cache prolongs a key, also not the one of bcrypt: the very next request is refused."""
    with open_process(database_url, hashing) as other:
        revoked, rotated = await keys.create("acme"), await keys.create("acme")
        for made in (revoked, rotated):
            for _ in range(2):
                assert "acme" == other.ask("verify", made.key.get_secret_value())
        await keys.revoke(revoked.record.id)
        assert "InvalidTokenError" == other.ask("verify", revoked.key.get_secret_value())
        successor = await keys.rotate(rotated.record.id, grace=0)
        assert "InvalidTokenError" == other.ask("verify", rotated.key.get_secret_value())
        assert "acme" == other.ask("verify", successor.key.get_secret_value())
        assert successor.record.id == other.ask("revoke", successor.record.id)
        with pytest.raises(InvalidTokenError):
            await keys.verify(successor.key.get_secret_value())


@pytest.mark.requirement("CA-52")
@pytest.mark.parametrize("database_url", ["sqlite", "psycopg"], indirect=True)
async def test_processes_that_rotate_one_key_make_one_successor(keys, database_url) -> None:
    """Both processes rotate at the same time, key after key: one succeeds each time, and the other says so."""
    with open_process(database_url) as one, open_process(database_url) as two:
        for _ in range(10):
            made = await keys.create("acme")
            for process in (one, two):
                process.send("rotate", made.record.id, 60)
            answers = [await anyio.to_thread.run_sync(process.receive) for process in (one, two)]
            assert 1 == answers.count("ApiKeyError"), answers
            (successor,) = [answer for answer in answers if answer != "ApiKeyError"]
            assert successor == (await keys.get(made.record.id)).replaced_by
    assert 20 == len(await keys.list())


@pytest.mark.requirement("CA-51")
@pytest.mark.parametrize("database_url", ["sqlite", "psycopg"], indirect=True)
async def test_a_use_in_two_processes_is_one_write(keys, database_url) -> None:
    """The second process finds the use of the first in the record, and writes nothing within the minute."""
    made = await keys.create("acme")
    key = made.key.get_secret_value()
    with open_process(database_url) as one, open_process(database_url) as two:
        # Both have read the record before either writes.
        for process in (one, two):
            assert "acme" == process.ask("verify", key)
        assert one.ask("write")
        first = (await keys.get(made.record.id)).last_used_at
        assert first is not None
        assert two.ask("write")
        for process in (one, two):
            assert "acme" == process.ask("verify", key)
            assert process.ask("write")
        assert first == (await keys.get(made.record.id)).last_used_at


@pytest.mark.requirement("CA-50")
@pytest.mark.parametrize("database_url", ["sqlite", "psycopg"], indirect=True)
async def test_a_pepper_is_rotated_process_by_process(sql_store, settings, database_url) -> None:
    """While one process has both peppers in the new order and another one in the old, every key works in both."""
    old = HmacSha256Hasher(ApiKeySettings(peppers={"2025": OLD_PEPPER}).peppers)
    made = await ApiKeys(sql_store, old, settings).create("acme")
    key = made.key.get_secret_value()
    new_first = {"2026": PEPPER, "2025": OLD_PEPPER}
    old_first = {"2025": OLD_PEPPER, "2026": PEPPER}
    with open_process(database_url, peppers=new_first) as one, open_process(database_url, peppers=old_first) as two:
        for _ in range(3):
            for process, pepper in ((one, "2026"), (two, "2025")):
                assert "acme" == process.ask("verify", key)
                assert process.ask("write")
                assert f"hmac-sha256${pepper}" == (await sql_store.get(made.record.id)).hashed_with


@pytest.mark.requirement("CA-51")
async def test_a_request_costs_one_select(keys, statements) -> None:
    """A request with a key costs one SELECT by the primary key, and no write."""
    made = await keys.create("acme")
    statements.clear()
    await keys.verify(made.key.get_secret_value())
    (statement,) = [statement for statement in statements if not statement.startswith("BEGIN")]
    assert re.fullmatch(r"SELECT auth_api_keys\..*\sWHERE auth_api_keys\.id = \?", statement, re.DOTALL)
