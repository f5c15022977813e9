"""Keys and peppers appear in no log, repr, error, plan, configuration or answer."""

import json
import logging
import re
import subprocess
import sys

import pytest
from pydantic import SecretStr, ValidationError
from starlette.applications import Starlette
from starlette.routing import Route
from tests.contrib.oidc.api_keys.conftest import OLD_PEPPER, PEPPER
from tests.contrib.oidc.api_keys.test_component import PARTS

from bandmaster.contrib.oidc import (
    ApiKeyAuth,
    ApiKeys,
    ApiKeySettings,
    ApiKeyStore,
    BcryptHasher,
    HmacSha256Hasher,
    MemoryApiKeyStore,
)
from bandmaster.contrib.oidc.api_keys.component import api_key_memory_store, api_keys
from bandmaster.contrib.oidc.api_keys.key_text import add_checksum
from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidTokenError
from bandmaster.contrib.persistence import DatabaseSettings
from bandmaster.kernel import Kernel
from bandmaster.kernel.testing import run

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("AU-17")]

PEPPERS = {"2026": SecretStr(PEPPER), "2025": SecretStr(OLD_PEPPER)}


def assert_hidden(text: str, *keys: str) -> None:
    """No text has a pepper, a key, the secret in a key, or the hash of a key."""
    for secret in (PEPPER, OLD_PEPPER, *keys, *(key[22:65] for key in keys)):
        assert secret not in text
    assert not re.search(r"hmac-sha256\$\w+\$[0-9a-f]{8}|\$2b\$12\$[./A-Za-z0-9]{20}", text)


class BrokenStore(MemoryApiKeyStore):
    """A store whose errors are as talkative as those of a database."""

    failure: Exception | None = None

    async def get(self, key_id):
        if self.failure is not None:
            raise self.failure
        return await super().get(key_id)


async def boom(request):
    raise OSError("the handler failed")


@pytest.mark.parametrize("hasher", ["hmac-sha256", "bcrypt"])
async def test_nothing_that_is_logged_or_answered_has_a_secret(caplog, hasher) -> None:
    """Whatever happens to a request: success, refusal, an outage, and an error of the handler."""
    caplog.set_level(logging.DEBUG)
    settings = ApiKeySettings(peppers=PEPPERS, hasher=hasher)
    store = BrokenStore()
    seen = []
    host = Starlette(routes=[Route("/boom", boom)])
    overrides = {ApiKeySettings: settings, ApiKeyStore: store}
    async with run(
        host, contributions=[api_keys, ApiKeyAuth], overrides=overrides, raise_app_exceptions=False, timeout=60
    ) as running:
        keys = running.resources[ApiKeys]
        made = await keys.create("acme", scopes=["read"])
        key = made.key.get_secret_value()
        forged = add_checksum(key[:22] + "Z" * 43)
        rotated = (await keys.rotate(made.record.id, grace=0)).key.get_secret_value()

        async def send(text, path="/"):
            for headers in ({"x-api-key": text}, {"authorization": f"Bearer {text}"}):
                answer = await running.client.get(path, headers=headers)
                seen.append(f"{answer.status_code} {answer.headers} {answer.text}")

        for text in (key, forged, rotated, key[:-1], key.replace("live", "test")):
            await send(text)
        await send(rotated, "/boom")
        store.failure = AuthUnavailableError("away")
        await send(rotated)
        store.failure = None
        seen += [repr(made), repr(made.record), str(made), repr(keys), repr(await keys.verify(rotated)), repr(settings)]
        seen.append(repr(running.app.plan))
    assert {"200", "401", "404", "500", "503"} >= {line[:3] for line in seen if line[:3].isdigit()}
    everything = "\n".join([*seen, caplog.text, *(str(vars(record)) for record in caplog.records)])
    assert "API key created" in everything
    assert_hidden(everything, key, forged, rotated)


async def test_no_error_has_a_secret(keys, hasher) -> None:
    """Neither the text of an error nor a cause repeats the credential."""
    key = (await keys.create("acme")).key.get_secret_value()
    forged = add_checksum(key[:22] + "Z" * 43)
    for bad in (forged, key[:-1], key + "x", key.replace("bmk", "abc")):
        with pytest.raises(InvalidTokenError) as caught:
            await keys.verify(bad)
        assert_hidden(f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}", bad, key)
    for make in (lambda: ApiKeySettings(peppers={"a b": PEPPER}), lambda: ApiKeySettings(peppers=f"a={PEPPER},a=x")):
        with pytest.raises(ValidationError) as wrong:
            make()
        assert_hidden(str(wrong.value))


def test_no_hasher_shows_its_peppers() -> None:
    """The repr has the ids only."""
    for hasher in (HmacSha256Hasher(PEPPERS), BcryptHasher(PEPPERS)):
        assert_hidden(repr(hasher))
        assert "2026, 2025" in repr(hasher)


def test_no_plan_has_a_secret() -> None:
    """The plan with settings, budget and reasons."""
    overrides = {
        ApiKeySettings: ApiKeySettings(peppers=PEPPERS, store="sql"),
        DatabaseSettings: DatabaseSettings(url="sqlite:///x.sqlite3"),
    }
    plan = Kernel(contributions=PARTS, overrides=overrides, discover=False).plan
    assert_hidden(repr(plan) + str(plan) + str(plan.settings))


@pytest.mark.parametrize("command", [["plan"], ["config"], ["config", "--format", "env"], ["check"], ["plugins"]])
@pytest.mark.parametrize("answer", ["text", "json"])
def test_no_command_prints_a_pepper(tmp_path, command, answer) -> None:
    """With peppers in the environment, in every form of every command that shows settings."""
    if "--format" in command and answer == "json":
        pytest.skip("the env form has no JSON form")
    done = subprocess.run(
        [sys.executable, "-m", "bandmaster.kernel", *command, *([] if "--format" in command else ["--format", answer])],
        env={
            "AUTH_API_KEY_PEPPERS": f"2026={PEPPER},2025={OLD_PEPPER}",
            "AUTH_API_KEY_STORE": "sql",
            "DATABASE_URL": f"sqlite:///{tmp_path / 'x.sqlite3'}",
            "PATH": "",
            "HOME": str(tmp_path),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout
    assert_hidden(done.stdout + done.stderr)
    if command == ["plan"] and answer == "json":
        assert "api_key_auth" in json.dumps(json.loads(done.stdout))


async def test_memory_holds_no_key() -> None:
    """After a key was made and used, no object of the service refers to the text."""
    import gc

    overrides = {ApiKeySettings: ApiKeySettings(peppers=PEPPERS, hasher="bcrypt")}
    async with run(contributions=[api_key_memory_store, api_keys], overrides=overrides, timeout=60) as running:
        keys = running.resources[ApiKeys]
        key = (await keys.create("acme")).key.get_secret_value()
        await keys.verify(key)
        seen, todo = set(), [keys]
        while todo:
            thing = todo.pop()
            if id(thing) in seen or isinstance(thing, type) or type(thing).__name__ in ("module", "function"):
                continue
            seen.add(id(thing))
            assert not (isinstance(thing, str) and key[22:65] in thing)
            assert not (isinstance(thing, bytes) and key[22:65].encode() in thing)
            todo += gc.get_referents(thing)
        assert len(seen) > 50
